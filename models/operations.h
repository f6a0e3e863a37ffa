// What surrounds the recurrence, on the host in float32: matrix products (a BLAS), norms, short convolutions,
// positions. Rows are tokens: n = B T of them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/activation.h"

namespace statescope {

using Buffer = std::vector<float>;

/// y [n, out] = x [n, in] w^T (+ bias), w [out, in].
Buffer linear(std::int64_t n, std::span<const float> x, std::span<const float> w,
              std::span<const float> bias = {});

/// C [m, n] = alpha A [m, k] B [k, n], or A B^T with B [n, k]; `lda`, `ldb`, `ldc` are the distances of rows.
struct Product {
  std::int64_t m, n, k, lda, ldb, ldc;
  bool transpose_b = false;
  float alpha = 1;
};
void multiply(const Product& p, const float* a, const float* b, float* c);

/// alpha X X^T, symmetric [n, n], of rows X [n, width].
std::vector<double> row_products(std::int64_t n, double alpha, std::span<const double> rows);

/// Every row of `width` over its root mean square, times `weight` (absent: 1).
void rms_norm(std::span<float> x, std::int64_t width, std::span<const float> weight, double eps);

/// Every row of `width` over sqrt(sum of squares + 1e-6).
void l2_norm(std::span<float> x, std::int64_t width);

void activate(Activation activation, std::span<float> x);

/// x *= SiLU(gate)
void gate(std::span<float> x, std::span<const float> gate);

/// Causal depthwise convolution along T, in place: y_t = sum_s w[:, s] x_{t - size + 1 + s} + bias.
/// x [B, T, C]; w [C, 1, size]; history [B, size - 1, C]: the inputs before x, replaced by the last ones of
/// x.
void causal_convolution(std::span<float> x, std::int64_t batch, std::span<const float> w,
                        std::span<const float> bias, std::span<float> history);

/// Rotary positions (Su et al., 2021), halves paired: x [B, T, heads, width], token t of each row at `first`
/// + t.
void rotate(std::span<float> x, std::int64_t batch, std::int64_t tokens, std::int64_t width,
            std::int64_t first, double theta);

}  // namespace statescope
