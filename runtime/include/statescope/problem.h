// A problem: one pass of one recurrence at given sizes, and the table of the tensors that take part in it.
//
// Layouts follow DESIGN section 1: contiguous, row-major, row-vector convention o_t = scale * sum_j q_{t,j}
// S_{t,j}.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include <statescope/tensor.h>
#include <statescope/types.h>

namespace statescope {

/// Sizes as the recurrence sees them. A naive problem has expansion = 1 and key_dim = E K (see as_naive()).
struct Problem {
  Rule rule = Rule::kGatedDelta;
  Pass pass = Pass::kForward;
  Division division = Division::kSubheads;
  Form form = Form::kAuto;
  Series series = Series::kProduction;
  DType dtype =
      DType::kF32;  ///< of q, k, v, o and do; g, beta, states and other gradients are f32 on devices

  std::int64_t batch = 1;             ///< B; 1 when sequences are packed
  std::int64_t seq_len = 1;           ///< T; 1 for Pass::kStep
  std::int64_t heads = 1;             ///< H, heads of v and o
  std::int64_t qk_heads = 1;          ///< Hq, heads of q and k; divides H; head i reads i Hq / H
  std::int64_t expansion = 1;         ///< E, subheads a head
  std::int64_t key_dim = 64;          ///< K of one subhead
  std::int64_t value_dim = 64;        ///< V of one head
  std::int64_t sequences = 1;         ///< N; B unless packed
  bool packed = false;                ///< cu_seqlens takes part
  bool initial_state = false;         ///< h0 takes part (always for kStep)
  bool final_state_gradient = false;  ///< dht takes part (kBackward only)
  bool front_end = false;             ///< q and k come unexpanded: see below
  bool history = false;  ///< of a front end: q_history and k_history take part (always for kStep)
  float scale = 1.0f;    ///< K^-1/2 unless said

  bool operator==(const Problem&) const = default;
};

/// The naive division of the same head: E = 1, K = E K (paper, section 4.2). The scale is kept.
Problem as_naive(const Problem& problem);

/// The same problem from unexpanded q and k: a front end, with its history for kStep.
Problem with_front_end(const Problem& problem);
/// The recurrence behind a front end: the same problem with q and k expanded.
Problem without_front_end(const Problem& problem);

/// K^-1/2 in float32.
float default_scale(std::int64_t key_dim);

// The front end is the part of a state-scaled layer between the projections and the recurrence (paper,
// sections 4.1 and 4.3; layer of its appendix): q and k are one vector a head, [B, T, Hq, K], and become E
// subkeys by
//   y_t = SiLU(x_t) W          W [Hq, K, E K], one for q and one for k
//   z_t = SiLU(sum_i c_i y_{t - 3 + i}), i = 0 .. 3, a causal convolution of each of the E K channels by its
//   own
//                              c [Hq, E, K, 4]; nothing precedes a sequence unless there is a history
//   z_t / sqrt(|z_t|^2 + kNormEpsilon) over the K channels of a subkey, for gated_delta alone
// Backward then gives the gradients of x, W and c. A history is y of the three tokens before each sequence,
// [N, 3, Hq, E, K], oldest first and zero where there were none; forward and step write it anew, so that a
// prefill followed by steps is the whole sequence. Backward has none.
inline constexpr std::int64_t kConvolutionWidth = 4;
inline constexpr std::int64_t kHistoryTokens = kConvolutionWidth - 1;
inline constexpr float kNormEpsilon = 1e-6f;

/// Every tensor of any pass.
enum class Slot {
  kQ,
  kK,
  kV,
  kG,
  kBeta,
  kH0,
  kCuSeqlens,
  kDo,
  kDht,
  kQExpand,
  kKExpand,
  kQConv,
  kKConv,
  kQHistory,
  kKHistory,
  kO,
  kHt,
  kQHistoryAfter,
  kKHistoryAfter,
  kDq,
  kDk,
  kDv,
  kDg,
  kDbeta,
  kDh0,
  kDqExpand,
  kDkExpand,
  kDqConv,
  kDkConv
};
inline constexpr std::size_t kSlotCount = 29;
inline constexpr std::array<Slot, kSlotCount> kSlots = [] {
  std::array<Slot, kSlotCount> all{};
  for (std::size_t i = 0; i < kSlotCount; ++i) all[i] = static_cast<Slot>(i);
  return all;
}();

/// Name in files: "q", "cu_seqlens", "do", "dbeta", "q_expand" ...
std::string_view name(Slot slot);
constexpr bool is_input(Slot slot) {
  return slot <= Slot::kKHistory;
}

/// Whether the tensor takes part. Forward and step write o and ht, and the history after them where there is
/// one; backward writes dq dk dv [dg] [dbeta] [dh0] (dh0 only when h0 takes part), with a front end the
/// gradients of its weights, and nothing else.
bool takes_part(const Problem& problem, Slot slot);
/// The input whose memory an output takes over: a step has its state and histories in place. None otherwise.
std::optional<Slot> in_place_of(const Problem& problem, Slot output);
/// Its shape (DESIGN section 1), whether or not it takes part.
Shape shape_of(const Problem& problem, Slot slot);
/// Its element type on a device: problem.dtype for q k v do o dq dk dv, the front end's weights and
/// histories; i32 for cu_seqlens; f32 otherwise.
DType dtype_of(const Problem& problem, Slot slot);

/// One host tensor a slot; absent ones are empty.
struct TensorSet {
  std::array<Tensor, kSlotCount> tensors;
  Tensor& operator[](Slot slot) { return tensors[static_cast<std::size_t>(slot)]; }
  const Tensor& operator[](Slot slot) const { return tensors[static_cast<std::size_t>(slot)]; }
};

/// Throws Error(kUsage) unless the sizes make sense together: positive, Hq divides H, K and V multiples of 16
/// from 16 to 256 (naive: K to 4096), T = 1 and h0 for step, no packing for step, a front end only for
/// subheads, a history only with one (for step always, for backward never), products within 63 bits, scale
/// finite.
void check(const Problem& problem);

/// Derives the problem from input tensors of any floating-point type and checks them: every shape against
/// every other, g <= 0, no NaN, cu_seqlens from 0 to T without going back. `pass` backward needs do. Throws
/// Error(kUsage), one line that names the tensor, the found and the wanted.
Problem problem_of(const TensorSet& inputs, Rule rule, Pass pass, std::optional<float> scale, DType dtype);

/// The inputs in the types of dtype_of(), rounded to nearest even.
TensorSet round_inputs(const Problem& problem, const TensorSet& inputs);

/// Sequence n covers tokens [begin, end) of batch row `row`.
struct Sequence {
  std::int64_t row, begin, end;
};
/// All N sequences, from cu_seqlens when packed, else one a batch row.
std::vector<Sequence> sequences_of(const Problem& problem, const Tensor& cu_seqlens);

/// One line: "gated_delta forward bf16 B4 T4096 H8 E8 K128 V128".
std::string describe(const Problem& problem);

}  // namespace statescope
