#include "runtime/check/compare.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <statescope/error.h>

namespace statescope {
namespace {

/// Elements [first, first + count) as a tensor of its own, so that a large tensor is widened a piece at a
/// time.
TensorView piece(const Tensor& tensor, std::int64_t first, std::int64_t count) {
  const std::size_t size = size_of(tensor.dtype);
  return {tensor.dtype, {count}, std::span(tensor.bytes).subspan(first * size, count * size)};
}

}  // namespace

double relative_rms(const Tensor& x, const Tensor& reference) {
  if (x.shape != reference.shape) {
    throw Error(ErrorKind::kUsage,
                "comparison: found shape " + to_string(x.shape) + ", wanted " + to_string(reference.shape));
  }
  constexpr std::int64_t kPiece = 1 << 16;
  const std::int64_t size = x.size();
  double difference = 0, norm = 0;
  for (std::int64_t first = 0; first < size; first += kPiece) {
    const std::int64_t count = std::min(kPiece, size - first);
    const Tensor a = convert(piece(x, first, count), DType::kF64);
    const Tensor b = convert(piece(reference, first, count), DType::kF64);
    const auto found = a.as<double>();
    const auto wanted = b.as<double>();
    for (std::int64_t i = 0; i < count; ++i) {
      difference += (found[i] - wanted[i]) * (found[i] - wanted[i]);
      norm += wanted[i] * wanted[i];
    }
  }
  // A NaN or an infinity on either side ends up in the sum of squares.
  if (!std::isfinite(difference)) return std::numeric_limits<double>::infinity();
  if (size == 0) return 0;
  return norm == 0 ? std::sqrt(difference / static_cast<double>(size)) : std::sqrt(difference / norm);
}

double tolerance(const Problem& problem, Slot slot) {
  if (problem.dtype == DType::kF32) return problem.form == Form::kRecurrent ? 1e-5 : 1e-4;
  // Behind a front end q and k are results, and are rounded to 16 bits once more.
  const double roundings = problem.front_end ? 1.5 : 1;
  switch (slot) {
    case Slot::kO:
    case Slot::kHt:
      return 5e-3 * roundings;
    case Slot::kDg:
    case Slot::kDbeta:
      return 2e-2 * roundings;
    default:
      return 8e-3 * roundings;
  }
}

std::vector<OutputError> compare_outputs(const Problem& problem, const TensorSet& outputs,
                                         const TensorSet& reference) {
  std::vector<OutputError> errors;
  for (Slot slot : kSlots) {
    if (is_input(slot) || !takes_part(problem, slot)) continue;
    errors.push_back({slot, relative_rms(outputs[slot], reference[slot]), tolerance(problem, slot)});
  }
  return errors;
}

}  // namespace statescope
