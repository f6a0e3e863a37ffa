// What a model is made of: one mixer a layer (linear recurrence, Mamba-2 or softmax attention), a SwiGLU,
// norms and embeddings. A configuration is read from config.json as the published checkpoints write it, with
// the keys of state scaling beside the published ones:
//   expansion             E, default 1
//   expansion_method      headwise (default) | low_rank | dpfp | lfm | naive
//   expansion_activation  silu (default) | relu | 1+elu | identity, before a head-wise or low-rank expansion
//   expansion_rank        of low_rank, default K / 4
//   subhead_division      true (default): E states of K x V; false: one state of E K x V (paper, section 4.2)
//   layer_overrides       {"6": {"num_heads": 1}}: keys that differ in some layers
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "models/activation.h"

#include <statescope/types.h>

namespace statescope {

/// How q and k grow E-fold (paper, table 7). With x the head's q or k in R^K:
///   kHeadwise  act(x) W,    W [H, K, E K]                                     eq 8
///   kLowRank   act(x) A B,  A [H, K, r], B [H, r, E K]
///   kDpfp      subkey j is relu(x) times relu(x) rolled by j + 1; no parameters    (Schlag et al., 2021)
///   kLfm       subkey j is w_ij x, w [H, E] learned                             (Pramanik et al., 2024)
///   kNaive     W_q and W_k are E times as wide
enum class ExpansionMethod { kHeadwise, kLowRank, kDpfp, kLfm, kNaive };
inline constexpr ExpansionMethod kExpansionMethods[] = {ExpansionMethod::kHeadwise, ExpansionMethod::kLowRank,
                                                        ExpansionMethod::kDpfp, ExpansionMethod::kLfm,
                                                        ExpansionMethod::kNaive};
std::string_view name(ExpansionMethod method);  ///< "headwise", "low_rank", "dpfp", "lfm", "naive"
ExpansionMethod parse_expansion_method(
    std::string_view text);  ///< Throws Error(kUsage) that lists the words.

struct Expansion {
  std::int64_t factor = 1;  ///< E; 1 adds nothing, whatever the method
  ExpansionMethod method = ExpansionMethod::kHeadwise;
  Activation activation = Activation::kSilu;
  std::int64_t rank = 0;  ///< of kLowRank
  Division division = Division::kSubheads;
};

/// Where the logarithm of the decay g comes from.
enum class Decay {
  kNone,       ///< g = 0: linear attention, DeltaNet
  kRetention,  ///< log(1 - 2^(-5-i)) of head i, constant: RetNet
  kScalar,     ///< -exp(A_log) softplus(x W_a + dt_bias), one a subhead: Gated DeltaNet
  kChannel,    ///< logsigmoid((x A16) B + b) / 16, a vector over K: GLA
};

/// Linear attention and everything that grew from it.
struct LinearMixer {
  std::int64_t heads = 1;     ///< H, of v, o and the gates
  std::int64_t qk_heads = 1;  ///< Hq; divides H
  std::int64_t key_dim = 64;  ///< K of one subhead
  std::int64_t value_dim = 64;
  Decay decay = Decay::kNone;
  bool delta = false;        ///< the delta rule: beta takes part
  bool learned_beta = true;  ///< beta = sigmoid(x W_b); otherwise 1
  bool double_beta = false;  ///< beta in (0, 2): eigenvalues down to -1
  bool short_conv = false;   ///< causal depthwise convolutions of q, k and v
  bool conv_bias = false;
  std::int64_t conv_size = 4;
  Activation qk_activation = Activation::kIdentity;  ///< after the convolution
  Activation v_activation = Activation::kIdentity;
  bool l2_norm = false;  ///< of q and k, a subkey each
  bool rotary = false;
  bool output_gate = false;
  bool norm_weight = true;           ///< the output norm has a learned weight
  std::string norm_name = "o_norm";  ///< its name in the layout
  std::int64_t gate_rank = 16;
  std::optional<double> gate_floor;  ///< smallest g of Decay::kChannel
  Expansion expansion;

  /// Rule of the recurrence.
  Rule rule() const;
  /// E subheads, or one when the division is naive; K or E K.
  std::int64_t states() const { return expansion.division == Division::kSubheads ? expansion.factor : 1; }
  std::int64_t state_key_dim() const { return key_dim * expansion.factor / states(); }
};

/// Mamba-2: g = Delta A, k = B, v = Delta x, q = C.
struct Mamba2Mixer {
  std::int64_t heads = 1, head_dim = 64, state_size = 128, groups = 1, conv_size = 4;
  bool bias = false, conv_bias = true;
  double step_min = 0, step_max = 0;  ///< limits of Delta; step_max may be infinite

  std::int64_t inner() const { return heads * head_dim; }
  std::int64_t conv_dim() const { return inner() + 2 * groups * state_size; }
};

/// Softmax attention with rotary positions.
struct AttentionMixer {
  std::int64_t heads = 1, kv_heads = 1, head_dim = 64;
  std::optional<std::int64_t> window;  ///< tokens that are seen, the token itself included; none: all
  double rope_theta = 10000;
  bool qkv_bias = false, qk_norm = false;
};

using Mixer = std::variant<LinearMixer, Mamba2Mixer, AttentionMixer>;

struct ModelConfig {
  std::string text;  ///< config.json, byte by byte
  std::string
      model_type;  ///< "gated_deltanet", "gla", "mamba2", "transformer", "delta_net", "retnet", "linear_attn"
  std::int64_t vocab_size = 0, hidden = 0;
  std::int64_t intermediate = 0;  ///< of the SwiGLU; 0: the model has none
  double norm_eps = 1e-6;
  bool tied_embeddings = false;
  double initializer_range = 0.02;
  std::vector<Mixer> layers;
};

/// Throws Error(kUsage), one line "config.json: key: found X, wanted Y", for an unknown model type, a key of
/// a wrong type or an impossible size, and for published options that are not here.
ModelConfig parse_config(const std::string& text);

/// The same configuration with some top-level keys replaced; `patch` is a JSON object.
std::string patch_config(const std::string& text, const std::string& patch);

}  // namespace statescope
