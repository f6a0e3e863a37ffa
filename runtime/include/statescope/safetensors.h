// The safetensors file format: an 8-byte little-endian header length, a JSON header, then raw tensor bytes.
// Reading maps the file and checks every offset before any byte is used.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <statescope/files.h>
#include <statescope/tensor.h>

namespace statescope {

/// A mapped file. Views stay valid while the object (or a copy: copies share the mapping) lives.
class SafetensorsFile {
 public:
  /// Throws Error(kUsage) on a missing, truncated or lying file: header beyond the end or over 100 MB,
  /// offsets that overlap, leave a gap or disagree with shape times type, unknown types that are asked for,
  /// duplicate names.
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::map<std::string, std::string>& metadata() const;
  /// Tensor names in order of the name.
  std::vector<std::string> names() const;
  bool contains(const std::string& name) const;
  /// Throws Error(kUsage) when absent or of a type that DType does not have.
  TensorView view(const std::string& name) const;
  const std::filesystem::path& path() const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

/// The same checks over bytes in memory (what the fuzzer calls); the bytes must outlive the returned views.
std::map<std::string, TensorView> parse_safetensors(std::span<const std::byte> bytes,
                                                    std::map<std::string, std::string>* metadata = nullptr);

/// Writes, and throws, as write_file_atomically() does.
void write_safetensors(const std::filesystem::path& path, const std::map<std::string, TensorView>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace statescope
