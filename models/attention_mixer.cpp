#include <algorithm>
#include <cmath>
#include <limits>

#include "models/mixers.h"

namespace statescope {
namespace {

constexpr std::int64_t kQueryBlock = 256;  // rows of scores at a time: bounds their memory, H 256 T elements

/// Keys and values [B, capacity, kv heads, head dim] behind the ones that are kept. A full cache grows
/// twofold; with a window, what no later token sees is left behind then.
void remember(const AttentionMixer& m, const MixerContext& in, const Array& k, const Array& v,
              KeyValueCache& cache) {
  Compute& compute = in.compute();
  const std::int64_t key = m.kv_heads * m.head_dim;
  const auto rows = [&](std::int64_t tokens) { return Extents{0, 0, tokens * key, 1}; };
  if (cache.kept + in.tokens > cache.capacity) {
    const std::int64_t seen = m.window ? std::min(cache.kept, *m.window - 1) : cache.kept;
    const std::int64_t capacity = std::max(2 * seen, seen + in.tokens);
    for (Array* array : {&cache.keys, &cache.values}) {
      Array grown = compute.allocate(in.dtype, in.batch * capacity * key);
      if (seen > 0)
        compute.apply(Pointwise::kCopy, {1, 1, in.batch, seen * key}, {grown, rows(capacity)},
                      {{*array, rows(cache.capacity), (cache.kept - seen) * key}});
      *array = grown;
    }
    cache.capacity = capacity;
    cache.kept = seen;
  }
  for (const auto& [from, to] : {std::pair(&k, &cache.keys), std::pair(&v, &cache.values)})
    compute.apply(Pointwise::kCopy, {1, 1, in.batch, in.tokens * key},
                  {*to, rows(cache.capacity), cache.kept * key}, {{*from, rows(in.tokens)}});
  cache.kept += in.tokens;
}

/// o [T, H, D] of one batch row, `count` queries from token `begin`.
void attend(const AttentionMixer& m, const MixerContext& in, std::int64_t row, std::int64_t begin,
            std::int64_t count, const Array& q, const KeyValueCache& cache, const Array& o) {
  Compute& compute = in.compute();
  const std::int64_t query = m.heads * m.head_dim, key = m.kv_heads * m.head_dim, d = m.head_dim;
  // Of the cache: what the first of these queries sees to what the last does.
  const std::int64_t end = cache.kept - in.tokens + begin + count;
  const std::int64_t start = m.window ? std::max<std::int64_t>(0, end - count + 1 - *m.window) : 0;
  const std::int64_t width = end - start, group = m.heads / m.kv_heads;
  const std::int64_t first_query = (row * in.tokens + begin) * query;
  const Array scores = compute.allocate(in.wide(), m.heads * count * width);
  const Array weights = compute.allocate(in.dtype, scores.size);
  const float scale = 1 / std::sqrt(static_cast<float>(d));
  // Heads with keys of their own go in one call; those that share keys, a group a call.
  const std::int64_t calls = group == 1 ? 1 : m.kv_heads, batch = m.heads / calls;
  const std::int64_t between = group == 1 ? d : 0;
  const auto kept = [&](std::int64_t call) { return (row * cache.capacity + start) * key + call * d; };
  for (std::int64_t call = 0; call < calls; ++call)
    compute.multiply({.m = count, .n = width, .k = d, .batch = batch, .transpose_b = true, .alpha = scale},
                     {q, query, d, first_query + call * batch * d}, {cache.keys, key, between, kept(call)},
                     {scores, width, count * width, call * batch * count * width});
  compute.softmax(
      {m.heads, count, width, width - count, m.window.value_or(std::numeric_limits<std::int32_t>::max())},
      scores, weights);
  for (std::int64_t call = 0; call < calls; ++call)
    compute.multiply({.m = count, .n = d, .k = width, .batch = batch},
                     {weights, width, count * width, call * batch * count * width},
                     {cache.values, key, between, kept(call)}, {o, query, d, first_query + call * batch * d});
}

}  // namespace

void mix(const AttentionMixer& m, const MixerContext& in, const Array& x, LayerState& state) {
  Compute& compute = in.compute();
  Array q = in.project(x, "q_proj"), k = in.project(x, "k_proj");
  const Array v = in.project(x, "v_proj");
  if (m.qk_norm) {
    constexpr double kEps = 1e-5;  // the published class keeps its norm's default here
    q = rms_norm(compute, m.head_dim, q, in.weight("q_norm.weight"), kEps, in.dtype);
    k = rms_norm(compute, m.head_dim, k, in.weight("k_norm.weight"), kEps, in.dtype);
  }
  q = rotated(compute, q, in.batch, in.tokens, m.head_dim, in.first, m.rope_theta);
  k = rotated(compute, k, in.batch, in.tokens, m.head_dim, in.first, m.rope_theta);

  Problem shown;  // what an observer is told of the shapes
  shown.rule = Rule::kLinear;
  shown.batch = shown.sequences = in.batch;
  shown.seq_len = in.tokens;
  shown.heads = m.heads;
  shown.qk_heads = m.kv_heads;
  shown.key_dim = shown.value_dim = m.head_dim;
  SlotArrays inputs;
  inputs[Slot::kQ] = q;
  inputs[Slot::kK] = k;
  inputs[Slot::kV] = v;
  in.observe(shown, inputs);

  remember(m, in, k, v, state.cache);
  const Array o = compute.allocate(in.dtype, q.size);
  for (std::int64_t row = 0; row < in.batch; ++row) {
    for (std::int64_t begin = 0; begin < in.tokens; begin += kQueryBlock)
      attend(m, in, row, begin, std::min(kQueryBlock, in.tokens - begin), q, state.cache, o);
  }
  in.add_projection(o, "o_proj");
}

}  // namespace statescope
