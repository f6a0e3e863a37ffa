#include "models/operations.h"

#include <algorithm>
#include <cmath>

namespace statescope {
namespace {

/// to [n, width] += bias
void add_bias(Compute& compute, std::int64_t n, const Array& bias, const Array& to) {
  if (!bias.present()) return;
  const std::int64_t width = bias.size;
  compute.apply(Pointwise::kAdd, {1, 1, n, width}, {to, {0, 0, width, 1}},
                {{to, {0, 0, width, 1}}, {bias, {0, 0, 0, 1}}});
}

void multiply_into(Compute& compute, std::int64_t n, const Array& x, const Array& w, const Array& to,
                   bool accumulate) {
  const std::int64_t in = x.size / n, out = w.size / in;
  compute.multiply({.m = n, .n = out, .k = in, .transpose_b = true, .accumulate = accumulate}, {x, in},
                   {w, in}, {to, out});
}

}  // namespace

Pointwise pointwise_of(Activation activation) {
  switch (activation) {
    case Activation::kSilu:
      return Pointwise::kSilu;
    case Activation::kRelu:
      return Pointwise::kRelu;
    case Activation::kOnePlusElu:
      return Pointwise::kOnePlusElu;
    default:
      return Pointwise::kCopy;
  }
}

Array linear(Compute& compute, std::int64_t n, const Array& x, const Array& w, const Array& bias,
             DType type) {
  Array y = compute.allocate(type, n * (w.size / (x.size / n)));
  multiply_into(compute, n, x, w, y, false);
  add_bias(compute, n, bias, y);
  return y;
}

void add_linear(Compute& compute, std::int64_t n, const Array& x, const Array& w, const Array& bias,
                const Array& to) {
  multiply_into(compute, n, x, w, to, true);
  add_bias(compute, n, bias, to);
}

Array rms_norm(Compute& compute, std::int64_t width, const Array& x, const Array& weight, double eps,
               DType type) {
  Array y = compute.allocate(type, x.size);
  compute.normalise(RowNorm::kRootMeanSquare, static_cast<float>(eps), x.size / width, width, x, weight, y);
  return y;
}

Array converted(Compute& compute, const Array& x, DType type) {
  if (x.dtype == type) return x;
  Array y = compute.allocate(type, x.size);
  compute.apply(Pointwise::kCopy, y, {x});
  return y;
}

Array filled(Compute& compute, DType type, std::int64_t size, float value) {
  Array y = compute.allocate(type, size);
  compute.apply(Pointwise::kFill, y, {}, value);
  return y;
}

Array uploaded(Compute& compute, std::span<const float> values, DType type) {
  Array y = compute.allocate(DType::kF32, static_cast<std::int64_t>(values.size()));
  compute.upload(y, std::as_bytes(values));
  return converted(compute, y, type);
}

Array columns(Compute& compute, std::int64_t n, const Array& x, std::int64_t stride, std::int64_t first,
              std::int64_t width) {
  Array y = compute.allocate(x.dtype, n * width);
  compute.apply(Pointwise::kCopy, {1, 1, n, width}, {y, {0, 0, width, 1}}, {{x, {0, 0, stride, 1}, first}});
  return y;
}

Array repeated_rows(Compute& compute, const Array& x, std::int64_t width, std::int64_t times) {
  if (times == 1 || !x.present()) return x;
  Array y = compute.allocate(x.dtype, x.size * times);
  compute.apply(Pointwise::kCopy, {1, x.size / width, times, width}, {y, {0, times * width, width, 1}},
                {{x, {0, width, 0, 1}}});
  return y;
}

Array tokens_of(Compute& compute, const Array& x, std::int64_t batch, std::int64_t tokens, std::int64_t first,
                std::int64_t count) {
  const std::int64_t width = x.size / (batch * tokens);
  const std::int64_t skipped = std::clamp<std::int64_t>(-first, 0, count);
  Array part = compute.allocate(x.dtype, batch * count * width);
  const Extents rows{0, count * width, width, 1};
  if (skipped > 0) compute.apply(Pointwise::kFill, {1, batch, skipped, width}, {part, rows}, {});
  if (skipped < count)
    compute.apply(Pointwise::kCopy, {1, batch, count - skipped, width}, {part, rows, skipped * width},
                  {{x, {0, tokens * width, width, 1}, (first + skipped) * width}});
  return part;
}

Array join_tokens(Compute& compute, std::int64_t batch, const Array& a, const Array& b) {
  if (!a.present()) return b;
  const std::int64_t first = a.size / batch, second = b.size / batch, both = first + second;
  Array joined = compute.allocate(b.dtype, a.size + b.size);
  compute.apply(Pointwise::kCopy, {1, 1, batch, first}, {joined, {0, 0, both, 1}}, {{a, {0, 0, first, 1}}});
  compute.apply(Pointwise::kCopy, {1, 1, batch, second}, {joined, {0, 0, both, 1}, first},
                {{b, {0, 0, second, 1}}});
  return joined;
}

Array rotated(Compute& compute, const Array& x, std::int64_t batch, std::int64_t tokens, std::int64_t width,
              std::int64_t first, double theta) {
  const std::int64_t half = width / 2, heads = x.size / (batch * tokens * width);
  std::vector<float> cosines, sines;  // [T, half]
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(first + t) *
                           std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(width));
      cosines.push_back(static_cast<float>(std::cos(angle)));
      sines.push_back(static_cast<float>(std::sin(angle)));
    }
  }
  const Extents extents{batch, tokens, heads, half};
  const Extents whole{tokens * heads * width, heads * width, width, 1}, table{0, half, 0, 1};
  const View low{x, whole}, high{x, whole, half};
  const View cosine{uploaded(compute, cosines, wide_type(x.dtype)), table};
  const View sine{uploaded(compute, sines, wide_type(x.dtype)), table};
  Array y = compute.allocate(x.dtype, x.size);
  compute.apply(Pointwise::kRotate, extents, {y, whole}, {low, high, cosine, sine}, -1);
  compute.apply(Pointwise::kRotate, extents, {y, whole, half}, {high, low, cosine, sine}, 1);
  return y;
}

}  // namespace statescope
