// Host tensors: an element type, a shape, and contiguous row-major bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <statescope/types.h>

namespace statescope {

using Shape = std::vector<std::int64_t>;

/// Number of elements. Throws Error(kUsage) on a negative extent or when the product overflows 63 bits.
std::int64_t element_count(const Shape& shape);

/// "[2, 67, 2, 64]"
std::string to_string(const Shape& shape);

/// A tensor that somebody else owns (a mapped file, a Tensor).
struct TensorView {
  DType dtype = DType::kF32;
  Shape shape;
  std::span<const std::byte> bytes;
};

/// A tensor that owns its bytes. A default-constructed Tensor is absent.
struct Tensor {
  DType dtype = DType::kF32;
  Shape shape;
  std::vector<std::byte> bytes;

  Tensor() = default;
  /// Zero-filled.
  Tensor(DType dtype, Shape shape);

  bool present() const { return !bytes.empty() || !shape.empty(); }
  std::int64_t size() const { return static_cast<std::int64_t>(bytes.size() / size_of(dtype)); }
  TensorView view() const { return {dtype, shape, bytes}; }

  /// The elements as T; T must have the size of dtype (float for kF32, double for kF64, uint16_t for kBf16
  /// ...).
  template <typename T>
  std::span<T> as() {
    return {reinterpret_cast<T*>(bytes.data()), bytes.size() / sizeof(T)};
  }
  template <typename T>
  std::span<const T> as() const {
    return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
  }
};

/// A copy in another floating-point type, rounded to nearest even. Integer types convert only to themselves.
Tensor convert(const TensorView& from, DType to);

// 16-bit formats, rounded to nearest even; NaN stays NaN, overflow becomes infinity.
std::uint16_t f32_to_bf16(float value);
float bf16_to_f32(std::uint16_t bits);
std::uint16_t f32_to_f16(float value);
float f16_to_f32(std::uint16_t bits);

}  // namespace statescope
