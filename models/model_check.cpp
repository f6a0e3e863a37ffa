#include "models/model_check.h"

#include "models/tokens.h"
#include "runtime/check/compare.h"

#include <statescope/error.h>
#include <statescope/safetensors.h>

namespace statescope {
double model_tolerance(DType dtype) {
  return dtype == DType::kF32 ? 1e-4 : 2e-2;
}

ModelCheck check_model(const std::filesystem::path& directory, std::shared_ptr<Device> device,
                       ModelOptions options) {
  Checkpoint checkpoint = load_checkpoint(directory);  // first: names a directory that is not there
  const SafetensorsFile expected(directory / "expected.safetensors");
  const TensorView ids = expected.view("input_ids");
  const Tensor logits = convert(expected.view("logits"), DType::kF64);
  Model model(std::move(checkpoint), std::move(device), options);

  ModelCheck result;
  result.model_type = model.config().model_type;
  result.device = model.device().info().name;
  const std::vector<std::int32_t> tokens = token_ids(ids);
  result.batch = ids.shape[0];
  result.tokens = ids.shape[1];
  ModelState state = model.start(result.batch);
  result.error = relative_rms(model.forward(state, tokens), logits);
  result.tolerance = model_tolerance(options.dtype);
  return result;
}

std::vector<LayerKeys> extract_keys(Model& model, std::span<const std::int32_t> ids) {
  std::vector<LayerKeys> keys(model.config().layers.size());
  ModelState state = model.start();
  model.run(state, ids, true, [&](std::int64_t layer, const LayerInputs& inputs) {
    keys[layer] = {inputs.arrays[Slot::kK], shape_of(inputs.problem, Slot::kK)};
  });
  return keys;
}

}  // namespace statescope
