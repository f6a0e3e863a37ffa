#include "models/state_expansion.h"

namespace statescope {
namespace {

Array activated(Compute& compute, Activation activation, const Array& x) {
  if (activation == Activation::kIdentity) return x;
  Array y = compute.allocate(x.dtype, x.size);
  compute.apply(pointwise_of(activation), y, {x});
  return y;
}

/// y [n, heads, out] = x [n, heads, in] w, a matrix w [heads, in, out] a head.
Array multiply_heads(Compute& compute, std::int64_t heads, std::int64_t in, const Array& x, const Array& w) {
  const std::int64_t n = x.size / (heads * in), out = w.size / (heads * in);
  Array y = compute.allocate(x.dtype, n * heads * out);
  compute.multiply({.m = n, .n = out, .k = in, .batch = heads}, {x, heads * in, in}, {w, out, in * out},
                   {y, heads * out, out});
  return y;
}

/// Subkey j is relu(x) times relu(x) rolled by j + 1: of relu(x) written twice in a row, what begins j + 1
/// before the second.
Array dpfp(Compute& compute, std::int64_t factor, std::int64_t key_dim, const Array& x) {
  const std::int64_t rows = x.size / key_dim;
  const Array twice =
      repeated_rows(compute, activated(compute, Activation::kRelu, x), key_dim, 2);  // [rows, 2, K]
  Array y = compute.allocate(x.dtype, x.size * factor);
  compute.apply(Pointwise::kMultiply, {1, rows, factor, key_dim}, {y, {0, factor * key_dim, key_dim, 1}},
                {{twice, {0, 2 * key_dim, 0, 1}}, {twice, {0, 2 * key_dim, -1, 1}, key_dim - 1}});
  return y;
}

/// Subkey j of head i is w_ij x.
Array lfm(Compute& compute, std::int64_t factor, std::int64_t heads, std::int64_t key_dim, const Array& x,
          const Array& w) {
  const std::int64_t n = x.size / (heads * key_dim), width = factor * key_dim;
  Array y = compute.allocate(x.dtype, x.size * factor);
  compute.apply(Pointwise::kMultiply, {n, heads, factor, key_dim}, {y, {heads * width, width, key_dim, 1}},
                {{x, {heads * key_dim, key_dim, 0, 1}}, {w, {0, factor, 1, 0}}});
  return y;
}

}  // namespace

Array expand_heads(Compute& compute, const Expansion& expansion, std::int64_t heads, std::int64_t key_dim,
                   const Array& x, const WeightOf& weight) {
  const std::int64_t factor = expansion.factor;
  if (factor == 1) return x;
  switch (expansion.method) {
    case ExpansionMethod::kHeadwise:
      return multiply_heads(compute, heads, key_dim, activated(compute, expansion.activation, x),
                            weight("weight"));
    case ExpansionMethod::kLowRank: {
      const Array low = multiply_heads(compute, heads, key_dim, activated(compute, expansion.activation, x),
                                       weight("down.weight"));
      return multiply_heads(compute, heads, expansion.rank, low, weight("up.weight"));
    }
    case ExpansionMethod::kDpfp:
      return dpfp(compute, factor, key_dim, x);
    case ExpansionMethod::kLfm:
      return lfm(compute, factor, heads, key_dim, x, weight("weight"));
    case ExpansionMethod::kNaive:
      return x;
  }
  return x;
}

}  // namespace statescope
