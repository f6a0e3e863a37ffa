// The one table of a model's tensors: names and shapes as the published classes write them, what part of the
// model each belongs to, and how a fresh one begins. Checkpoints are checked against it, parameters counted
// from it and random models made from it. Weights of linear maps are [out, in].
//
// State scaling adds, in layer N with E > 1:
//   model.layers.N.attn.{q,k}_expand.weight      headwise [Hq, K, E K], lfm [Hq, E]
//   model.layers.N.attn.{q,k}_expand.{down,up}.weight   low_rank [Hq, K, r] and [Hq, r, E K]
// and widens with subheads a_proj, b_proj, A_log and dt_bias to H E (head-major), the convolutions of q and
// k, and GLA's gate to H E K.
#pragma once

#include <string>
#include <vector>

#include "models/config.h"

#include <statescope/tensor.h>

namespace statescope {

/// What a tensor is for; the rows of an accounting.
enum class Part {
  kEmbedding,
  kNorm,
  kQueryKey,
  kExpansion,
  kConvolution,
  kGate,
  kValue,
  kOutput,
  kFeedForward
};
inline constexpr Part kParts[] = {Part::kEmbedding, Part::kNorm,        Part::kQueryKey,
                                  Part::kExpansion, Part::kConvolution, Part::kGate,
                                  Part::kValue,     Part::kOutput,      Part::kFeedForward};
std::string_view name(Part part);

/// How a fresh tensor begins. kNormal: deviation initializer_range. kFanIn: uniform within +-1/sqrt(last
/// extent), a convolution's default. kExpansion: normal with deviation 1/sqrt(inputs a head), so that a
/// head's scale is kept (the papers do not say). kDecay: A_log = log U(0, 16). kRamp: log(1 .. H). kStep: the
/// inverse softplus of a log-uniform step in [1e-3, 0.1].
enum class Init { kNormal, kOnes, kZeros, kFanIn, kExpansion, kDecay, kRamp, kStep };

struct TensorSpec {
  std::string name;
  Shape shape;
  Part part;
  Init init;
  bool optional = false;  ///< may be absent: an output matrix that is tied to the embeddings
  int layer = -1;         ///< -1: outside of the layers
};

/// Every tensor, in the order of the computation.
std::vector<TensorSpec> tensor_specs(const ModelConfig& config);

/// A fresh tensor; `deviation` is the configuration's initializer_range.
Tensor random_tensor(const TensorSpec& spec, double deviation, std::uint64_t seed, DType dtype = DType::kF32);

/// "model.layers.3.attn." or "backbone.layers.3.mixer.": what the names of a layer's mixer begin with.
std::string mixer_prefix(const ModelConfig& config, std::int64_t layer);
/// "model.layers.3." or "backbone.layers.3."
std::string layer_prefix(const ModelConfig& config, std::int64_t layer);

}  // namespace statescope
