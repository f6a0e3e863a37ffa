// Token ids that go into a model: a text byte by byte, or ids that a tokenizer left in a file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

#include <statescope/tensor.h>

namespace statescope {

/// Text byte by byte.
std::vector<std::int32_t> byte_tokens(std::string_view text);

/// Ids [B, T], i32 or i64; one that no vocabulary has becomes -1. Throws Error(kUsage) for other tensors.
std::vector<std::int32_t> token_ids(const TensorView& ids);

/// Of one sequence: of a file that ends in .safetensors its input_ids [1, T], of any other its bytes. Throws
/// Error(kUsage), with the file's name, when there is none, when it is malformed, or when it is empty.
std::vector<std::int32_t> tokens_of_file(const std::filesystem::path& path);

}  // namespace statescope
