#include "models/state_expansion.h"

namespace statescope {
namespace {

/// y [n, heads, out] = x [n, heads, in] w, a matrix w [heads, in, out] a head.
Buffer multiply_heads(std::int64_t heads, std::int64_t in, std::int64_t out, const Buffer& x,
                      std::span<const float> w) {
  const std::int64_t n = static_cast<std::int64_t>(x.size()) / (heads * in);
  Buffer y(static_cast<std::size_t>(n * heads * out));
  for (std::int64_t head = 0; head < heads; ++head) {
    multiply({n, out, in, heads * in, out, heads * out}, x.data() + head * in, w.data() + head * in * out,
             y.data() + head * out);
  }
  return y;
}

/// Subkey j is relu(x) times relu(x) rolled by j + 1.
Buffer dpfp(std::int64_t factor, std::int64_t key_dim, Buffer x) {
  activate(Activation::kRelu, x);
  Buffer y(x.size() * static_cast<std::size_t>(factor));
  const std::int64_t rows = static_cast<std::int64_t>(x.size()) / key_dim;
  for (std::int64_t row = 0; row < rows; ++row) {
    const float* in = x.data() + row * key_dim;
    for (std::int64_t j = 0; j < factor; ++j) {
      float* out = y.data() + (row * factor + j) * key_dim;
      for (std::int64_t i = 0; i < key_dim; ++i) out[i] = in[i] * in[(i + key_dim - j - 1) % key_dim];
    }
  }
  return y;
}

/// Subkey j of head i is w_ij x.
Buffer lfm(std::int64_t factor, std::int64_t heads, std::int64_t key_dim, const Buffer& x,
           std::span<const float> w) {
  Buffer y(x.size() * static_cast<std::size_t>(factor));
  const std::int64_t rows = static_cast<std::int64_t>(x.size()) / key_dim;
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t j = 0; j < factor; ++j) {
      const float scale = w[(row % heads) * factor + j];
      for (std::int64_t i = 0; i < key_dim; ++i)
        y[(row * factor + j) * key_dim + i] = scale * x[row * key_dim + i];
    }
  }
  return y;
}

}  // namespace

Buffer expand_heads(const Expansion& expansion, std::int64_t heads, std::int64_t key_dim, Buffer x,
                    const WeightOf& weight) {
  const std::int64_t factor = expansion.factor;
  if (factor == 1) return x;
  switch (expansion.method) {
    case ExpansionMethod::kHeadwise:
      activate(expansion.activation, x);
      return multiply_heads(heads, key_dim, factor * key_dim, x, weight("weight"));
    case ExpansionMethod::kLowRank:
      activate(expansion.activation, x);
      x = multiply_heads(heads, key_dim, expansion.rank, x, weight("down.weight"));
      return multiply_heads(heads, expansion.rank, factor * key_dim, x, weight("up.weight"));
    case ExpansionMethod::kDpfp:
      return dpfp(factor, key_dim, std::move(x));
    case ExpansionMethod::kLfm:
      return lfm(factor, heads, key_dim, x, weight("weight"));
    case ExpansionMethod::kNaive:
      return x;
  }
  return x;
}

}  // namespace statescope
