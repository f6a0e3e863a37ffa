#include "models/operations.h"

#include <algorithm>
#include <cmath>
#include <string>

#include <cblas.h>

#include <statescope/error.h>

namespace statescope {
namespace {

/// BLAS counts in 32 bits.
int blas_size(std::int64_t size) {
  if (size < 0 || size > INT32_MAX) {
    throw Error(ErrorKind::kUsage,
                "matrix product: found an extent of " + std::to_string(size) + ", wanted at most 2147483647");
  }
  return static_cast<int>(size);
}

}  // namespace

Buffer linear(std::int64_t n, std::span<const float> x, std::span<const float> w,
              std::span<const float> bias) {
  const auto in = static_cast<std::int64_t>(x.size()) / n;
  const auto out = static_cast<std::int64_t>(w.size()) / in;
  Buffer y(static_cast<std::size_t>(n * out));
  if (n == 1) {
    cblas_sgemv(CblasRowMajor, CblasNoTrans, blas_size(out), blas_size(in), 1, w.data(), blas_size(in),
                x.data(), 1, 0, y.data(), 1);
  } else {
    multiply({n, out, in, in, in, out, true}, x.data(), w.data(), y.data());
  }
  for (std::int64_t row = 0; !bias.empty() && row < n; ++row) {
    for (std::int64_t i = 0; i < out; ++i) y[row * out + i] += bias[i];
  }
  return y;
}

void multiply(const Product& p, const float* a, const float* b, float* c) {
  cblas_sgemm(CblasRowMajor, CblasNoTrans, p.transpose_b ? CblasTrans : CblasNoTrans, blas_size(p.m),
              blas_size(p.n), blas_size(p.k), p.alpha, a, blas_size(p.lda), b, blas_size(p.ldb), 0, c,
              blas_size(p.ldc));
}

std::vector<double> row_products(std::int64_t n, double alpha, std::span<const double> rows) {
  const auto width = static_cast<std::int64_t>(rows.size()) / n;
  std::vector<double> products(static_cast<std::size_t>(n * n));
  cblas_dsyrk(CblasRowMajor, CblasLower, CblasNoTrans, blas_size(n), blas_size(width), alpha, rows.data(),
              blas_size(width), 0, products.data(), blas_size(n));
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < i; ++j) products[j * n + i] = products[i * n + j];
  }
  return products;
}

void rms_norm(std::span<float> x, std::int64_t width, std::span<const float> weight, double eps) {
  for (float* row = x.data(); row != x.data() + x.size(); row += width) {
    double squares = 0;
    for (std::int64_t i = 0; i < width; ++i) squares += static_cast<double>(row[i]) * row[i];
    const auto inverse = static_cast<float>(1 / std::sqrt(squares / static_cast<double>(width) + eps));
    for (std::int64_t i = 0; i < width; ++i) row[i] *= weight.empty() ? inverse : inverse * weight[i];
  }
}

void l2_norm(std::span<float> x, std::int64_t width) {
  constexpr double kEps = 1e-6;
  for (float* row = x.data(); row != x.data() + x.size(); row += width) {
    double squares = 0;
    for (std::int64_t i = 0; i < width; ++i) squares += static_cast<double>(row[i]) * row[i];
    const auto inverse = static_cast<float>(1 / std::sqrt(squares + kEps));
    for (std::int64_t i = 0; i < width; ++i) row[i] *= inverse;
  }
}

void activate(Activation activation, std::span<float> x) {
  if (activation == Activation::kIdentity) return;
  for (float& value : x) value = activate(activation, value);
}

void gate(std::span<float> x, std::span<const float> gate) {
  for (std::size_t i = 0; i < x.size(); ++i) x[i] *= activate(Activation::kSilu, gate[i]);
}

void causal_convolution(std::span<float> x, std::int64_t batch, std::span<const float> w,
                        std::span<const float> bias, std::span<float> history) {
  // Two equations give the sizes: history holds B (size - 1) C elements, w holds C size.
  const auto channels =
      static_cast<std::int64_t>(w.size()) - static_cast<std::int64_t>(history.size()) / batch;
  const std::int64_t size = static_cast<std::int64_t>(w.size()) / channels;
  const std::int64_t tokens = static_cast<std::int64_t>(x.size()) / (batch * channels);
  const std::int64_t kept = (size - 1) * channels;
  Buffer taps(w.size());  // [size, C], so that the inner loop runs along C
  for (std::int64_t c = 0; c < channels; ++c) {
    for (std::int64_t s = 0; s < size; ++s) taps[s * channels + c] = w[c * size + s];
  }
  Buffer padded(static_cast<std::size_t>(kept + tokens * channels));
  for (std::int64_t row = 0; row < batch; ++row) {
    float* past = history.data() + row * kept;
    float* y = x.data() + row * tokens * channels;
    std::copy_n(past, kept, padded.begin());
    std::copy_n(y, tokens * channels, padded.begin() + kept);
    std::copy_n(padded.end() - kept, kept, past);
    for (std::int64_t t = 0; t < tokens; ++t, y += channels) {
      if (bias.empty()) {
        std::fill_n(y, channels, 0.0f);
      } else {
        std::copy_n(bias.begin(), channels, y);
      }
      for (std::int64_t s = 0; s < size; ++s) {
        const float* in = padded.data() + (t + s) * channels;
        const float* tap = taps.data() + s * channels;
        for (std::int64_t c = 0; c < channels; ++c) y[c] += tap[c] * in[c];
      }
    }
  }
}

void rotate(std::span<float> x, std::int64_t batch, std::int64_t tokens, std::int64_t width,
            std::int64_t first, double theta) {
  const std::int64_t half = width / 2;
  const std::int64_t heads = static_cast<std::int64_t>(x.size()) / (batch * tokens * width);
  Buffer cosines(half), sines(half);
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(first + t) *
                           std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(width));
      cosines[i] = static_cast<float>(std::cos(angle));
      sines[i] = static_cast<float>(std::sin(angle));
    }
    for (std::int64_t row = 0; row < batch; ++row) {
      for (std::int64_t head = 0; head < heads; ++head) {
        float* pair = x.data() + ((row * tokens + t) * heads + head) * width;
        for (std::int64_t i = 0; i < half; ++i) {
          const float a = pair[i], b = pair[i + half];
          pair[i] = a * cosines[i] - b * sines[i];
          pair[i + half] = b * cosines[i] + a * sines[i];
        }
      }
    }
  }
}

}  // namespace statescope
