#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <set>

#include <nlohmann/json.hpp>

#include <statescope/error.h>
#include <statescope/safetensors.h>

static_assert(std::endian::native == std::endian::little, "the format is little-endian and is used in place");

namespace statescope {
namespace {

using Json = nlohmann::json;

[[noreturn]] void fail(const std::string& message) {
  throw Error(ErrorKind::kUsage, "safetensors: " + message);
}

/// The header's own spelling; false for types that the format has and DType does not (they may lie in the
/// file).
bool parse_type(const std::string& text, DType* type, std::size_t* size) {
  static const std::map<std::string, DType> known = {{"F32", DType::kF32}, {"BF16", DType::kBf16},
                                                     {"F16", DType::kF16}, {"F64", DType::kF64},
                                                     {"I32", DType::kI32}, {"I64", DType::kI64}};
  if (const auto it = known.find(text); it != known.end()) {
    *type = it->second;
    *size = size_of(it->second);
    return true;
  }
  static const std::map<std::string, std::size_t> others = {{"BOOL", 1},    {"U8", 1},      {"I8", 1},
                                                            {"F8_E5M2", 1}, {"F8_E4M3", 1}, {"U16", 2},
                                                            {"I16", 2},     {"U32", 4},     {"U64", 8}};
  const auto it = others.find(text);
  *size = it == others.end() ? 0 : it->second;
  return false;
}

std::string type_name(DType type) {
  switch (type) {
    case DType::kF32:
      return "F32";
    case DType::kBf16:
      return "BF16";
    case DType::kF16:
      return "F16";
    case DType::kF64:
      return "F64";
    case DType::kI32:
      return "I32";
    case DType::kI64:
      return "I64";
  }
  return "";
}

/// A tensor as the header describes it; `known` is false when DType does not have its type.
struct Entry {
  TensorView view;
  bool known = false;
  std::string type;
};

Json parse_header(std::string_view text) {
  // The parser keeps the last of two equal names; the format forbids them, so they are caught on the way in.
  std::vector<std::set<std::string>> seen;
  std::string duplicate;
  const auto watch = [&](int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) seen.emplace_back();
    if (event == Json::parse_event_t::object_end) seen.pop_back();
    if (event == Json::parse_event_t::key && !seen.back().insert(parsed.get<std::string>()).second) {
      duplicate = parsed.get<std::string>();
    }
    return true;
  };
  Json header;
  try {
    header = Json::parse(text, watch);
  } catch (const Json::exception&) {
    fail("the header is not JSON");
  }
  if (!duplicate.empty()) fail("the header names '" + duplicate + "' twice");
  if (!header.is_object()) fail("the header is not a JSON object");
  return header;
}

std::uint64_t unsigned_at(const Json& value, const std::string& tensor, const char* what) {
  if (!value.is_number_unsigned()) fail("tensor '" + tensor + "': " + what + " is not a whole number");
  return value.get<std::uint64_t>();
}

Entry parse_entry(const std::string& tensor, const Json& value, std::span<const std::byte> data,
                  std::pair<std::uint64_t, std::uint64_t>* range) {
  if (!value.is_object() || !value.contains("dtype") || !value.contains("shape") ||
      !value.contains("data_offsets")) {
    fail("tensor '" + tensor + "' lacks dtype, shape or data_offsets");
  }
  if (!value["dtype"].is_string()) fail("tensor '" + tensor + "': dtype is not a string");
  Entry entry;
  entry.type = value["dtype"].get<std::string>();
  std::size_t element = 0;
  entry.known = parse_type(entry.type, &entry.view.dtype, &element);
  if (element == 0) fail("tensor '" + tensor + "' has unknown type '" + entry.type + "'");
  if (!value["shape"].is_array()) fail("tensor '" + tensor + "': shape is not a list");
  for (const Json& extent : value["shape"]) {
    const std::uint64_t n = unsigned_at(extent, tensor, "an extent");
    if (n > (std::uint64_t{1} << 62)) fail("tensor '" + tensor + "': an extent of " + std::to_string(n));
    entry.view.shape.push_back(static_cast<std::int64_t>(n));
  }
  const Json& offsets = value["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2) fail("tensor '" + tensor + "': data_offsets is not a pair");
  const std::uint64_t begin = unsigned_at(offsets[0], tensor, "an offset");
  const std::uint64_t end = unsigned_at(offsets[1], tensor, "an offset");
  if (begin > end || end > data.size()) {
    fail("tensor '" + tensor + "' spans bytes " + std::to_string(begin) + " to " + std::to_string(end) +
         " of a data part of " + std::to_string(data.size()));
  }
  const std::uint64_t count = static_cast<std::uint64_t>(element_count(entry.view.shape));
  if (count > (std::uint64_t{1} << 62) / element || count * element != end - begin) {
    fail("tensor '" + tensor + "' of shape " + to_string(entry.view.shape) + " and type " + entry.type +
         " spans " + std::to_string(end - begin) + " bytes");
  }
  entry.view.bytes = data.subspan(begin, end - begin);
  *range = {begin, end};
  return entry;
}

std::map<std::string, Entry> parse(std::span<const std::byte> bytes,
                                   std::map<std::string, std::string>* metadata) {
  constexpr std::uint64_t kMostHeader = 100'000'000;
  if (bytes.size() < 8) fail("the file has " + std::to_string(bytes.size()) + " bytes, wanted at least 8");
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  if (length > kMostHeader || length > bytes.size() - 8) {
    fail("the header claims " + std::to_string(length) + " bytes of a file of " +
         std::to_string(bytes.size()));
  }
  const Json header = parse_header({reinterpret_cast<const char*>(bytes.data()) + 8, length});
  const std::span<const std::byte> data = bytes.subspan(8 + length);

  std::map<std::string, Entry> entries;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
  for (const auto& [key, value] : header.items()) {
    if (key == "__metadata__") {
      if (!value.is_object()) fail("__metadata__ is not a JSON object");
      for (const auto& [word, text] : value.items()) {
        if (!text.is_string()) fail("__metadata__ '" + word + "' is not a string");
        if (metadata) (*metadata)[word] = text.get<std::string>();
      }
      continue;
    }
    ranges.emplace_back();
    entries[key] = parse_entry(key, value, data, &ranges.back());
  }
  std::sort(ranges.begin(), ranges.end());
  std::uint64_t covered = 0;
  for (const auto& [begin, end] : ranges) {
    if (begin != covered) fail("tensors overlap or leave a gap at byte " + std::to_string(begin));
    covered = end;
  }
  if (covered != data.size()) {
    fail("tensors cover " + std::to_string(covered) + " of " + std::to_string(data.size()) + " data bytes");
  }
  return entries;
}

/// A read-only mapping of a whole file.
class Mapping {
 public:
  explicit Mapping(const std::filesystem::path& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) throw Error(ErrorKind::kUsage, path.string() + ": " + std::strerror(errno));
    struct stat status {};
    if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
      ::close(fd);
      throw Error(ErrorKind::kUsage, path.string() + ": not a regular file");
    }
    size_ = static_cast<std::size_t>(status.st_size);
    if (size_ > 0) address_ = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
    const int error = errno;
    ::close(fd);
    if (address_ == MAP_FAILED) throw Error(ErrorKind::kDevice, path.string() + ": " + std::strerror(error));
  }
  ~Mapping() {
    if (address_) ::munmap(address_, size_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(address_), size_}; }

 private:
  void* address_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace

struct SafetensorsFile::Impl {
  explicit Impl(const std::filesystem::path& where) : path(where), mapping(where) {
    try {
      entries = parse(mapping.bytes(), &metadata);
    } catch (const Error& error) {
      throw Error(error.kind(), path.string() + ": " + error.what());
    }
  }
  std::filesystem::path path;
  Mapping mapping;
  std::map<std::string, std::string> metadata;
  std::map<std::string, Entry> entries;
};

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : impl_(std::make_shared<const Impl>(path)) {}

const std::map<std::string, std::string>& SafetensorsFile::metadata() const {
  return impl_->metadata;
}
const std::filesystem::path& SafetensorsFile::path() const {
  return impl_->path;
}
bool SafetensorsFile::contains(const std::string& name) const {
  return impl_->entries.contains(name);
}

std::vector<std::string> SafetensorsFile::names() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : impl_->entries) names.push_back(name);
  return names;
}

TensorView SafetensorsFile::view(const std::string& name) const {
  const auto it = impl_->entries.find(name);
  if (it == impl_->entries.end()) {
    throw Error(ErrorKind::kUsage, impl_->path.string() + ": no tensor '" + name + "'");
  }
  if (!it->second.known) {
    throw Error(ErrorKind::kUsage, impl_->path.string() + ": tensor '" + name + "' has type " +
                                       it->second.type + ", wanted F32, BF16, F16, F64, I32 or I64");
  }
  return it->second.view;
}

std::map<std::string, TensorView> parse_safetensors(std::span<const std::byte> bytes,
                                                    std::map<std::string, std::string>* metadata) {
  std::map<std::string, TensorView> views;
  for (auto& [name, entry] : parse(bytes, metadata)) {
    if (entry.known) views[name] = entry.view;
  }
  return views;
}

void write_safetensors(const std::filesystem::path& path, const std::map<std::string, TensorView>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::uint64_t offset = 0;
  for (const auto& [name, view] : tensors) {
    header[name] = {{"dtype", type_name(view.dtype)},
                    {"shape", view.shape},
                    {"data_offsets", {offset, offset + view.bytes.size()}}};
    offset += view.bytes.size();
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8,
              ' ');  // the data starts aligned, so that it can be used where it is mapped
  const std::uint64_t length = text.size();
  std::vector<std::span<const std::byte>> pieces = {std::as_bytes(std::span(&length, 1)),
                                                    std::as_bytes(std::span(text))};
  for (const auto& [name, view] : tensors) pieces.push_back(view.bytes);
  write_file_atomically(path, pieces);
}

}  // namespace statescope
