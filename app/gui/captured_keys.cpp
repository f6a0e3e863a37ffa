#include "app/gui/captured_keys.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <statescope/error.h>
#include <statescope/safetensors.h>

#include "models/model.h"
#include "models/tokens.h"
#include "runtime/check/random.h"

namespace statescope::gui {
namespace {

constexpr std::int64_t kBytes = 256;

std::vector<std::int32_t> read_tokens(const std::string& path, std::int64_t count, std::int64_t vocabulary) {
  if (path.empty()) {
    Random random(11);
    std::vector<std::int32_t> ids(static_cast<std::size_t>(count));
    for (std::int32_t& id : ids) {
      id = static_cast<std::int32_t>(random.uniform() * static_cast<double>(vocabulary));
    }
    return ids;
  }
  if (path.ends_with(".safetensors")) {
    auto ids = tokens_of_file(path);
    ids.resize(std::min(ids.size(), static_cast<std::size_t>(count)));
    return ids;
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(ErrorKind::kUsage, path + ": no such text file");
  if (vocabulary < kBytes) {
    throw Error(ErrorKind::kUsage, path + ": the checkpoint's vocabulary has " + std::to_string(vocabulary) +
                                       " tokens, wanted 256 to read text byte by byte");
  }
  std::string text((std::istreambuf_iterator<char>(file)), {});
  text.resize(std::min(text.size(), static_cast<std::size_t>(count)));
  if (text.size() < 2) throw Error(ErrorKind::kUsage, path + ": found fewer than 2 bytes, wanted text");
  return byte_tokens(text);
}

Tensor keys_of_checkpoint(const KeyFile& file, std::int64_t tokens, const std::shared_ptr<Device>& device) {
  Model model(load_checkpoint(file.path), device);
  const auto ids = read_tokens(file.text, tokens, model.config().vocab_size);
  ModelState state = model.start();
  Tensor keys;
  std::int64_t layers = 0;
  model.forward(state, ids, true, [&](std::int64_t layer, const LayerInputs& inputs) {
    layers = std::max(layers, layer + 1);
    if (layer == file.layer)
      keys = model.compute().download(inputs.arrays[Slot::kK], shape_of(inputs.problem, Slot::kK));
  });
  if (!keys.present()) {
    throw Error(ErrorKind::kUsage, file.path + ": found " + std::to_string(layers) +
                                       " layers, wanted layer " + std::to_string(file.layer));
  }
  return keys;
}

}  // namespace

Tensor captured_keys(const KeyFile& file, std::int64_t tokens, const std::shared_ptr<Device>& device) {
  if (std::filesystem::is_directory(file.path)) return keys_of_checkpoint(file, tokens, device);
  return convert(SafetensorsFile(file.path).view("k"), DType::kF32);
}

}  // namespace statescope::gui
