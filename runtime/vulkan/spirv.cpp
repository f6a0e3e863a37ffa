// SPIR-V is a stream of 32-bit words: five of header, then instructions whose first word is length << 16 |
// opcode (SPIR-V specification, section 2.3). Only what the kernels use is understood; the rest is skipped.
#include "runtime/vulkan/spirv.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include <statescope/error.h>

#include "shaders.h"

namespace statescope::vulkan {
namespace {

enum Op : std::uint32_t {
  kExtension = 10,
  kCapability = 17,
  kName = 5,
  kMemberName = 6,
  kTypeInt = 21,
  kTypeFloat = 22,
  kTypeVector = 23,
  kTypeMatrix = 24,
  kTypeArray = 28,
  kTypeStruct = 30,
  kTypePointer = 32,
  kConstantTrue = 41,
  kConstantFalse = 42,
  kConstant = 43,
  kSpecConstantTrue = 48,
  kSpecConstantFalse = 49,
  kSpecConstant = 50,
  kSpecConstantOp = 52,
  kVariable = 59,
  kDecorate = 71,
  kMemberDecorate = 72,
  kTypeCooperativeMatrixKHR = 4456,
};
enum Decoration : std::uint32_t { kSpecId = 1, kNonWritable = 24, kBindingNumber = 33, kOffset = 35 };
enum StorageClass : std::uint32_t { kWorkgroup = 4, kPushConstant = 9, kStorageBuffer = 12 };
// SPV_KHR_bfloat16
constexpr std::uint32_t kBFloat16TypeKHR = 5116, kBFloat16CooperativeMatrixKHR = 5118, kBFloat16Encoding = 0;
constexpr std::size_t kHeaderWords = 5, kIdBound = 3;
constexpr std::uint32_t kMatrixAccumulatorKHR = 2;

template <typename Visit>
void for_each_instruction(std::span<const std::uint32_t> spirv, Visit visit) {
  for (std::size_t at = kHeaderWords; at < spirv.size();) {
    const std::size_t length = spirv[at] >> 16;
    if (length == 0 || at + length > spirv.size()) throw Error(ErrorKind::kDevice, "malformed SPIR-V");
    visit(spirv[at] & 0xffffu, spirv.subspan(at + 1, length - 1));
    at += length;
  }
}

std::string text_of(std::span<const std::uint32_t> words) {
  const char* text = reinterpret_cast<const char*>(words.data());
  return {text, std::find(text, text + words.size_bytes(), '\0')};
}

/// The value of an OpSpecConstantOp over unsigned integers and booleans; nothing for what our shaders do not
/// use.
std::optional<std::uint32_t> evaluate(std::uint32_t op, std::span<const std::uint32_t> x) {
  if (x.size() == 1) {
    if (op == 168) return !x[0];  // OpLogicalNot
    return std::nullopt;
  }
  if (op == 169 && x.size() == 3) return x[0] ? x[1] : x[2];  // OpSelect
  switch (op) {
    case 128:  // OpIAdd
      return x[0] + x[1];
    case 130:  // OpISub
      return x[0] - x[1];
    case 132:  // OpIMul
      return x[0] * x[1];
    case 134:  // OpUDiv
      return x[1] == 0 ? std::nullopt : std::optional(x[0] / x[1]);
    case 137:  // OpUMod
      return x[1] == 0 ? std::nullopt : std::optional(x[0] % x[1]);
    case 170:  // OpIEqual
      return x[0] == x[1];
    case 171:  // OpINotEqual
      return x[0] != x[1];
    case 172:  // OpUGreaterThan
      return x[0] > x[1];
    case 174:  // OpUGreaterThanEqual
      return x[0] >= x[1];
    case 176:  // OpULessThan
      return x[0] < x[1];
    case 178:  // OpULessThanEqual
      return x[0] <= x[1];
    default:
      return std::nullopt;
  }
}

std::map<std::string, std::vector<std::uint32_t>>& replacements() {
  static std::map<std::string, std::vector<std::uint32_t>> modules;
  return modules;
}

}  // namespace

void replace_modules(std::map<std::string, std::vector<std::uint32_t>> modules) {
  replacements() = std::move(modules);
}

std::span<const std::uint32_t> find_module(std::string_view name) {
  if (const auto found = replacements().find(std::string(name)); found != replacements().end())
    return found->second;
  for (const embedded::File& file : embedded::shaders()) {
    if (file.name == std::string(name) + ".spv")
      return {reinterpret_cast<const std::uint32_t*>(file.bytes.data()), file.bytes.size() / 4};
  }
  throw Error(ErrorKind::kDevice, "no shader " + std::string(name) + " was built");
}

std::vector<std::uint32_t> with_bfloat16(std::span<const std::uint32_t> spirv) {
  std::vector<std::uint32_t> out(spirv.begin(), spirv.begin() + kHeaderWords);
  const std::uint32_t bfloat16 = out[kIdBound]++;
  const auto put = [&](std::uint32_t op, std::span<const std::uint32_t> x) {
    out.push_back(static_cast<std::uint32_t>(x.size() + 1) << 16 | op);
    out.insert(out.end(), x.begin(), x.end());
  };
  // Capabilities stand first, extensions behind them.
  for (std::uint32_t capability : {kBFloat16TypeKHR, kBFloat16CooperativeMatrixKHR})
    put(kCapability, {&capability, 1});
  std::array<std::uint32_t, 5> extension{};
  std::memcpy(extension.data(), "SPV_KHR_bfloat16", sizeof "SPV_KHR_bfloat16");
  bool extended = false, used = false;
  std::optional<std::uint32_t> half;
  std::map<std::uint32_t, std::uint32_t> constants;
  for_each_instruction(spirv, [&](std::uint32_t op, std::span<const std::uint32_t> x) {
    if (op != kCapability && !extended) {
      put(kExtension, extension);
      extended = true;
    }
    if (op == kConstant) constants[x[1]] = x[2];
    if (op == kTypeCooperativeMatrixKHR && half && x[1] == *half &&
        constants[x[5]] != kMatrixAccumulatorKHR) {
      put(op, std::array{x[0], bfloat16, x[2], x[3], x[4], x[5]});
      used = true;
      return;
    }
    put(op, x);
    if (op == kTypeFloat && x[1] == 16) {
      half = x[0];
      put(op, std::array{bfloat16, 16u, kBFloat16Encoding});
    }
  });
  if (!used) throw Error(ErrorKind::kDevice, "SPIR-V: no factors of float16 that could become bfloat16");
  return out;
}

Reflection reflect(std::span<const std::uint32_t> spirv) {
  std::map<std::uint32_t, std::string> names;
  std::map<std::uint32_t, std::map<std::uint32_t, std::string>> member_names;
  std::map<std::uint32_t, std::map<std::uint32_t, std::uint32_t>> member_offsets;
  std::map<std::uint32_t, std::uint32_t> spec_ids, bindings, pointees;
  std::map<std::uint32_t, std::size_t> read_only;  // variables, and members of a block
  Reflection out;
  for_each_instruction(spirv, [&](std::uint32_t op, std::span<const std::uint32_t> x) {
    if (op == kName) names[x[0]] = text_of(x.subspan(1));
    if (op == kMemberName) member_names[x[0]][x[1]] = text_of(x.subspan(2));
    if (op == kDecorate && x[1] == kSpecId) spec_ids[x[0]] = x[2];
    if (op == kDecorate && x[1] == kBindingNumber) bindings[x[0]] = x[2];
    if (op == kMemberDecorate && x[2] == kOffset) member_offsets[x[0]][x[1]] = x[3];
    if ((op == kDecorate && x[1] == kNonWritable) || (op == kMemberDecorate && x[2] == kNonWritable))
      ++read_only[x[0]];
    if (op == kTypePointer) pointees[x[0]] = x[2];
    if (op == kVariable && x[2] == kStorageBuffer) {
      const std::uint32_t block = pointees[x[0]];
      const bool written = !read_only.contains(x[1]) && read_only[block] < member_offsets[block].size();
      out.bindings.push_back({names[x[1]], bindings[x[1]], written});
    }
    if (op == kVariable && x[2] == kPushConstant) {
      const std::uint32_t block = pointees[x[0]];
      for (const auto& [member, offset] : member_offsets[block]) {
        out.push_constants[member_names[block][member]] = offset;
        out.push_constant_bytes = std::max(out.push_constant_bytes, offset + 4);
      }
    }
  });
  for (const auto& [id, spec_id] : spec_ids)
    out.constants[names[id].empty() ? std::string(kWorkgroupSizeConstant) : names[id]] = spec_id;
  std::sort(out.bindings.begin(), out.bindings.end(),
            [](const Binding& a, const Binding& b) { return a.binding < b.binding; });
  return out;
}

std::size_t shared_memory_bytes(std::span<const std::uint32_t> spirv,
                                const std::map<std::uint32_t, std::uint32_t>& values) {
  std::map<std::uint32_t, std::uint32_t> spec_ids, pointees;
  std::map<std::uint32_t, std::uint32_t> constants;  // id -> value
  std::map<std::uint32_t, std::size_t> sizes;        // type -> bytes
  std::size_t total = 0;
  const auto specialised = [&](std::uint32_t id, std::uint32_t initial) {
    const auto at = values.find(spec_ids[id]);
    return at == values.end() ? initial : at->second;
  };
  for_each_instruction(spirv, [&](std::uint32_t op, std::span<const std::uint32_t> x) {
    switch (op) {
      case kDecorate:
        if (x[1] == kSpecId) spec_ids[x[0]] = x[2];
        break;
      case kTypeInt:
      case kTypeFloat:
        sizes[x[0]] = x[1] / 8;
        break;
      case kTypeVector:
      case kTypeMatrix:
        sizes[x[0]] = sizes[x[1]] * x[2];
        break;
      case kTypeArray:
        if (!constants.contains(x[2])) throw Error(ErrorKind::kDevice, "SPIR-V: array of unknown length");
        sizes[x[0]] = sizes[x[1]] * constants[x[2]];
        break;
      case kTypeStruct:
        for (std::uint32_t member : x.subspan(1)) sizes[x[0]] += sizes[member];
        break;
      case kTypePointer:
        pointees[x[0]] = x[2];
        break;
      case kConstantTrue:
      case kConstantFalse:
        constants[x[1]] = op == kConstantTrue;
        break;
      case kConstant:
        constants[x[1]] = x[2];
        break;
      case kSpecConstantTrue:
      case kSpecConstantFalse:
        constants[x[1]] = specialised(x[1], op == kSpecConstantTrue);
        break;
      case kSpecConstant:
        constants[x[1]] = specialised(x[1], x[2]);
        break;
      case kSpecConstantOp: {
        std::vector<std::uint32_t> operands;
        for (std::uint32_t id : x.subspan(3)) {
          if (!constants.contains(id)) return;
          operands.push_back(constants[id]);
        }
        if (const auto value = evaluate(x[2], operands)) constants[x[1]] = *value;
        break;
      }
      case kVariable:
        if (x[2] == kWorkgroup) total += sizes[pointees[x[0]]];
        break;
      default:
        break;
    }
  });
  return total;
}

}  // namespace statescope::vulkan
