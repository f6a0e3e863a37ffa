// Each operation of each device against the cpu's on the same random arrays; models on them against their
// goldens.
#include <statescope/compute.h>

#include <gtest/gtest.h>

#include "models/collapse.h"
#include "models/model_check.h"
#include "runtime/check/compare.h"
#include "runtime/check/random.h"
#include "runtime/cpu/compute.h"
#include "tests/golden_files.h"
#include "tests/models/devices.h"
#include "tests/models/small_models.h"

#include <statescope/error.h>

namespace statescope {
namespace {

Tensor random_values(DType dtype, std::int64_t size, std::uint64_t seed) {
  Random random(seed);
  Tensor values(DType::kF32, {size});
  for (float& x : values.as<float>()) x = static_cast<float>(random.normal());
  return convert(values.view(), dtype);
}

/// Rounding of the stored type, and for float32 the order of sums.
double most_error(DType dtype) {
  if (dtype == DType::kBf16) return 6e-3;
  return dtype == DType::kF16 ? 1e-3 : 2e-6;
}

/// Runs `work` on the cpu and on a device; what it returns must agree.
using Work = std::function<Tensor(Compute&)>;
void expect_same(const char* what, DType dtype, const Work& work) {
  const Tensor wanted = convert(work(*cpu::make_compute()).view(), DType::kF64);
  for (const auto& device : layer_devices()) {
    const Tensor found = work(*device->compute());
    EXPECT_LE(relative_rms(found, wanted), most_error(dtype))
        << what << " " << name(dtype) << " on " << device->info().description;
  }
}

class Operation : public testing::TestWithParam<DType> {
 protected:
  Array random(Compute& compute, std::int64_t size, std::uint64_t seed) const {
    return random_of(compute, GetParam(), size, seed);
  }
  static Array random_of(Compute& compute, DType dtype, std::int64_t size, std::uint64_t seed) {
    const Tensor values = random_values(dtype, size, seed);
    Array array = compute.allocate(dtype, size);
    compute.upload(array, values.bytes);
    return array;
  }
  /// NaN, so that an element that is not written is seen.
  static Array poisoned(Compute& compute, DType dtype, std::int64_t size) {
    Array array = compute.allocate(dtype, size);
    compute.upload(array,
                   std::vector<std::byte>(static_cast<std::size_t>(size) * size_of(dtype), std::byte{0xff}));
    return array;
  }
};

TEST_P(Operation, EveryPointwiseFunction) {
  constexpr std::int64_t kSize = 4104;
  struct Case {
    Pointwise f;
    int operands;
    float p, r;
  };
  for (const Case& c : {Case{Pointwise::kCopy, 1, 0, 0},
                        {Pointwise::kFill, 0, 2.5f, 0},
                        {Pointwise::kAffine, 1, 2, -1},
                        {Pointwise::kAdd, 2, 0, 0},
                        {Pointwise::kMultiply, 2, 0, 0},
                        {Pointwise::kMultiplyAdd, 3, -1, 0},
                        {Pointwise::kSilu, 1, 0, 0},
                        {Pointwise::kRelu, 1, 0, 0},
                        {Pointwise::kOnePlusElu, 1, 0, 0},
                        {Pointwise::kSigmoid, 1, 2, 0},
                        {Pointwise::kGate, 2, 0, 0},
                        {Pointwise::kDecay, 3, 0, 0},
                        {Pointwise::kChannelDecay, 1, 16, -0.1f},
                        {Pointwise::kStep, 2, 0.1f, 1.5f},
                        {Pointwise::kStepDecay, 2, 0, 0},
                        {Pointwise::kRotate, 4, -1, 0}}) {
    expect_same("pointwise", GetParam(), [&](Compute& compute) {
      std::vector<Array> in;
      for (int i = 0; i < c.operands; ++i)
        in.push_back(random(compute, kSize, 7 + static_cast<std::uint64_t>(i)));
      const Array out = poisoned(compute, GetParam(), kSize);
      compute.apply(c.f, out, in, c.p, c.r);
      return compute.download(out, {kSize});
    });
  }
}

// The decays must be right where they are small too: e^g over thousands of tokens is what a state keeps.
TEST(Pointwise, SmallDecaysKeepTheirDigits) {
  for (const auto& device : layer_devices()) {
    const auto compute = device->compute();
    const std::vector<float> x = {-20, -15, -10, -5, -1, 0, 1, 5, 20};
    const auto size = static_cast<std::int64_t>(x.size());
    const Array a = compute->allocate(DType::kF32, size), y = compute->allocate(DType::kF32, size);
    compute->upload(a, std::as_bytes(std::span(x)));
    compute->apply(Pointwise::kChannelDecay, y, {a}, -1, -100);  // softplus(-x)
    const Tensor found = compute->download(y, {size});
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double wanted = std::log1p(std::exp(-static_cast<double>(x[i])));
      EXPECT_NEAR(found.as<float>()[i] / wanted, 1, 1e-5) << x[i] << " on " << device->info().description;
    }
  }
}

TEST_P(Operation, StridedViews) {
  expect_same("views", GetParam(), [&](Compute& compute) {
    const Array a = random(compute, 4 * 6 * 10 * 14, 1), b = random(compute, 600, 2);
    const Array out = poisoned(compute, GetParam(), 4 * 6 * 10 * 14);
    // Read transposed, backwards and repeated, written in blocks.
    compute.apply(Pointwise::kMultiplyAdd, {4, 6, 10, 14}, {out, {840, 140, 14, 1}},
                  {{a, {840, 14, 84, 1}}, {b, {0, 0, -7, 1}, 100}, {b, {3, 0, 1, 0}}}, 1);
    return compute.download(out, {4 * 6 * 10 * 14});
  });
}

TEST_P(Operation, Products) {
  struct Case {
    std::int64_t m, n, k, batch;
    bool transpose, accumulate;
  };
  for (const Case& c : {Case{1, 96, 64, 1, true, false},
                        {2, 130, 1096, 1, true, true},
                        {3, 130, 72, 1, true, true},
                        {4, 64, 264, 1, true, false},
                        {3, 130, 70, 1, true, false},
                        {70, 200, 136, 1, true, false},
                        {70, 200, 134, 1, true, true},
                        {64, 64, 16, 1, false, false},
                        {65, 136, 40, 3, false, true},
                        {1, 72, 200, 2, false, false},
                        {130, 24, 64, 4, true, false}}) {
    for (DType out : {GetParam(), DType::kF32}) {
      expect_same("product", GetParam(), [&](Compute& compute) {
        const std::int64_t a_row = c.batch * c.k + 8, b_row = (c.transpose ? c.k : c.n) + 8;
        const std::int64_t b_rows = c.transpose ? c.n : c.k;
        const Array a = random(compute, c.m * a_row, 3), b = random(compute, c.batch * b_rows * b_row, 4);
        const Array to = random_of(compute, out, c.m * c.batch * c.n, 5);
        compute.multiply({c.m, c.n, c.k, c.batch, c.transpose, c.accumulate, 0.125f}, {a, a_row, c.k, 8},
                         {b, b_row, b_rows * b_row}, {to, c.batch * c.n, c.n});
        return compute.download(to, {c.m * c.batch * c.n});
      });
    }
  }
}

TEST_P(Operation, RowNorms) {
  for (std::int64_t width : {16, 96, 130, 1024}) {
    for (RowNorm norm : {RowNorm::kRootMeanSquare, RowNorm::kLength, RowNorm::kLimit}) {
      expect_same("norm", GetParam(), [&](Compute& compute) {
        constexpr std::int64_t kRows = 37;
        const Array x = random(compute, kRows * width, 1);
        // Of every row the same, of each row its own, none.
        const Array weight = norm == RowNorm::kRootMeanSquare ? random_of(compute, DType::kF32, width, 2)
                             : norm == RowNorm::kLength       ? random(compute, kRows * width, 2)
                                                              : Array();
        const Array y = poisoned(compute, GetParam(), kRows * width);
        // A limit that about half of the rows pass.
        const float value = norm == RowNorm::kLimit ? std::sqrt(static_cast<float>(width)) : 1e-6f;
        compute.normalise(norm, value, kRows, width, x, weight, y);
        return compute.download(y, {kRows * width});
      });
    }
  }
}

TEST_P(Operation, ConvolutionsGoOnWhereTheyStopped) {
  for (std::int64_t size : {2, 3, 4}) {
    expect_same("convolution", GetParam(), [&](Compute& compute) {
      constexpr std::int64_t kBatch = 2, kChannels = 24, kStride = 32;
      const Array w = random_of(compute, DType::kF32, kChannels * size, 1);
      const Array bias = size == 3 ? Array() : random_of(compute, DType::kF32, kChannels, 2);
      const Array history = random(compute, kBatch * (size - 1) * kChannels, 3);
      Tensor last;
      for (std::int64_t tokens : {19, 1, 2, 9}) {
        const Array x = random(compute, kBatch * tokens * kStride, 4 + static_cast<std::uint64_t>(tokens));
        const Array y = poisoned(compute, GetParam(), kBatch * tokens * kChannels);
        compute.convolve({kBatch, tokens, kChannels, size, Pointwise::kSilu}, {x, kStride, 0, 8}, w, bias,
                         history, y);
        last = compute.download(y, {kBatch * tokens * kChannels});
      }
      return last;
    });
  }
}

TEST_P(Operation, CausalSoftmax) {
  for (std::int64_t window : {5, 1000}) {
    expect_same("softmax", GetParam(), [&](Compute& compute) {
      constexpr std::int64_t kMatrices = 3, kRows = 20, kWidth = 150;
      const Array scores = random_of(compute, DType::kF32, kMatrices * kRows * kWidth, 1);
      const Array y = poisoned(compute, GetParam(), kMatrices * kRows * kWidth);
      compute.softmax({kMatrices, kRows, kWidth, kWidth - kRows, window}, scores, y);
      return compute.download(y, {kMatrices * kRows * kWidth});
    });
  }
}

TEST_P(Operation, GatheredRows) {
  expect_same("gather", GetParam(), [&](Compute& compute) {
    const std::vector<std::int32_t> rows = {3, 0, 49, 7, 7};
    const Array table = random(compute, 50 * 36, 1), ids = compute.allocate(DType::kI32, 5);
    compute.upload(ids, std::as_bytes(std::span(rows)));
    const Array y = poisoned(compute, DType::kF32, 5 * 36);
    compute.gather(table, 36, ids, y);
    return compute.download(y, {5 * 36});
  });
}

INSTANTIATE_TEST_SUITE_P(Types, Operation, testing::ValuesIn(kRunTypes),
                         [](const auto& type) { return std::string(name(type.param)); });

TEST(RowQueries, StatisticsAndPlaces) {
  for (std::int64_t width : {4, 255, 4096}) {
    constexpr std::int64_t kRows = 5;
    const Tensor values = random_values(DType::kF32, kRows * width, 9);
    const auto run = [&](Compute& compute) {
      const Array x = compute.allocate(DType::kF32, kRows * width);
      compute.upload(x, values.bytes);
      const Array statistics = compute.allocate(DType::kF32, kRows * kRowStatistics);
      const Array places = compute.allocate(DType::kI32, kRows);
      compute.row_statistics(kRows, width, x, statistics);
      compute.largest(kRows, width, x, places);
      return std::pair(compute.download(statistics, {kRows * kRowStatistics}),
                       compute.download(places, {kRows}));
    };
    const auto wanted = run(*cpu::make_compute());
    for (const auto& device : layer_devices()) {
      const auto found = run(*device->compute());
      for (std::int64_t i = 0; i < kRows * kRowStatistics; ++i)
        EXPECT_NEAR(found.first.as<float>()[i], wanted.first.as<float>()[i], 1e-5)
            << "width " << width << " element " << i << " on " << device->info().description;
      EXPECT_EQ(found.second.bytes, wanted.second.bytes) << device->info().description;
    }
  }
}

TEST(RowQueries, Interference) {
  constexpr std::int64_t kKeys = 150;
  Random random(4);
  Tensor gram(DType::kF32, {kKeys, kKeys});
  for (float& x : gram.as<float>()) x = static_cast<float>(2.2 * random.uniform() - 1.1);
  const auto run = [&](Compute& compute) {
    const Array x = compute.allocate(DType::kF32, kKeys * kKeys);
    compute.upload(x, gram.bytes);
    const Array sums = compute.allocate(DType::kF32, kKeys),
                counts = compute.allocate(DType::kI32, kKeys * kCosineBins);
    compute.interfere(kKeys, x, sums, counts);
    return std::pair(compute.download(sums, {kKeys}), compute.download(counts, {kKeys * kCosineBins}));
  };
  const auto wanted = run(*cpu::make_compute());
  for (const auto& device : layer_devices()) {
    const auto found = run(*device->compute());
    EXPECT_LE(relative_rms(found.first, wanted.first), 1e-6) << device->info().description;
    EXPECT_EQ(found.second.bytes, wanted.second.bytes) << device->info().description;
  }
}

TEST(Recording, RepeatsWhatWasDone) {
  for (const auto& device : layer_devices()) {
    const auto compute = device->compute();
    const std::vector<float> start = {1, 2, 3, 4};
    const Array x = compute->allocate(DType::kF32, 4);
    compute->upload(x, std::as_bytes(std::span(start)));
    const auto repeat = compute->record([&] {
      const Array twice = compute->allocate(DType::kF32, 4);  // dies here, and is the recording's
      compute->apply(Pointwise::kAffine, twice, {x}, 2);
      compute->apply(Pointwise::kAffine, x, {twice}, 1, 1);
    });
    const Array other = compute->allocate(DType::kF32, 4);  // must not be the one that died
    compute->upload(other, std::as_bytes(std::span(start)));
    repeat();
    repeat();
    const Tensor found = compute->download(x, {4}), kept = compute->download(other, {4});
    for (std::size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(found.as<float>()[i], 8 * start[i] + 7) << device->info().description;
      EXPECT_EQ(kept.as<float>()[i], start[i]) << device->info().description;
    }
  }
}

// A recording may run side by side what shares no array, but not what does: a is read by many and then
// written, b is added to by all of them.
TEST(Recording, KeepsTheOrderOfWhatSharesMemory) {
  constexpr std::int64_t kSize = 100000;
  constexpr int kReaders = 8, kRepeats = 3;
  for (const auto& device : layer_devices()) {
    const auto compute = device->compute();
    const Array a = compute->allocate(DType::kF32, kSize), b = compute->allocate(DType::kF32, kSize);
    compute->apply(Pointwise::kFill, a, {}, 1);
    compute->apply(Pointwise::kFill, b, {}, 0);
    const auto repeat = compute->record([&] {
      std::vector<Array> parts;
      for (int i = 0; i < kReaders; ++i) {
        parts.push_back(compute->allocate(DType::kF32, kSize));
        compute->apply(Pointwise::kAffine, parts.back(), {a}, static_cast<float>(i + 1));
      }
      compute->apply(Pointwise::kAffine, a, {a}, 2);
      for (const Array& part : parts) compute->apply(Pointwise::kAdd, b, {b, part});
    });
    for (int i = 1; i < kRepeats; ++i) repeat();
    // a was 1, 2, 4 when it was read: b is 7 times the sum of 1 to 8.
    const Tensor found = compute->download(b, {kSize}), last = compute->download(a, {kSize});
    for (std::int64_t i = 0; i < kSize; ++i) {
      ASSERT_EQ(found.as<float>()[i], 7 * 36) << i << " on " << device->info().description;
      ASSERT_EQ(last.as<float>()[i], 8) << i << " on " << device->info().description;
    }
  }
}

// What a recording holds must live until the device is done with it, whoever still wants to repeat it.
TEST(Recording, MayBeDroppedWhileItRuns) {
  constexpr std::int64_t kSize = 1 << 20;
  for (const auto& device : layer_devices()) {
    const auto compute = device->compute();
    const Array x = compute->allocate(DType::kF32, kSize);
    compute->apply(Pointwise::kFill, x, {}, 1);
    for (int i = 0; i < 4; ++i) {
      compute->record([&] {
        const Array twice = compute->allocate(DType::kF32, kSize);
        compute->apply(Pointwise::kAffine, twice, {x}, 2);
        compute->apply(Pointwise::kAffine, x, {twice}, 1, 1);
      });
    }
    const Tensor found = compute->download(x, {kSize});
    for (float value : found.as<float>()) ASSERT_EQ(value, 31) << device->info().description;
  }
}

TEST(Recording, ThatThrowsIsForgotten) {
  for (const auto& device : layer_devices()) {
    const auto compute = device->compute();
    const std::vector<float> start = {1, 2, 3, 4};
    const Array x = compute->allocate(DType::kF32, 4);
    compute->upload(x, std::as_bytes(std::span(start)));
    const auto stop = [&] {
      const Array twice = compute->allocate(DType::kF32, 4);
      compute->apply(Pointwise::kAffine, twice, {x}, 2);
      throw Error(ErrorKind::kUsage, "stopped");
    };
    EXPECT_THROW(compute->record(stop), Error);
    const auto repeat = compute->record([&] { compute->apply(Pointwise::kAffine, x, {x}, 3); });
    repeat();
    const Tensor found = compute->download(x, {4});
    for (std::size_t i = 0; i < 4; ++i)
      EXPECT_EQ(found.as<float>()[i], 9 * start[i]) << device->info().description;
  }
}

// Chains that do not know each other, longer than a submission, and what they come to.
TEST(Operations, ChainsMeet) {
  constexpr std::int64_t kSize = 4096;
  constexpr int kChains = 5, kLinks = 60;
  for (const auto& device : layer_devices()) {
    const auto compute = device->compute();
    std::vector<Array> chains;
    for (int i = 0; i < kChains; ++i) {
      chains.push_back(compute->allocate(DType::kF32, kSize));
      compute->apply(Pointwise::kFill, chains.back(), {}, static_cast<float>(i));
      for (int link = 0; link < kLinks; ++link)
        compute->apply(Pointwise::kAffine, chains.back(), {chains.back()}, 1, 1);
    }
    for (int i = 1; i < kChains; ++i) compute->apply(Pointwise::kAdd, chains[0], {chains[0], chains[i]});
    const Tensor found = compute->download(chains[0], {kSize});
    for (float sum : found.as<float>())
      ASSERT_EQ(sum, kChains * kLinks + kChains * (kChains - 1) / 2) << device->info().description;
  }
}

// More than a device holds at once, without a wait: each adds to x what the one before it left in y.
TEST(Operations, ManyKeepTheirOrder) {
  constexpr std::int64_t kSize = 4096;
  constexpr int kRounds = 400;
  for (const auto& device : layer_devices()) {
    const auto compute = device->compute();
    const Array x = compute->allocate(DType::kF32, kSize), y = compute->allocate(DType::kF32, kSize);
    compute->apply(Pointwise::kFill, x, {}, 0);
    compute->apply(Pointwise::kFill, y, {}, 1);
    for (int i = 0; i < kRounds; ++i) {
      compute->apply(Pointwise::kAdd, x, {x, y});
      compute->apply(Pointwise::kAffine, y, {y}, 1, 1);
    }
    const Tensor found = compute->download(x, {kSize});
    for (float sum : found.as<float>())
      ASSERT_EQ(sum, kRounds * (kRounds + 1) / 2) << device->info().description;
  }
}

TEST(Memory, IsUsedAgain) {
  for (const auto& device : layer_devices()) {
    const auto compute = device->compute();
    for (int i = 0; i < 10; ++i) {
      const Array a = compute->allocate(DType::kF32, 5000), b = compute->allocate(DType::kBf16, 10000 + i);
    }
    EXPECT_LE(compute->peak_memory_bytes(), 2 * 5000 * 4 * 9 / 8 + 512) << device->info().description;
    EXPECT_EQ(compute->memory_bytes(), compute->peak_memory_bytes());
  }
}

TEST(GoldenOnDevices, LogitsOfThePublishedClasses) {
  for (const auto& device : layer_devices()) {
    for (const auto& directory : golden_models()) {
      for (DType dtype : kRunTypes) {
        const ModelCheck check = check_model(directory, device, {dtype});
        EXPECT_TRUE(check.ok()) << directory << " " << name(dtype) << " on " << device->info().description
                                << ": " << check.error;
      }
    }
  }
}

class ModelOnDevices : public testing::TestWithParam<const char*> {};

TEST_P(ModelOnDevices, PrefillThenStepsIsTheWholeSequenceOnTheCpu) {
  for (const char* patch : {"{}", R"({"expansion": 3, "window_size": 5})"}) {
    constexpr std::int64_t kTokens = 21, kPrefill = 16;
    const Checkpoint checkpoint = random_checkpoint(small_config(GetParam(), patch), 11);
    std::vector<std::int32_t> ids;
    Random random(5);
    while (static_cast<std::int64_t>(ids.size()) < kTokens)
      ids.push_back(static_cast<std::int32_t>(random.bits() % 96));
    const auto run = [&](const std::shared_ptr<Device>& device) {
      Model model(checkpoint, device);
      ModelState state = model.start();
      std::vector<Tensor> logits = {model.forward(state, std::span(ids).first(kPrefill))};
      for (std::int64_t t = kPrefill; t < kTokens; ++t)
        logits.push_back(model.forward(state, std::span(ids).subspan(static_cast<std::size_t>(t), 1)));
      return logits;
    };
    const std::vector<Tensor> wanted = run(open_device(discover(), "cpu"));
    for (const auto& device : layer_devices()) {
      const std::vector<Tensor> found = run(device);
      for (std::size_t i = 0; i < wanted.size(); ++i)
        EXPECT_LE(relative_rms(found[i], wanted[i]), 1e-4)
            << GetParam() << " " << patch << " piece " << i << " on " << device->info().description;
    }
  }
}

TEST_P(ModelOnDevices, GeneratesWhatTheCpuGenerates) {
  const Checkpoint checkpoint = random_checkpoint(small_config(GetParam()), 71);
  const std::vector<std::int32_t> prompt = {3, 1, 4, 1, 5, 9, 2, 6};
  const auto run = [&](const std::shared_ptr<Device>& device) {
    Model model(checkpoint, device);
    ModelState state = model.start();
    return generate(model, state, prompt, 12);
  };
  const auto wanted = run(open_device(discover(), "cpu"));
  for (const auto& device : layer_devices()) EXPECT_EQ(run(device), wanted) << device->info().description;
}

TEST_P(ModelOnDevices, StatesAreRecordedAlike) {
  const Checkpoint checkpoint = random_checkpoint(small_config(GetParam()), 3);
  const std::vector<std::int32_t> ids(70, '\n');
  const auto run = [&](const std::shared_ptr<Device>& device) {
    Model model(checkpoint, device);
    return record_states(model, ids, 32);
  };
  const auto wanted = run(open_device(discover(), "cpu"));
  for (const auto& device : layer_devices()) {
    const auto found = run(device);
    ASSERT_EQ(found.size(), wanted.size());
    EXPECT_NEAR(found.back().loss, wanted.back().loss, 1e-3);
    for (std::size_t layer = 0; layer < wanted.back().layers.size(); ++layer) {
      ASSERT_EQ(found.back().layers[layer].size(), wanted.back().layers[layer].size());
      for (std::size_t head = 0; head < wanted.back().layers[layer].size(); ++head) {
        const HeadStatistics &f = found.back().layers[layer][head], &w = wanted.back().layers[layer][head];
        EXPECT_NEAR(f.rms, w.rms, 1e-4 * w.rms);
        EXPECT_NEAR(f.median, w.median, 1e-4 * w.rms);
        EXPECT_NEAR(f.log_decay, w.log_decay, 1e-4 * std::abs(w.log_decay));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, ModelOnDevices, testing::ValuesIn(kSmallModels),
                         [](const auto& model) { return std::string(model.param); });

}  // namespace
}  // namespace statescope
