// Each layer's gradients, taken by the tape from every operation's own, against finite differences in
// float64.
#include <gtest/gtest.h>

#include "models/layout.h"
#include "models/model.h"
#include "runtime/check/random.h"
#include "runtime/cpu/cpu_device.h"
#include "runtime/cpu/tape.h"
#include "tests/models/small_models.h"

namespace statescope {
namespace {

std::shared_ptr<Device> cpu_device() {
  BackendStatus status;
  return cpu::find_devices(status).at(0).open();
}

using Weighted = std::map<std::string, Tensor>;  // by name, f32

/// Prefill and a step, so that gradients cross a carried state: the loss is the sum of all logits times fixed
/// factors.
struct Loss {
  std::shared_ptr<cpu::Tape> tape = cpu::make_tape();
  std::shared_ptr<Device> device = cpu_device();
  Model model;
  Array logits;
  double loss = 0;
  Tensor seed;

  Loss(const ModelConfig& config, const Weighted& weights)
      : model(make_checkpoint(config, weights), device, tape, {DType::kF64}) {
    const std::vector<std::int32_t> ids = {5, 17, 3, 90, 41, 5, 66, 2, 33};
    ModelState state = model.start();
    logits = model.run(state, std::span(ids).first(8));
    const Array last = model.run(state, std::span(ids).last(1));
    // Both in one array, so that one seed reaches both.
    Array all = tape->allocate(DType::kF64, logits.size + last.size);
    tape->apply(Pointwise::kCopy, {1, 1, 1, logits.size}, {all}, {{logits}});
    tape->apply(Pointwise::kCopy, {1, 1, 1, last.size}, {all, {0, 0, 0, 1}, logits.size}, {{last}});
    logits = all;
    const Tensor values = tape->download(logits, {logits.size});
    seed = Tensor(DType::kF64, {logits.size});
    Random random(3);
    for (std::int64_t i = 0; i < logits.size; ++i) {
      seed.as<double>()[i] = random.normal();
      loss += seed.as<double>()[i] * values.as<double>()[i];
    }
  }
};

struct Layer {
  const char *name, *type, *patch;
};

class Gradients : public testing::TestWithParam<Layer> {};

// Along a random direction of each tensor, by Richardson's extrapolation: what remains is of the fourth
// order.
TEST_P(Gradients, MatchFiniteDifferences) {
  const ModelConfig config = small_config(GetParam().type, GetParam().patch);
  Weighted weights;
  for (const auto& [name, view] : random_checkpoint(config, 11).tensors)
    weights[name] = convert(view, DType::kF32);

  Loss run(config, weights);
  run.tape->backward(run.logits, run.seed);
  double largest = 0;
  for (const auto& [name, tensor] : weights) {
    const Tensor gradient = run.tape->gradient(run.model.weights()(name));
    ASSERT_EQ(gradient.size(), tensor.size()) << name;
    Random random(7);
    std::vector<float> direction;
    for (std::int64_t i = 0; i < tensor.size(); ++i) direction.push_back(static_cast<float>(random.normal()));
    // Steps are taken in float32, as weights are, so each has a direction of its own: what is compared is the
    // difference quotient with the gradient along the step that was taken.
    double expected = 0;
    const auto residual = [&](float step) {
      Weighted up = weights, down = weights;
      expected = 0;
      for (std::int64_t i = 0; i < tensor.size(); ++i) {
        float &high = up[name].as<float>()[i], &low = down[name].as<float>()[i];
        high += step * direction[i];
        low -= step * direction[i];
        expected += gradient.as<double>()[i] * (static_cast<double>(high) - low) / (2.0 * step);
      }
      return (Loss(config, up).loss - Loss(config, down).loss) / (2.0 * step) - expected;
    };
    constexpr float kStep = 0x1p-14f;
    const double coarse = residual(2 * kStep);
    EXPECT_NEAR((4 * residual(kStep) - coarse) / 3, 0, 1e-5 * (1 + std::abs(expected))) << name;
    largest = std::max(largest, std::abs(expected));
  }
  EXPECT_GT(largest, 1e-2);  // the loss does depend on the weights
}

constexpr Layer kLayers[] = {
    {"gated_deltanet", "gated_deltanet", "{}"},
    {"gated_deltanet_headwise", "gated_deltanet", R"({"expansion": 3})"},
    {"gated_deltanet_low_rank", "gated_deltanet", R"({"expansion": 2, "expansion_method": "low_rank"})"},
    {"gated_deltanet_lfm", "gated_deltanet", R"({"expansion": 2, "expansion_method": "lfm"})"},
    {"gated_deltanet_naive", "gated_deltanet", R"({"expansion": 2, "expansion_method": "naive"})"},
    {"gated_deltanet_one_state", "gated_deltanet", R"({"expansion": 2, "subhead_division": false})"},
    {"gla", "gla", "{}"},
    {"gla_headwise", "gla", R"({"expansion": 3})"},
    {"mamba2", "mamba2", "{}"},
    {"transformer", "transformer", "{}"},
    {"transformer_window", "transformer", R"({"window_size": 4})"},
    {"delta_net", "delta_net", "{}"},
    {"retnet", "retnet", "{}"},
    {"linear_attn", "linear_attn", R"({"expansion": 2})"},
};
INSTANTIATE_TEST_SUITE_P(Layers, Gradients, testing::ValuesIn(kLayers),
                         [](const auto& layer) { return std::string(layer.param.name); });

// The derivatives that stand beside each function, where it is smooth.
TEST(Derivatives, OfEveryPointwiseFunction) {
  Random random(5);
  for (std::uint32_t number = 0; number <= static_cast<std::uint32_t>(Pointwise::kRotate); ++number) {
    const auto f = static_cast<Pointwise>(number);
    const auto tape = cpu::make_tape();
    std::vector<Array> in;
    std::vector<Tensor> values;
    for (int operand = 0; operand < 4; ++operand) {
      Tensor& tensor = values.emplace_back(DType::kF64, Shape{50});
      for (double& x : tensor.as<double>()) x = random.normal() + (random.uniform() < 0.5 ? 0.1 : -0.1);
      in.push_back(tape->allocate(DType::kF64, 50));
      tape->upload(in.back(), tensor.bytes);
    }
    const float p = 0.75f, r = f == Pointwise::kChannelDecay ? -1.0f : 1.5f;
    const Array y = tape->allocate(DType::kF64, 50);
    tape->apply(f, y, in, p, r);
    Tensor ones(DType::kF64, {50});
    std::ranges::fill(ones.as<double>(), 1.0);
    // Uploads take the gradient of what they overwrite: constants keep theirs.
    const auto again = cpu::make_tape();
    std::vector<Array> constants;
    for (const Tensor& tensor : values) constants.push_back(again->constant(tensor.view(), DType::kF64));
    const Array z = again->allocate(DType::kF64, 50);
    again->apply(f, z, constants, p, r);
    again->backward(z, ones);
    for (std::size_t operand = 0; operand < 4; ++operand) {
      const Tensor gradient = again->gradient(constants[operand]);
      const auto at = [&](double step) {
        std::vector<Array> moved = in;
        Tensor shifted = values[operand];
        for (double& x : shifted.as<double>()) x += step;
        moved[operand] = tape->constant(shifted.view(), DType::kF64);
        tape->apply(f, y, moved, p, r);
        return tape->download(y, {50});
      };
      const Tensor high = at(1e-6), low = at(-1e-6);
      for (std::int64_t i = 0; i < 50; ++i) {
        const double wanted = (high.as<double>()[i] - low.as<double>()[i]) / 2e-6;
        // A kink within the step makes a difference that is no derivative.
        EXPECT_NEAR(gradient.as<double>()[i], wanted, 1e-6)
            << number << " operand " << operand << " at " << i;
      }
    }
  }
}

}  // namespace
}  // namespace statescope
