// From tensors to a problem: every shape and value that a caller can get wrong is checked here, once.
#include <cmath>

#include <statescope/error.h>
#include <statescope/problem.h>

namespace statescope {
namespace {

[[noreturn]] void fail(const std::string& message) {
  throw Error(ErrorKind::kUsage, message);
}

const Tensor& require(const TensorSet& inputs, Slot slot, std::string_view why) {
  const Tensor& tensor = inputs[slot];
  if (!tensor.present()) fail("tensor '" + std::string(name(slot)) + "' is missing: " + std::string(why));
  return tensor;
}

void require_rank(const TensorSet& inputs, Slot slot, std::size_t rank, const char* layout) {
  const Tensor& tensor = inputs[slot];
  if (tensor.shape.size() != rank) {
    fail("tensor '" + std::string(name(slot)) + "' has shape " + to_string(tensor.shape) + ", wanted " +
         layout);
  }
}

void check_cu_seqlens(const Problem& problem, const Tensor& cuts) {
  if (cuts.dtype != DType::kI32) {
    fail("tensor 'cu_seqlens' has type " + std::string(name(cuts.dtype)) + ", wanted i32");
  }
  const auto values = cuts.as<std::int32_t>();
  if (values.front() != 0) {
    fail("tensor 'cu_seqlens' starts at " + std::to_string(values.front()) + ", wanted 0");
  }
  for (std::size_t i = 1; i < values.size(); ++i) {
    if (values[i] < values[i - 1]) {
      fail("tensor 'cu_seqlens' goes back from " + std::to_string(values[i - 1]) + " to " +
           std::to_string(values[i]) + " at element " + std::to_string(i));
    }
  }
  if (values.back() != problem.seq_len) {
    fail("tensor 'cu_seqlens' ends at " + std::to_string(values.back()) +
         ", wanted T = " + std::to_string(problem.seq_len));
  }
}

void check_values(const Tensor& tensor, Slot slot) {
  const Tensor wide = convert(tensor.view(), DType::kF64);
  const auto values = wide.as<double>();
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) {
      fail("tensor '" + std::string(name(slot)) + "' has " + (std::isnan(values[i]) ? "NaN" : "infinity") +
           " at element " + std::to_string(i) + ", wanted finite values");
    }
    if (slot == Slot::kG && values[i] > 0) {
      fail("tensor 'g' has " + std::to_string(values[i]) + " at element " + std::to_string(i) +
           ", wanted logarithms of decays, at most 0");
    }
  }
}

}  // namespace

Problem problem_of(const TensorSet& inputs, Rule rule, Pass pass, std::optional<float> scale, DType dtype) {
  const bool front_end = inputs[Slot::kQExpand].present();
  const char* const layout_of_q = front_end ? "[B, T, Hq, K]" : "[B, T, Hq, E, K]";
  const Tensor& q = require(inputs, Slot::kQ, layout_of_q);
  require(inputs, Slot::kK, layout_of_q);
  const Tensor& v = require(inputs, Slot::kV, "[B, T, H, V]");
  require_rank(inputs, Slot::kQ, front_end ? 4 : 5, layout_of_q);
  if (front_end) {
    require_rank(inputs, Slot::kQExpand, 4, "[Hq, K, E, K]");
    for (Slot slot : {Slot::kKExpand, Slot::kQConv, Slot::kKConv}) require(inputs, slot, "q_expand is there");
    if (pass == Pass::kStep) require(inputs, Slot::kQHistory, "step goes on with the convolution");
    if (inputs[Slot::kQHistory].present()) require(inputs, Slot::kKHistory, "q_history is there");
  }
  require_rank(inputs, Slot::kV, 4, "[B, T, H, V]");
  if (has_gate(rule)) require(inputs, Slot::kG, "rule " + std::string(name(rule)) + " has a gate");
  if (has_beta(rule))
    require(inputs, Slot::kBeta, "rule " + std::string(name(rule)) + " has a learning rate");
  if (pass == Pass::kBackward) require(inputs, Slot::kDo, "backward starts from the gradient of o");
  if (pass == Pass::kStep) require(inputs, Slot::kH0, "step updates a state");

  Problem problem;
  problem.rule = rule;
  problem.pass = pass;
  problem.dtype = dtype;
  problem.batch = q.shape[0];
  problem.seq_len = q.shape[1];
  problem.qk_heads = q.shape[2];
  problem.front_end = front_end;
  problem.history = inputs[Slot::kQHistory].present();
  problem.expansion = front_end ? inputs[Slot::kQExpand].shape[2] : q.shape[3];
  problem.key_dim = q.shape.back();
  problem.heads = v.shape[2];
  problem.value_dim = v.shape[3];
  problem.packed = inputs[Slot::kCuSeqlens].present();
  problem.initial_state = inputs[Slot::kH0].present();
  problem.final_state_gradient = pass == Pass::kBackward && inputs[Slot::kDht].present();
  if (problem.packed) {
    require_rank(inputs, Slot::kCuSeqlens, 1, "[N + 1]");
    problem.sequences = inputs[Slot::kCuSeqlens].shape[0] - 1;
    if (problem.sequences < 1)
      fail("tensor 'cu_seqlens' has shape [0] or [1], wanted [N + 1] with N at least 1");
  } else {
    problem.sequences = problem.batch;
  }
  check(problem);
  problem.scale = scale.value_or(default_scale(problem.key_dim));
  check(problem);

  for (Slot slot : kSlots) {
    if (!is_input(slot) || !takes_part(problem, slot)) continue;
    const Tensor& tensor = inputs[slot];
    const Shape wanted = shape_of(problem, slot);
    if (tensor.shape != wanted) {
      fail("tensor '" + std::string(name(slot)) + "' has shape " + to_string(tensor.shape) + ", wanted " +
           to_string(wanted));
    }
    if (slot == Slot::kCuSeqlens) {
      check_cu_seqlens(problem, tensor);
    } else {
      if (tensor.dtype == DType::kI32 || tensor.dtype == DType::kI64) {
        fail("tensor '" + std::string(name(slot)) + "' has type " + std::string(name(tensor.dtype)) +
             ", wanted a floating-point type");
      }
      check_values(tensor, slot);
    }
  }
  return problem;
}

}  // namespace statescope
