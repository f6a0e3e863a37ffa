// Random numbers that are the same on every machine: integer arithmetic and exact divisions only.
#pragma once

#include <cstdint>

namespace statescope {

/// splitmix64 (Steele, Lea and Flood, 2014): one 64-bit state, integer arithmetic only.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t bits() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  /// In [0, 1), a multiple of 2^-53.
  double uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }
  /// Mean 0, variance 1, never 0: the sum of eight 16-bit uniforms, so that no library's logarithm decides
  /// the bits.
  double normal() {
    const std::uint64_t a = bits(), b = bits();
    std::int64_t sum = 0;
    for (int shift = 0; shift < 64; shift += 16) sum += ((a >> shift) & 0xffff) + ((b >> shift) & 0xffff);
    constexpr double kMean = 4 * 65535 - 0.5;  // half a unit (1e-5) off, so that no sum hits it
    constexpr double kDeviation = 53509.92;    // sqrt(8 (2^32 - 1) / 12)
    return (static_cast<double>(sum) - kMean) / kDeviation;
  }

 private:
  std::uint64_t state_;
};

}  // namespace statescope
