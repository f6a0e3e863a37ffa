#include "models/tokens.h"

#include "models/checkpoint.h"

#include <statescope/error.h>
#include <statescope/safetensors.h>

namespace statescope {

std::vector<std::int32_t> byte_tokens(std::string_view text) {
  std::vector<std::int32_t> ids;
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

std::vector<std::int32_t> token_ids(const TensorView& ids) {
  if (ids.shape.size() != 2 || (ids.dtype != DType::kI32 && ids.dtype != DType::kI64)) {
    throw Error(ErrorKind::kUsage, "input_ids: found " + std::string(name(ids.dtype)) + " of shape " +
                                       to_string(ids.shape) + ", wanted i32 or i64 [B, T]");
  }
  const std::int64_t count = element_count(ids.shape);
  const Tensor copy = convert(ids, ids.dtype);
  std::vector<std::int32_t> values;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t id =
        ids.dtype == DType::kI32 ? copy.as<std::int32_t>()[i] : copy.as<std::int64_t>()[i];
    values.push_back(id < 0 || id > INT32_MAX ? -1
                                              : static_cast<std::int32_t>(id));  // forward() names a bad one
  }
  return values;
}

std::vector<std::int32_t> tokens_of_file(const std::filesystem::path& path) {
  std::vector<std::int32_t> ids;
  if (path.extension() == ".safetensors") {
    const SafetensorsFile file(path);
    const TensorView view = file.view("input_ids");
    ids = token_ids(view);
    if (view.shape[0] != 1) {
      throw Error(ErrorKind::kUsage, path.string() + ": input_ids: found shape " + to_string(view.shape) +
                                         ", wanted one sequence, [1, T]");
    }
  } else {
    ids = byte_tokens(read_text_file(path));
  }
  if (ids.empty()) throw Error(ErrorKind::kUsage, path.string() + ": found no text");
  return ids;
}

}  // namespace statescope
