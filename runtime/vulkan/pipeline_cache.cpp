// The file is a header of ours, then what the driver gave. Drivers check that the data is theirs, not that it
// is whole, so the header carries its size and a hash.
#include "runtime/vulkan/pipeline_cache.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include <statescope/error.h>
#include <statescope/safetensors.h>

namespace statescope::vulkan {
namespace {

struct Header {
  char magic[8] = {'s', 's', 'v', 'k', 'p', 'c', '0', '1'};
  std::uint64_t bytes = 0;
  std::uint64_t hash = 0;
};

/// FNV-1a, 64 bits.
std::uint64_t hash_of(std::span<const std::byte> bytes) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (std::byte b : bytes) hash = (hash ^ std::to_integer<std::uint64_t>(b)) * 0x100000001b3u;
  return hash;
}

std::string hex(std::span<const std::uint8_t> bytes) {
  std::string text;
  for (std::uint8_t b : bytes) {
    text += "0123456789abcdef"[b >> 4];
    text += "0123456789abcdef"[b & 15];
  }
  return text;
}

std::vector<std::byte> read_cache_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  Header header;
  if (!file.read(reinterpret_cast<char*>(&header), sizeof header)) return {};
  if (std::memcmp(header.magic, Header{}.magic, sizeof header.magic) != 0) return {};
  std::error_code error;
  if (header.bytes + sizeof header != std::filesystem::file_size(path, error) || error) return {};
  std::vector<std::byte> data(header.bytes);
  if (!file.read(reinterpret_cast<char*>(data.data()), static_cast<std::streamsize>(data.size()))) return {};
  if (hash_of(data) != header.hash) return {};
  return data;
}

}  // namespace

std::filesystem::path pipeline_cache_path(const PhysicalDevice& physical) {
  std::filesystem::path root;
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache && *cache) {
    root = cache;
  } else if (const char* home = std::getenv("HOME"); home && *home) {
    root = std::filesystem::path(home) / ".cache";
  } else {
    return {};
  }
  return root / "statescope" /
         ("vulkan-" + hex(physical.info.uuid) + "-" + hex(physical.driver_uuid) + ".bin");
}

void load_pipeline_cache(Gpu& gpu) {
  const std::filesystem::path path = pipeline_cache_path(gpu.physical);
  const std::vector<std::byte> data = path.empty() ? std::vector<std::byte>{} : read_cache_file(path);
  gpu.stored_cache_bytes = data.size();
  VkPipelineCacheCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO;
  info.initialDataSize = data.size();
  info.pInitialData = data.data();
  check(vkCreatePipelineCache(gpu.device, &info, nullptr, &gpu.pipeline_cache), "vkCreatePipelineCache");
}

void save_pipeline_cache(Gpu& gpu) {
  const std::filesystem::path path = pipeline_cache_path(gpu.physical);
  std::size_t size = 0;
  if (path.empty() || vkGetPipelineCacheData(gpu.device, gpu.pipeline_cache, &size, nullptr) != VK_SUCCESS)
    return;
  if (size <= gpu.stored_cache_bytes) return;
  std::vector<std::byte> file(sizeof(Header) + size);
  const std::span<std::byte> data = std::span(file).subspan(sizeof(Header));
  if (vkGetPipelineCacheData(gpu.device, gpu.pipeline_cache, &size, data.data()) != VK_SUCCESS) return;
  Header header;
  header.bytes = size;
  header.hash = hash_of(data.first(size));
  std::memcpy(file.data(), &header, sizeof header);
  std::error_code error;
  std::filesystem::create_directories(path.parent_path(), error);
  if (error) return;
  try {
    write_file_atomically(path, std::span(file).first(sizeof header + size));
    gpu.stored_cache_bytes = size;
  } catch (const Error&) {
    // A full or read-only cache directory.
  }
}

}  // namespace statescope::vulkan
