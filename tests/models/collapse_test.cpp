// Mitigations against brute force, statistics and detection on made-up records.
#include "models/collapse.h"

#include <cmath>

#include <gtest/gtest.h>

#include "runtime/check/compare.h"
#include "runtime/check/generate.h"
#include "runtime/cpu/cpu_device.h"
#include "tests/models/small_models.h"

#include <statescope/error.h>

namespace statescope {
namespace {

std::shared_ptr<Device> cpu_device() {
  BackendStatus status;
  return cpu::find_devices(status).at(0).open();
}

Recurrence cpu_recurrence() {
  const std::shared_ptr<Device> device = cpu_device();
  return {device, device->compute(), Form::kAuto};
}

SlotArrays arrays_of(Recurrence& recurrence, const TensorSet& inputs) {
  SlotArrays arrays;
  for (Slot slot : kSlots) {
    if (!inputs[slot].present()) continue;
    arrays[slot] = recurrence.compute().allocate(DType::kF32, inputs[slot].size());
    recurrence.compute().upload(arrays[slot], inputs[slot].bytes);
  }
  return arrays;
}

Problem small_problem() {
  Problem problem;
  problem.rule = Rule::kSsd;
  problem.batch = problem.sequences = 2;
  problem.seq_len = 40;
  problem.heads = problem.qk_heads = 2;
  problem.key_dim = problem.value_dim = 16;
  problem.scale = 1;
  return problem;
}

/// o by the recurrence as it is written, in float64: `after` may change a head's state S [K, V] after each
/// token.
template <typename Weight, typename After>
Tensor brute_force(const Problem& p, const TensorSet& in, Weight weight, After after) {
  Tensor o(DType::kF32, shape_of(p, Slot::kO));
  const auto q = in[Slot::kQ].as<float>(), k = in[Slot::kK].as<float>(), v = in[Slot::kV].as<float>(),
             g = in[Slot::kG].as<float>();
  for (std::int64_t row = 0; row < p.batch; ++row) {
    for (std::int64_t head = 0; head < p.heads; ++head) {
      const auto at = [&](std::int64_t t) { return (row * p.seq_len + t) * p.heads + head; };
      std::vector<double> s(16 * 16);
      for (std::int64_t t = 0; t < p.seq_len; ++t) {
        for (int i = 0; i < 16; ++i) {
          for (int c = 0; c < 16; ++c) {
            s[i * 16 + c] =
                weight(g[at(t)]) * s[i * 16 + c] + static_cast<double>(k[at(t) * 16 + i]) * v[at(t) * 16 + c];
          }
        }
        std::vector<double> read = s;
        after(read, s, row, head, t);
        for (int c = 0; c < 16; ++c) {
          double sum = 0;
          for (int i = 0; i < 16; ++i) sum += q[at(t) * 16 + i] * read[i * 16 + c];
          o.as<float>()[at(t) * 16 + c] = static_cast<float>(sum);
        }
      }
    }
  }
  return o;
}

/// The whole sequence at once, and in uneven pieces whose state is carried.
void expect_mitigated(const Mitigation& mitigation, const Problem& problem, const TensorSet& inputs,
                      const Tensor& wanted) {
  Recurrence recurrence = cpu_recurrence();
  const auto run = [&](const Problem& p, const TensorSet& host, RecurrentState& state) {
    const Array o = run_mitigated(mitigation, recurrence, p, arrays_of(recurrence, host), state);
    return recurrence.compute().download(o, shape_of(p, Slot::kO));
  };
  RecurrentState whole;
  EXPECT_LE(relative_rms(run(problem, inputs, whole), wanted), 1e-5);

  RecurrentState state;
  std::int64_t first = 0;
  for (std::int64_t count : {7, 1, 12, 1, 19}) {
    Problem piece = problem;
    piece.seq_len = count;
    const auto cut = [&](const Tensor& x) {
      Shape shape = x.shape;
      shape[1] = count;
      Tensor part(DType::kF32, shape);
      const std::int64_t width = x.size() / (problem.batch * problem.seq_len);
      for (std::int64_t row = 0; row < problem.batch; ++row) {
        std::copy_n(x.as<float>().begin() + (row * problem.seq_len + first) * width, count * width,
                    part.as<float>().begin() + row * count * width);
      }
      return part;
    };
    TensorSet part;
    for (Slot slot : {Slot::kQ, Slot::kK, Slot::kV, Slot::kG}) part[slot] = cut(inputs[slot]);
    EXPECT_LE(relative_rms(run(piece, part, state), cut(wanted)), 1e-5) << "tokens from " << first;
    first += count;
  }
  EXPECT_EQ(first, problem.seq_len);
}

const auto kKeep = [](auto&...) {};
const auto kDecay = [](double g) { return std::exp(g); };

TEST(Mitigation, ForgetMore) {
  const Problem problem = small_problem();
  const TensorSet inputs = generate_inputs(problem, 3);
  TensorSet weaker = inputs;
  for (float& x : weaker[Slot::kK].as<float>()) x *= 0.75f;
  const Tensor wanted = brute_force(
      problem, weaker, [](double g) { return 0.9999 * std::exp(g); }, kKeep);
  expect_mitigated({MitigationKind::kForgetMore}, problem, inputs, wanted);
}

// h_t^(r) built from its own last r tokens alone.
TEST(Mitigation, SlidingWindow) {
  const Problem problem = small_problem();
  const TensorSet inputs = generate_inputs(problem, 5);
  for (std::int64_t r : {1, 5, 40, 60}) {
    const auto window = [&](std::vector<double>& read, std::vector<double>&, std::int64_t row,
                            std::int64_t head, std::int64_t t) {
      std::ranges::fill(read, 0.0);
      for (std::int64_t s = std::max<std::int64_t>(0, t - r + 1); s <= t; ++s) {
        const std::int64_t at = (row * problem.seq_len + s) * problem.heads + head;
        for (int i = 0; i < 16; ++i) {
          for (int c = 0; c < 16; ++c) {
            read[i * 16 + c] = std::exp(inputs[Slot::kG].as<float>()[at]) * read[i * 16 + c] +
                               static_cast<double>(inputs[Slot::kK].as<float>()[at * 16 + i]) *
                                   inputs[Slot::kV].as<float>()[at * 16 + c];
          }
        }
      }
    };
    Mitigation mitigation{MitigationKind::kWindow};
    mitigation.window = r;
    expect_mitigated(mitigation, problem, inputs, brute_force(problem, inputs, kDecay, window));

    // The state that statistics are taken of is the one that o was read from.
    Recurrence recurrence = cpu_recurrence();
    RecurrentState state;
    run_mitigated(mitigation, recurrence, problem, arrays_of(recurrence, inputs), state);
    std::vector<double> read(16 * 16), untouched;
    Tensor wanted(DType::kF32, {problem.batch, problem.heads, 1, 16, 16});
    for (std::int64_t row = 0; row < problem.batch; ++row) {
      for (std::int64_t head = 0; head < problem.heads; ++head) {
        window(read, untouched, row, head, problem.seq_len - 1);
        std::ranges::copy(read, wanted.as<float>().begin() + (row * problem.heads + head) * 16 * 16);
      }
    }
    const Array& seen = read_state(state);
    EXPECT_LE(
        relative_rms(convert(recurrence.compute().download(seen, wanted.shape).view(), DType::kF32), wanted),
        1e-5);
  }
}

TEST(Mitigation, Normalise) {
  const Problem problem = small_problem();
  const TensorSet inputs = generate_inputs(problem, 7);
  int shortened = 0;
  const auto shorten = [&](std::vector<double>&, std::vector<double>& s, std::int64_t, std::int64_t,
                           std::int64_t) {
    double squares = 0;
    for (double x : s) squares += x * x;
    if (squares <= 25) return;
    ++shortened;
    for (double& x : s) x *= 5 / std::sqrt(squares);
  };
  const Tensor wanted = brute_force(problem, inputs, kDecay, shorten);
  EXPECT_GT(shortened, 20);
  Mitigation mitigation{MitigationKind::kNormalise};
  mitigation.norm = 5;
  expect_mitigated(mitigation, problem, inputs, wanted);
}

TEST(Mitigation, RefusesWhatDoesNotApply) {
  Recurrence recurrence = cpu_recurrence();
  RecurrentState state;
  Problem problem = small_problem();
  const SlotArrays inputs = arrays_of(recurrence, generate_inputs(problem, 7));
  EXPECT_THROW(run_mitigated({MitigationKind::kWindow}, recurrence, problem, inputs, state), Error);
  EXPECT_THROW(run_mitigated({MitigationKind::kNormalise}, recurrence, problem, inputs, state), Error);
  problem.rule = Rule::kGla;
  Mitigation window{MitigationKind::kWindow};
  window.window = 4;
  EXPECT_THROW(run_mitigated(window, recurrence, problem, inputs, state), Error);
  EXPECT_THROW(parse_mitigation("pray"), Error);
}

TEST(Statistics, OfAKnownState) {
  const auto compute = cpu_device()->compute();
  const Array state = compute->allocate(DType::kF32, 4);
  const std::vector<float> values = {1, -3, 2, 8};
  compute->upload(state, std::as_bytes(std::span(values)));
  const HeadStatistics s = statistics_of(*compute, 1, state).at(0);
  EXPECT_DOUBLE_EQ(s.mean, 2);
  EXPECT_DOUBLE_EQ(s.variance, (1 + 25 + 0 + 36) / 4.0);
  EXPECT_FLOAT_EQ(static_cast<float>(s.rms), std::sqrt(78 / 4.0f));
  EXPECT_DOUBLE_EQ(s.median, 1.5);
  EXPECT_DOUBLE_EQ(s.max, 8);
}

TEST(Records, StatesOfARunningModel) {
  const Checkpoint checkpoint = random_checkpoint(small_config("mamba2"), 3);
  Model model(checkpoint, cpu_device());
  const std::vector<std::int32_t> ids(70, '\n');
  const auto records = record_states(model, ids, 32);
  ASSERT_EQ(records.size(), 3u);
  EXPECT_EQ(records.back().tokens, 70);
  double before = 0;
  for (const StateRecord& record : records) {
    EXPECT_GT(record.loss, 0);
    ASSERT_EQ(record.layers.size(), 2u);
    ASSERT_EQ(record.layers[1].size(), 4u);
    EXPECT_LT(record.layers[1][2].log_decay, before);
    before = record.layers[1][2].log_decay;
  }
  // The whole at once ends in the same state.
  Model again(checkpoint, cpu_device());
  ModelState state = again.start();
  again.forward(state, ids);
  const HeadStatistics wanted = statistics_of(again.compute(), 4, state.layers[1].recurrent.state).at(2);
  EXPECT_NEAR(records.back().layers[1][2].rms, wanted.rms, 1e-5 * wanted.rms);

  // A state that may not grow beyond p does not.
  ModelOptions options;
  options.mitigation = {MitigationKind::kNormalise};
  options.mitigation.norm = wanted.rms * std::sqrt(16.0 * 16) / 2;
  Model kept(checkpoint, cpu_device(), options);
  const HeadStatistics shortened = record_states(kept, ids, 32).back().layers[1][2];
  EXPECT_LE(shortened.rms, wanted.rms / 2 * (1 + 1e-5));
}

TEST(Collapse, IsFoundWhereItIs) {
  const auto records = [](double last_loss, double last_variance, double log_decay) {
    std::vector<StateRecord> made;
    for (int i = 1; i <= 4; ++i) {
      HeadStatistics calm{0, 1.0 + 0.1 * i, 1, 0, 1, -3.0 * i}, wild = calm;
      wild.log_decay = log_decay * i;
      if (i == 4) wild.variance = last_variance;
      made.push_back({128 * i, i == 4 ? last_loss : 2.0, {{calm, wild}, {}}});
    }
    return made;
  };
  EXPECT_FALSE(find_collapse(records(3.9, 12, -1e-3), 384).loss);
  EXPECT_TRUE(find_collapse(records(4.1, 12, -1e-3), 384).loss);
  EXPECT_TRUE(find_collapse(records(2, 12, -1e-3), 384).heads.empty());
  const Collapse found = find_collapse(records(2, 40, -5e-4), 384);
  ASSERT_EQ(found.heads.size(), 1u);
  EXPECT_EQ(found.heads[0].layer, 0);
  EXPECT_EQ(found.heads[0].head, 1);
  EXPECT_NEAR(found.heads[0].variance_ratio, 40 / 1.3, 1e-9);
  EXPECT_TRUE(found.heads[0].never_forgets);  // e^-0.0015 at the training length
  EXPECT_FALSE(find_collapse(records(2, 40, -2e-3), 384).heads[0].never_forgets);
  EXPECT_THROW(find_collapse(records(2, 2, 0), 512), Error);
  EXPECT_THROW(find_collapse(records(2, 2, 0), 100), Error);
}

}  // namespace
}  // namespace statescope
