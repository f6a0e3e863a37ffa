// What a problem is: names, shapes and types of its tensors, and the limits on its sizes.
#include <cmath>

#include <statescope/error.h>
#include <statescope/problem.h>

namespace statescope {
namespace {

constexpr std::array<std::string_view, kSlotCount> kSlotNames = {
    // inputs
    "q", "k", "v", "g", "beta", "h0", "cu_seqlens", "do", "dht", "q_expand", "k_expand", "q_conv", "k_conv",
    "q_history", "k_history",
    // outputs
    "o", "ht", "q_history_after", "k_history_after", "dq", "dk", "dv", "dg", "dbeta", "dh0", "dq_expand",
    "dk_expand", "dq_conv", "dk_conv"};

[[noreturn]] void fail(const std::string& message) {
  throw Error(ErrorKind::kUsage, message);
}

void check_size(const char* what, std::int64_t found) {
  if (found < 1) fail(std::string(what) + " is " + std::to_string(found) + ", wanted at least 1");
}

void check_dim(const char* what, std::int64_t found, std::int64_t most) {
  if (found < 16 || found > most || found % 16 != 0) {
    fail(std::string(what) + " is " + std::to_string(found) + ", wanted a multiple of 16 from 16 to " +
         std::to_string(most));
  }
}

}  // namespace

std::string_view name(Slot slot) {
  return kSlotNames[static_cast<std::size_t>(slot)];
}

Problem as_naive(const Problem& problem) {
  Problem naive = problem;
  naive.division = Division::kNaive;
  naive.series = Series::kComparison;
  naive.key_dim = problem.expansion * problem.key_dim;
  naive.expansion = 1;
  return naive;
}

Problem with_front_end(const Problem& problem) {
  Problem outer = problem;
  outer.front_end = true;
  outer.history = problem.pass == Pass::kStep;
  return outer;
}

Problem without_front_end(const Problem& problem) {
  Problem inner = problem;
  inner.front_end = inner.history = false;
  return inner;
}

float default_scale(std::int64_t key_dim) {
  return 1.0f / std::sqrt(static_cast<float>(key_dim));
}

bool takes_part(const Problem& p, Slot slot) {
  const bool backward = p.pass == Pass::kBackward;
  switch (slot) {
    case Slot::kQ:
    case Slot::kK:
    case Slot::kV:
      return true;
    case Slot::kG:
      return has_gate(p.rule);
    case Slot::kBeta:
      return has_beta(p.rule);
    case Slot::kH0:
      return p.initial_state;
    case Slot::kCuSeqlens:
      return p.packed;
    case Slot::kDo:
      return backward;
    case Slot::kDht:
      return backward && p.final_state_gradient;
    case Slot::kO:
    case Slot::kHt:
      return !backward;
    case Slot::kDq:
    case Slot::kDk:
    case Slot::kDv:
      return backward;
    case Slot::kDg:
      return backward && has_gate(p.rule);
    case Slot::kDbeta:
      return backward && has_beta(p.rule);
    case Slot::kDh0:
      return backward && p.initial_state;
    case Slot::kQExpand:
    case Slot::kKExpand:
    case Slot::kQConv:
    case Slot::kKConv:
      return p.front_end;
    case Slot::kQHistory:
    case Slot::kKHistory:
    case Slot::kQHistoryAfter:
    case Slot::kKHistoryAfter:
      return p.history;
    case Slot::kDqExpand:
    case Slot::kDkExpand:
    case Slot::kDqConv:
    case Slot::kDkConv:
      return p.front_end && backward;
  }
  return false;
}

std::optional<Slot> in_place_of(const Problem& problem, Slot output) {
  if (problem.pass != Pass::kStep) return std::nullopt;
  switch (output) {
    case Slot::kHt:
      return Slot::kH0;
    case Slot::kQHistoryAfter:
      return Slot::kQHistory;
    case Slot::kKHistoryAfter:
      return Slot::kKHistory;
    default:
      return std::nullopt;
  }
}

Shape shape_of(const Problem& p, Slot slot) {
  switch (slot) {
    case Slot::kQ:
    case Slot::kK:
    case Slot::kDq:
    case Slot::kDk:
      if (p.front_end) return {p.batch, p.seq_len, p.qk_heads, p.key_dim};
      return {p.batch, p.seq_len, p.qk_heads, p.expansion, p.key_dim};
    case Slot::kV:
    case Slot::kDo:
    case Slot::kO:
    case Slot::kDv:
      return {p.batch, p.seq_len, p.heads, p.value_dim};
    case Slot::kG:
    case Slot::kDg:
      if (gate_per_channel(p.rule)) return {p.batch, p.seq_len, p.heads, p.expansion, p.key_dim};
      return {p.batch, p.seq_len, p.heads, p.expansion};
    case Slot::kBeta:
    case Slot::kDbeta:
      return {p.batch, p.seq_len, p.heads, p.expansion};
    case Slot::kH0:
    case Slot::kDht:
    case Slot::kHt:
    case Slot::kDh0:
      return {p.sequences, p.heads, p.expansion, p.key_dim, p.value_dim};
    case Slot::kCuSeqlens:
      return {p.sequences + 1};
    case Slot::kQExpand:
    case Slot::kKExpand:
    case Slot::kDqExpand:
    case Slot::kDkExpand:
      return {p.qk_heads, p.key_dim, p.expansion, p.key_dim};
    case Slot::kQConv:
    case Slot::kKConv:
    case Slot::kDqConv:
    case Slot::kDkConv:
      return {p.qk_heads, p.expansion, p.key_dim, kConvolutionWidth};
    case Slot::kQHistory:
    case Slot::kKHistory:
    case Slot::kQHistoryAfter:
    case Slot::kKHistoryAfter:
      return {p.sequences, kHistoryTokens, p.qk_heads, p.expansion, p.key_dim};
  }
  return {};
}

DType dtype_of(const Problem& p, Slot slot) {
  switch (slot) {
    case Slot::kQ:
    case Slot::kK:
    case Slot::kV:
    case Slot::kDo:
    case Slot::kO:
    case Slot::kDq:
    case Slot::kDk:
    case Slot::kDv:
    case Slot::kQExpand:
    case Slot::kKExpand:
    case Slot::kQConv:
    case Slot::kKConv:
    case Slot::kQHistory:
    case Slot::kKHistory:
    case Slot::kQHistoryAfter:
    case Slot::kKHistoryAfter:
      return p.dtype;
    case Slot::kCuSeqlens:
      return DType::kI32;
    default:
      return DType::kF32;
  }
}

void check(const Problem& p) {
  check_size("batch B", p.batch);
  check_size("sequence length T", p.seq_len);
  check_size("heads H", p.heads);
  check_size("heads of q and k Hq", p.qk_heads);
  check_size("expansion E", p.expansion);
  check_size("sequences N", p.sequences);
  if (p.dtype != DType::kF32 && p.dtype != DType::kBf16 && p.dtype != DType::kF16) {
    fail("type " + std::string(name(p.dtype)) + " cannot be run; wanted f32, bf16 or f16");
  }
  check_dim("key dim K", p.key_dim, p.division == Division::kNaive ? 4096 : 256);
  check_dim("value dim V", p.value_dim, 256);
  if (p.heads % p.qk_heads != 0) {
    fail("heads of q and k Hq is " + std::to_string(p.qk_heads) +
         ", wanted a divisor of H = " + std::to_string(p.heads));
  }
  if (p.division == Division::kNaive && p.expansion != 1) {
    fail("a naive problem has expansion " + std::to_string(p.expansion) + ", wanted 1 with key dim E K");
  }
  if (p.packed && p.batch != 1) fail("packed sequences need batch B = 1, found " + std::to_string(p.batch));
  if (!p.packed && p.sequences != p.batch) {
    fail("sequences N is " + std::to_string(p.sequences) + ", wanted B = " + std::to_string(p.batch) +
         " without cu_seqlens");
  }
  if (p.pass == Pass::kStep) {
    if (p.seq_len != 1) fail("step takes one token, found sequence length " + std::to_string(p.seq_len));
    if (!p.initial_state) fail("step needs a state h0");
    if (p.packed) fail("step takes no packed sequences: one token a batch row");
  }
  if (p.front_end && p.division != Division::kSubheads) {
    fail("a front end makes subheads, found division " + std::string(name(p.division)));
  }
  if (p.front_end && p.pass == Pass::kStep && !p.history) {
    fail("step behind a front end needs its history: q_history and k_history");
  }
  if (p.history && !p.front_end) fail("a history is of a front end, found none");
  if (p.history && p.pass == Pass::kBackward) {
    fail("backward takes no history: its sequences begin with their first token");
  }
  if (!std::isfinite(p.scale)) fail("scale is not finite");
  // 1 TB a tensor is far beyond any device and keeps every size product within 63 bits.
  constexpr std::int64_t kMostBytes = std::int64_t{1} << 40;
  for (Slot slot : kSlots) {
    if (!takes_part(p, slot)) continue;
    const Shape shape = shape_of(p, slot);
    if (element_count(shape) > kMostBytes / static_cast<std::int64_t>(size_of(dtype_of(p, slot)))) {
      fail(std::string(name(slot)) + " of shape " + to_string(shape) + " is over 2^40 bytes");
    }
  }
}

TensorSet round_inputs(const Problem& problem, const TensorSet& inputs) {
  TensorSet rounded;
  for (Slot slot : kSlots) {
    if (!is_input(slot) || !takes_part(problem, slot)) continue;
    rounded[slot] = convert(inputs[slot].view(), dtype_of(problem, slot));
  }
  return rounded;
}

std::vector<Sequence> sequences_of(const Problem& problem, const Tensor& cu_seqlens) {
  std::vector<Sequence> sequences;
  if (!problem.packed) {
    for (std::int64_t b = 0; b < problem.batch; ++b) sequences.push_back({b, 0, problem.seq_len});
    return sequences;
  }
  const auto cuts = cu_seqlens.as<std::int32_t>();
  for (std::int64_t n = 0; n < problem.sequences; ++n) {
    sequences.push_back({0, cuts[static_cast<std::size_t>(n)], cuts[static_cast<std::size_t>(n) + 1]});
  }
  return sequences;
}

std::string describe(const Problem& p) {
  std::string text =
      std::string(name(p.rule)) + " " + std::string(name(p.pass)) + " " + std::string(name(p.dtype));
  const auto add = [&text](const char* letter, std::int64_t value) {
    text += std::string(" ") + letter + std::to_string(value);
  };
  add("B", p.batch);
  add("T", p.seq_len);
  add("H", p.heads);
  if (p.qk_heads != p.heads) add("Hq", p.qk_heads);
  if (p.division == Division::kNaive) {
    text += " naive";
  } else {
    add("E", p.expansion);
  }
  add("K", p.key_dim);
  add("V", p.value_dim);
  if (p.packed) add("N", p.sequences);
  if (p.initial_state) text += " h0";
  if (p.front_end) text += " front end";
  if (p.history) text += " history";
  return text;
}

}  // namespace statescope
