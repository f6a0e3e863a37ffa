// The operations of a layer on a device, put together from those of Compute. Rows are tokens: n = B T of
// them.
#pragma once

#include "models/activation.h"

#include <statescope/compute.h>

namespace statescope {

/// Type of what stays wide whatever the activations' type: the residual stream, gates, states, logits.
constexpr DType wide_type(DType dtype) {
  return dtype == DType::kF64 ? DType::kF64 : DType::kF32;
}

Pointwise pointwise_of(Activation activation);

/// y [n, out] = x [n, in] w^T (+ bias), w [out, in].
Array linear(Compute& compute, std::int64_t n, const Array& x, const Array& w, const Array& bias, DType type);
/// to += x w^T (+ bias)
void add_linear(Compute& compute, std::int64_t n, const Array& x, const Array& w, const Array& bias,
                const Array& to);

/// Every row of `width` over its root mean square, times `weight` (absent: 1).
Array rms_norm(Compute& compute, std::int64_t width, const Array& x, const Array& weight, double eps,
               DType type);

/// A copy of another type.
Array converted(Compute& compute, const Array& x, DType type);

Array filled(Compute& compute, DType type, std::int64_t size, float value);

Array uploaded(Compute& compute, std::span<const float> values, DType type);

/// Columns [first, first + width) of n rows `stride` wide.
Array columns(Compute& compute, std::int64_t n, const Array& x, std::int64_t stride, std::int64_t first,
              std::int64_t width);

/// x [rows, width], each row `times` times.
Array repeated_rows(Compute& compute, const Array& x, std::int64_t width, std::int64_t times);

/// Tokens [first, first + count) of x [B, T, width]; tokens before the first are zero.
Array tokens_of(Compute& compute, const Array& x, std::int64_t batch, std::int64_t tokens, std::int64_t first,
                std::int64_t count);
/// a [B, T, ...] and b [B, T', ...] one behind the other along T; an absent one is empty.
Array join_tokens(Compute& compute, std::int64_t batch, const Array& a, const Array& b);

/// Rotary positions (Su et al., 2021), halves paired: x [B, T, heads, width], token t of each row at `first`
/// + t.
Array rotated(Compute& compute, const Array& x, std::int64_t batch, std::int64_t tokens, std::int64_t width,
              std::int64_t first, double theta);

}  // namespace statescope
