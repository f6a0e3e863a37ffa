// Rounding to 16 bits against the definition: the nearest representable value, ties to even.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include <statescope/error.h>
#include <statescope/tensor.h>

namespace statescope {
namespace {

/// The nearest 16-bit value by trying both neighbours in float64: slow and obviously right.
std::uint16_t nearest(double value, float (*widen)(std::uint16_t), std::uint16_t largest) {
  const std::uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const double magnitude = std::fabs(value);
  std::uint16_t low = 0, high = largest;  // invariant: widen(low) <= magnitude
  if (magnitude >= widen(largest)) low = largest;
  while (low < high) {
    const auto middle = static_cast<std::uint16_t>((low + high + 1) / 2);
    if (widen(middle) <= magnitude) {
      low = middle;
    } else {
      high = static_cast<std::uint16_t>(middle - 1);
    }
  }
  const auto above = static_cast<std::uint16_t>(low + 1);
  // Past the largest finite value, the next step would have been one unit further on.
  const double next =
      low == largest ? 2.0 * widen(largest) - widen(static_cast<std::uint16_t>(largest - 1)) : widen(above);
  const double to_low = magnitude - widen(low);
  const double to_next = next - magnitude;
  const bool up = to_next < to_low || (to_next == to_low && (low & 1));
  return static_cast<std::uint16_t>(sign | (up ? above : low));
}

TEST(Tensor, SixteenBitTypesRoundTripEveryPattern) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto pattern = static_cast<std::uint16_t>(bits);
    const float bf16 = bf16_to_f32(pattern), f16 = f16_to_f32(pattern);
    EXPECT_TRUE(std::isnan(bf16) || f32_to_bf16(bf16) == pattern) << pattern;
    EXPECT_TRUE(std::isnan(f16) || f32_to_f16(f16) == pattern) << pattern;
  }
}

TEST(Tensor, RoundsToNearestEven) {
  std::mt19937_64 random(7);
  std::uniform_real_distribution<double> exponent(-30, 17), mantissa(-1, 1);
  Tensor wide(DType::kF64, {200000});
  for (double& x : wide.as<double>()) x = std::ldexp(mantissa(random), static_cast<int>(exponent(random)));
  // Ties, and doubles just beside ties, which a rounding through float32 would send the wrong way.
  auto values = wide.as<double>();
  for (std::size_t i = 0; i + 2 < 3000; i += 3) {
    const double tie = (1024.0 + static_cast<double>(i % 1024) + 0.5) / 1024.0;
    values[i] = tie;
    values[i + 1] = std::nextafter(tie, 4.0);
    values[i + 2] = -std::nextafter(tie, 0.0);
  }
  const Tensor f16 = convert(wide.view(), DType::kF16);
  const Tensor bf16 = convert(wide.view(), DType::kBf16);
  for (std::size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(f16.as<std::uint16_t>()[i], nearest(values[i], f16_to_f32, 0x7bff)) << values[i];
    ASSERT_EQ(bf16.as<std::uint16_t>()[i], nearest(values[i], bf16_to_f32, 0x7f7f)) << values[i];
  }
}

TEST(Tensor, KeepsNanAndInfinity) {
  const float inf = std::numeric_limits<float>::infinity();
  for (float sign : {1.0f, -1.0f}) {
    EXPECT_EQ(f16_to_f32(f32_to_f16(sign * inf)), sign * inf);
    EXPECT_EQ(bf16_to_f32(f32_to_bf16(sign * inf)), sign * inf);
  }
  EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(std::bit_cast<float>(0x7f800001u)))));
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(std::bit_cast<float>(0x7f800001u)))));
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(f32_to_f16(65519.0f), 0x7bff);
}

TEST(Tensor, ReadsViewsAtAnyAddress) {
  std::vector<std::byte> bytes(9);
  const float value = 1.5f;
  std::memcpy(bytes.data() + 1, &value, 4);
  std::memcpy(bytes.data() + 5, &value, 4);
  const Tensor tensor = convert({DType::kF32, {2}, std::span(bytes).subspan(1)}, DType::kF64);
  EXPECT_EQ(tensor.as<double>()[1], 1.5);
}

TEST(Tensor, RefusesSizesBeyondCounting) {
  EXPECT_THROW(element_count({1ll << 32, 1ll << 32}), Error);
  EXPECT_THROW(element_count({2, -1}), Error);
  EXPECT_THROW(convert(Tensor(DType::kI32, {1}).view(), DType::kF32), Error);
}

}  // namespace
}  // namespace statescope
