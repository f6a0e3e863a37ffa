#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include <statescope/error.h>
#include <statescope/tensor.h>

namespace statescope {

std::int64_t element_count(const Shape& shape) {
  std::int64_t count = 1;
  for (std::int64_t extent : shape) {
    if (extent < 0) throw Error(ErrorKind::kUsage, "shape " + to_string(shape) + " has a negative extent");
    if (__builtin_mul_overflow(count, extent, &count)) {
      throw Error(ErrorKind::kUsage,
                  "shape " + to_string(shape) + " has more elements than 63 bits can count");
    }
  }
  return count;
}

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

Tensor::Tensor(DType type, Shape extents) : dtype(type), shape(std::move(extents)) {
  const std::int64_t count = element_count(shape);
  if (count > std::numeric_limits<std::int64_t>::max() / static_cast<std::int64_t>(size_of(type))) {
    throw Error(ErrorKind::kUsage, "a tensor of shape " + to_string(shape) + " is larger than memory can be");
  }
  bytes.resize(static_cast<std::size_t>(count) * size_of(type));
}

std::uint16_t f32_to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (std::isnan(value))
    return static_cast<std::uint16_t>((bits >> 16) | 0x0040);  // quiet, payload's top kept
  return static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

float bf16_to_f32(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

std::uint16_t f32_to_f16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000;
  const std::uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return static_cast<std::uint16_t>(sign | 0x7e00);
  if (magnitude >= 0x477ff000) return static_cast<std::uint16_t>(sign | 0x7c00);  // rounds to 65536 or more
  if (magnitude < 0x38800000) {
    // Subnormal: adding 0.5 leaves the value, in units of 2^-24 and rounded to nearest even, in the low
    // mantissa bits.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3f000000));
  }
  const std::uint32_t rounded = magnitude + 0xfff + ((magnitude >> 13) & 1);
  return static_cast<std::uint16_t>(sign | ((rounded - 0x38000000) >> 13));
}

float f16_to_f32(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1f;
  const std::uint32_t mantissa = bits & 0x3ff;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000 | (mantissa << 13));
  if (exponent == 0) {
    const float magnitude = std::ldexp(static_cast<float>(mantissa), -24);
    return sign ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

namespace {

/// A double rounded to float32 so that a second rounding to 16 bits gives what one direct rounding would
/// ("round to odd": the sticky bit survives in the last place).
float to_f32_sticky(double value) {
  const float nearest = static_cast<float>(value);
  if (std::isnan(value) || std::isinf(nearest) || static_cast<double>(nearest) == value) return nearest;
  auto bits = std::bit_cast<std::uint32_t>(nearest);
  if (std::fabs(static_cast<double>(nearest)) > std::fabs(value)) --bits;
  return std::bit_cast<float>(bits | 1u);
}

// Each type's storage and its way to and from double (exact) or float.
struct F32 {
  using Storage = float;
  static float load(float x) { return x; }
  static float store(auto x) { return static_cast<float>(x); }
};
struct F64 {
  using Storage = double;
  static double load(double x) { return x; }
  static double store(auto x) { return static_cast<double>(x); }
};
struct Bf16 {
  using Storage = std::uint16_t;
  static float load(std::uint16_t x) { return bf16_to_f32(x); }
  static std::uint16_t store(float x) { return f32_to_bf16(x); }
  static std::uint16_t store(double x) { return f32_to_bf16(to_f32_sticky(x)); }
};
struct F16 {
  using Storage = std::uint16_t;
  static float load(std::uint16_t x) { return f16_to_f32(x); }
  static std::uint16_t store(float x) { return f32_to_f16(x); }
  static std::uint16_t store(double x) { return f32_to_f16(to_f32_sticky(x)); }
};

template <typename From, typename To>
void convert_elements(const TensorView& from, Tensor& to) {
  auto* target = reinterpret_cast<typename To::Storage*>(to.bytes.data());
  const auto count = static_cast<std::size_t>(to.size());
  for (std::size_t i = 0; i < count; ++i) {
    typename From::Storage element;  // a view of a mapped file need not be aligned
    std::memcpy(&element, from.bytes.data() + i * sizeof(element), sizeof(element));
    target[i] = To::store(From::load(element));
  }
}

template <typename From>
void convert_from(const TensorView& from, Tensor& to) {
  switch (to.dtype) {
    case DType::kF32:
      return convert_elements<From, F32>(from, to);
    case DType::kF64:
      return convert_elements<From, F64>(from, to);
    case DType::kBf16:
      return convert_elements<From, Bf16>(from, to);
    case DType::kF16:
      return convert_elements<From, F16>(from, to);
    default:
      return;
  }
}

bool is_integer(DType type) {
  return type == DType::kI32 || type == DType::kI64;
}

}  // namespace

Tensor convert(const TensorView& from, DType to) {
  if (from.dtype != to && (is_integer(from.dtype) || is_integer(to))) {
    throw Error(ErrorKind::kUsage,
                "cannot convert " + std::string(name(from.dtype)) + " to " + std::string(name(to)));
  }
  Tensor result;
  if (from.dtype == to) {
    result.dtype = to;
    result.shape = from.shape;
    result.bytes.assign(from.bytes.begin(), from.bytes.end());
    return result;
  }
  result = Tensor(to, from.shape);
  switch (from.dtype) {
    case DType::kF32:
      convert_from<F32>(from, result);
      break;
    case DType::kF64:
      convert_from<F64>(from, result);
      break;
    case DType::kBf16:
      convert_from<Bf16>(from, result);
      break;
    case DType::kF16:
      convert_from<F16>(from, result);
      break;
    default:
      break;
  }
  return result;
}

}  // namespace statescope
