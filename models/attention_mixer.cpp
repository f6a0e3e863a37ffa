#include <algorithm>
#include <cmath>

#include "models/mixers.h"

namespace statescope {
namespace {

constexpr std::int64_t kQueryBlock = 64;  // rows of scores at a time: 64 x 4096 floats stay in a core's cache

/// Row `r` of the scores sees keys [first, last); the others become 0.
void softmax_row(float* row, std::int64_t width, std::int64_t first, std::int64_t last) {
  const float most = *std::max_element(row + first, row + last);
  double sum = 0;
  for (std::int64_t i = first; i < last; ++i) sum += row[i] = std::exp(row[i] - most);
  const auto inverse = static_cast<float>(1 / sum);
  for (std::int64_t i = first; i < last; ++i) row[i] *= inverse;
  std::fill(row, row + first, 0.0f);
  std::fill(row + last, row + width, 0.0f);
}

/// One head of one batch row: o [T, D] from q [T, D] and `kept` keys and values, of which the last T are
/// these tokens'.
void attend(const AttentionMixer& m, std::int64_t tokens, std::int64_t kept, const float* q, const float* k,
            const float* v, float* o) {
  const std::int64_t query = m.heads * m.head_dim, key = m.kv_heads * m.head_dim, past = kept - tokens;
  const float scale = 1 / std::sqrt(static_cast<float>(m.head_dim));
  Buffer scores(static_cast<std::size_t>(std::min(tokens, kQueryBlock) * kept));
  for (std::int64_t begin = 0; begin < tokens; begin += kQueryBlock) {
    const std::int64_t rows = std::min(kQueryBlock, tokens - begin), width = past + begin + rows;
    multiply({rows, width, m.head_dim, query, key, width, true, scale}, q + begin * query, k, scores.data());
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t last = past + begin + r + 1;
      const std::int64_t first = m.window ? std::max<std::int64_t>(0, last - *m.window) : 0;
      softmax_row(scores.data() + r * width, width, first, last);
    }
    multiply({rows, m.head_dim, width, width, key, query}, scores.data(), v, o + begin * query);
  }
}

}  // namespace

Buffer mix(const AttentionMixer& m, const MixerContext& in, const Buffer& x, LayerState& state) {
  Buffer q = in.project(x, "q_proj"), k = in.project(x, "k_proj");
  const Buffer v = in.project(x, "v_proj");
  if (m.qk_norm) {
    constexpr double kEps = 1e-5;  // the published class keeps its norm's default here
    rms_norm(q, m.head_dim, in.weight("q_norm.weight"), kEps);
    rms_norm(k, m.head_dim, in.weight("k_norm.weight"), kEps);
  }
  rotate(q, in.batch, in.tokens, m.head_dim, in.first, m.rope_theta);
  rotate(k, in.batch, in.tokens, m.head_dim, in.first, m.rope_theta);
  if (in.observer) {
    TensorSet inputs;
    inputs[Slot::kQ] = tensor_of(q, {in.batch, in.tokens, m.heads, 1, m.head_dim});
    inputs[Slot::kK] = tensor_of(k, {in.batch, in.tokens, m.kv_heads, 1, m.head_dim});
    inputs[Slot::kV] = tensor_of(v, {in.batch, in.tokens, m.kv_heads, m.head_dim});
    in.observer(in.layer, inputs);
  }

  state.keys.resize(static_cast<std::size_t>(in.batch));
  state.values.resize(static_cast<std::size_t>(in.batch));
  const std::int64_t query = m.heads * m.head_dim, key = m.kv_heads * m.head_dim;
  Buffer o(q.size());
  for (std::int64_t row = 0; row < in.batch; ++row) {
    std::vector<float>& keys = state.keys[row];
    std::vector<float>& values = state.values[row];
    const std::int64_t first = row * in.tokens * key, last = first + in.tokens * key;
    keys.insert(keys.end(), k.begin() + first, k.begin() + last);
    values.insert(values.end(), v.begin() + first, v.begin() + last);
    const std::int64_t kept = static_cast<std::int64_t>(keys.size()) / key;
    for (std::int64_t head = 0; head < m.heads; ++head) {
      const std::int64_t shared = head * m.kv_heads / m.heads * m.head_dim;
      const std::int64_t own = row * in.tokens * query + head * m.head_dim;
      attend(m, in.tokens, kept, q.data() + own, keys.data() + shared, values.data() + shared,
             o.data() + own);
    }
    // The next token sees itself and window - 1 of these.
    if (m.window && kept > *m.window - 1) {
      const std::int64_t gone = (kept - (*m.window - 1)) * key;
      keys.erase(keys.begin(), keys.begin() + gone);
      values.erase(values.begin(), values.begin() + gone);
    }
  }
  return in.project(o, "o_proj");
}

}  // namespace statescope
