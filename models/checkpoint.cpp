#include "models/checkpoint.h"

#include <algorithm>
#include <cstdio>
#include <set>

#include <nlohmann/json.hpp>

#include "models/layout.h"

#include <statescope/error.h>

namespace statescope {
namespace {

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";

[[noreturn]] void fail(const std::filesystem::path& where, const std::string& what) {
  throw Error(ErrorKind::kUsage, where.string() + ": " + what);
}

/// Tensor name to file name, from the index.
std::map<std::string, std::string> read_index(const std::filesystem::path& path) {
  const auto json = nlohmann::json::parse(read_text_file(path), nullptr, false);
  if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object()) {
    fail(path, "wanted a JSON object with a weight_map");
  }
  std::map<std::string, std::string> files;
  for (const auto& [name, file] : json["weight_map"].items()) {
    const std::string text = file.is_string() ? file.get<std::string>() : "";
    if (text.empty() || text.find('/') != text.npos || text[0] == '.') {
      fail(path,
           "tensor '" + name + "': found file " + file.dump() + ", wanted a file name in this directory");
    }
    files[name] = text;
  }
  return files;
}

void load_single(const std::filesystem::path& directory, Checkpoint& checkpoint) {
  const SafetensorsFile file(directory / kSingleFile);
  checkpoint.metadata = file.metadata();
  for (const std::string& name : file.names()) checkpoint.tensors[name] = file.view(name);
  checkpoint.files.push_back(file);
}

void load_shards(const std::filesystem::path& directory, Checkpoint& checkpoint) {
  const std::map<std::string, std::string> index = read_index(directory / kIndexFile);
  std::set<std::string> shards;
  for (const auto& [name, shard] : index) shards.insert(shard);
  for (const std::string& shard : shards) {
    const SafetensorsFile file(directory / shard);
    if (checkpoint.files.empty()) checkpoint.metadata = file.metadata();
    for (const std::string& name : file.names()) {
      const auto it = index.find(name);
      if (it == index.end() || it->second != shard) {
        fail(directory / kIndexFile, "tensor '" + name + "' of " + shard + " is listed " +
                                         (it == index.end() ? std::string("nowhere") : "in " + it->second));
      }
      checkpoint.tensors[name] = file.view(name);
    }
    checkpoint.files.push_back(file);
  }
  for (const auto& [name, shard] : index) {
    if (!checkpoint.tensors.contains(name)) {
      fail(directory / kIndexFile, "tensor '" + name + "' is not in " + shard);
    }
  }
}

bool is_weight_type(DType type) {
  return type == DType::kF32 || type == DType::kBf16 || type == DType::kF16;
}

std::string shard_name(std::size_t i, std::size_t count) {
  char text[64];
  std::snprintf(text, sizeof text, "model-%05zu-of-%05zu.safetensors", i + 1, count);
  return text;
}

}  // namespace

void check_tensors(const Checkpoint& checkpoint) {
  std::set<std::string> known;
  for (const TensorSpec& spec : tensor_specs(checkpoint.config)) {
    known.insert(spec.name);
    const auto it = checkpoint.tensors.find(spec.name);
    if (it == checkpoint.tensors.end()) {
      if (spec.optional) continue;
      throw Error(ErrorKind::kUsage,
                  "tensor '" + spec.name + "': found nothing, wanted shape " + to_string(spec.shape));
    }
    const TensorView& found = it->second;
    if (found.shape != spec.shape) {
      throw Error(ErrorKind::kUsage, "tensor '" + spec.name + "': found shape " + to_string(found.shape) +
                                         ", wanted " + to_string(spec.shape));
    }
    if (!is_weight_type(found.dtype)) {
      throw Error(ErrorKind::kUsage, "tensor '" + spec.name + "': found type " +
                                         std::string(name(found.dtype)) + ", wanted f32, bf16 or f16");
    }
  }
  for (const auto& [name, view] : checkpoint.tensors) {
    if (!known.contains(name)) {
      throw Error(ErrorKind::kUsage, "tensor '" + name + "': found shape " + to_string(view.shape) +
                                         ", wanted nothing: a " + checkpoint.config.model_type +
                                         " of this configuration has no such tensor");
    }
  }
}

Checkpoint load_checkpoint(const std::filesystem::path& directory) {
  if (!std::filesystem::is_directory(directory)) fail(directory, "no such directory");
  Checkpoint checkpoint;
  const std::string text = read_text_file(directory / "config.json");
  try {
    checkpoint.config = parse_config(text);
    if (std::filesystem::exists(directory / kSingleFile)) {
      load_single(directory, checkpoint);
    } else if (std::filesystem::exists(directory / kIndexFile)) {
      load_shards(directory, checkpoint);
    } else {
      throw Error(ErrorKind::kUsage, std::string("found neither ") + kSingleFile + " nor " + kIndexFile);
    }
    check_tensors(checkpoint);
  } catch (const Error& error) {
    const std::string message = error.what();
    const bool named = message.starts_with(directory.string());
    throw Error(error.kind(), named ? message : directory.string() + ": " + message);
  }
  return checkpoint;
}

void save_checkpoint(const Checkpoint& checkpoint, const std::filesystem::path& directory,
                     std::int64_t shard_bytes) {
  make_directory(directory);
  std::vector<std::map<std::string, TensorView>> shards(1);
  std::int64_t total = 0, filled = 0;
  for (const auto& [name, view] : checkpoint.tensors) {
    const auto bytes = static_cast<std::int64_t>(view.bytes.size());
    if (filled > 0 && bytes > shard_bytes - filled) {
      shards.emplace_back();
      filled = 0;
    }
    shards.back()[name] = view;
    filled += bytes;
    total += bytes;
  }
  if (shards.size() == 1) {
    write_safetensors(directory / kSingleFile, shards[0], checkpoint.metadata);
  } else {
    nlohmann::ordered_json index = {{"metadata", {{"total_size", total}}}, {"weight_map", {}}};
    for (std::size_t i = 0; i < shards.size(); ++i) {
      const std::string file = shard_name(i, shards.size());
      write_safetensors(directory / file, shards[i], checkpoint.metadata);
      for (const auto& [name, view] : shards[i]) index["weight_map"][name] = file;
    }
    const std::string text = index.dump(2) + "\n";
    write_file_atomically(directory / kIndexFile, std::as_bytes(std::span(text)));
  }
  write_file_atomically(directory / "config.json", std::as_bytes(std::span(checkpoint.config.text)));
}

Checkpoint make_checkpoint(ModelConfig config, std::map<std::string, Tensor> tensors) {
  Checkpoint empty;
  empty.metadata = {{"format", "pt"}};  // what the published libraries look for before they load a file
  return derive_checkpoint(empty, std::move(config), std::move(tensors));
}

Checkpoint derive_checkpoint(const Checkpoint& base, ModelConfig config,
                             std::map<std::string, Tensor> changed) {
  Checkpoint derived = base;
  derived.config = std::move(config);
  derived.owned.push_back(std::make_shared<const std::map<std::string, Tensor>>(std::move(changed)));
  for (const auto& [name, tensor] : *derived.owned.back()) derived.tensors[name] = tensor.view();
  std::set<std::string> wanted;
  for (const TensorSpec& spec : tensor_specs(derived.config)) wanted.insert(spec.name);
  for (const TensorSpec& spec :
       base.config.layers.empty() ? std::vector<TensorSpec>() : tensor_specs(base.config)) {
    if (!wanted.contains(spec.name)) derived.tensors.erase(spec.name);
  }
  check_tensors(derived);
  return derived;
}

}  // namespace statescope
