// The matrix in the chunked form: by cooperative matrices where the device has them, and always by the
// kernels for devices without them.
#include <algorithm>
#include <tuple>

#include <statescope/error.h>

#include "profiler/case_file.h"
#include "runtime/check/cases.h"
#include "runtime/vulkan/device.h"
#include "runtime/vulkan/instance.h"
#include "runtime/vulkan/kernels.h"
#include "runtime/vulkan/spirv.h"
#include "runtime/vulkan_chunked.h"
#include "tests/golden_files.h"
#include "tests/vulkan/vulkan_fixture.h"

namespace statescope {
namespace {

using Combination = std::tuple<Rule, Pass, DType>;

class VulkanChunked : public VulkanTest, public testing::WithParamInterface<Combination> {};

/// Hardware runs every case. Software devices run every n-th, from a first one that differs between
/// combinations: kernels are compiled anew for each K and chunk.
std::vector<Case> cases_for(Device& device, const Combination& combination) {
  const auto [rule, pass, dtype] = combination;
  const std::vector<Case> all = cases(rule, pass, Form::kChunked, dtype);
  if (device.info().hardware) return all;
  const std::size_t stride = (dtype != DType::kF32      ? 8
                              : pass == Pass::kBackward ? 6
                                                        : 3) *
                             (device.info().description.find("llvmpipe") == std::string::npos ? 2 : 1);
  const std::size_t first = static_cast<std::size_t>(rule) + 2 * static_cast<std::size_t>(dtype);
  std::vector<Case> some;
  for (std::size_t i = first % stride; i < all.size(); i += stride) some.push_back(all[i]);
  return some;
}

TEST_P(VulkanChunked, AgreesWithTheReference) {
  double worst = 0;
  int ran = 0;
  for (const auto& device : devices()) {
    for (const Case& one : cases_for(*device, GetParam())) {
      SCOPED_TRACE(one.name());
      Problem problem = one.problem;
      if (problem.dtype != DType::kF32 && problem.seq_len < vulkan_chunked::kFewestTokens) {
        EXPECT_THROW(device->plan(problem), Error);
        problem.form = Form::kAuto;  // the dispatcher's own choice then
        EXPECT_EQ(device->plan(problem).problem.form, Form::kRecurrent);
        continue;
      }
      worst = std::max(worst, check(*device, problem, one.seed, one.gates));
      ++ran;
    }
  }
  EXPECT_GT(ran, 4);
  RecordProperty("cases", ran);
  RecordProperty("worst_error_over_tolerance", std::to_string(worst));
}

/// Whether the shader compiler of this build knew cooperative matrices.
bool built_with_matrices() {
  try {
    return !vulkan::find_module("chunked_states.linear.16.matrix").empty();
  } catch (const Error&) {
    return false;
  }
}

/// Devices with and without cooperative matrices, from the smallest shared memory that the specification
/// allows.
std::vector<DeviceInfo> imagined_devices() {
  std::vector<DeviceInfo> out;
  for (bool matrices : {false, true}) {
    if (matrices && !built_with_matrices()) continue;
    for (std::uint32_t workgroup : {128u, 256u, 1024u})
      for (std::size_t shared : {16384u, 32768u, 49152u, 65536u}) {
        DeviceInfo device;
        device.limits.api = Api::kVulkan;
        device.limits.shared_memory_per_workgroup = shared;
        device.limits.max_workgroup_size = workgroup;
        device.limits.cooperative_matrix_f16 = device.limits.cooperative_matrix_bf16 = matrices;
        out.push_back(device);
      }
  }
  if (!built_with_matrices()) return out;
  // llvmpipe's, Intel's, and AMD's in wide subgroups.
  struct {
    MatrixShape shape;
    std::uint32_t subgroup;
    std::size_t shared;
  } const others[] = {{{8, 8, 8}, 8, 32768}, {{8, 16, 16}, 16, 65536}, {{16, 16, 16}, 64, 65536}};
  for (const auto& other : others) {
    DeviceInfo device = out.back();
    device.limits.shared_memory_per_workgroup = other.shared;
    device.limits.matrix_f16 = device.limits.matrix_bf16 = other.shape;
    device.limits.subgroup_min = device.limits.subgroup_max = other.subgroup;
    out.push_back(device);
  }
  return out;
}

TEST(VulkanChunkedTable, SharedMemoryIsWhatTheShadersDeclare) {
  int compared = 0, by_matrices = 0;
  for (const DeviceInfo& device : imagined_devices())
    for (Pass pass : {Pass::kForward, Pass::kBackward})
      for (Rule rule : kRules)
        for (DType dtype : kRunTypes)
          for (std::int64_t key_dim : {16, 48, 64, 128, 256})
            for (std::int64_t value_dim : {16, 48, 128, 256}) {
              Problem p;
              p.rule = rule;
              p.pass = pass;
              p.dtype = dtype;
              p.form = Form::kChunked;
              p.seq_len = 100;
              p.key_dim = key_dim;
              p.value_dim = value_dim;
              Choice choice{};
              try {
                choice = choose_variant(p, device.limits, "device");
              } catch (const Error& error) {
                EXPECT_EQ(error.kind(), ErrorKind::kRefused) << error.what();
                EXPECT_LT(device.limits.shared_memory_per_workgroup, 32768u) << describe(p);
                continue;
              }
              for (const vulkan::Dispatch& dispatch : vulkan::dispatches_of(p, choice, device).list) {
                ASSERT_EQ(vulkan::shared_memory_bytes(dispatch.pipeline), dispatch.shared_memory_bytes)
                    << dispatch.kernel << " " << describe(p);
                ++compared;
                by_matrices += dispatch.pipeline.module.find(".matri") != std::string::npos;
              }
            }
  EXPECT_GT(compared, 1000);
  EXPECT_TRUE(!built_with_matrices() || by_matrices > 200);
}

// Chunks on matrix units are faster, chunks without them are not; a handful of tokens keeps float32.
TEST(VulkanChunkedTable, AutoTakesChunksWhereMatricesAreCooperative) {
  for (const DeviceInfo& device : imagined_devices())
    for (Pass pass : {Pass::kForward, Pass::kBackward})
      for (Rule rule : kRules)
        for (DType dtype : kRunTypes)
          for (std::int64_t seq_len : {std::int64_t{4}, std::int64_t{4096}}) {
            Problem p;
            p.rule = rule;
            p.pass = pass;
            p.dtype = dtype;
            p.seq_len = seq_len;
            if (device.limits.shared_memory_per_workgroup < 49152) continue;
            const bool chunks = device.limits.cooperative_matrix_f16 && dtype != DType::kF32 &&
                                seq_len >= vulkan_chunked::kFewestTokens;
            EXPECT_EQ(choose_variant(p, device.limits, "device").variant->form,
                      chunks ? Form::kChunked : Form::kRecurrent)
                << describe(p);
          }
}

/// Every device as it is reported, after `reduce`, with these bounds of a launch.
template <typename Reduce>
std::vector<std::shared_ptr<Device>> reduced_devices(Reduce reduce, const vulkan::LaunchBounds& bounds) {
  std::vector<std::shared_ptr<Device>> out;
  std::string why;
  const auto instance = vulkan::create_instance(why);
  if (!instance) return out;
  for (vulkan::PhysicalDevice& physical : vulkan::find_physical_devices(instance, why)) {
    reduce(physical.info.limits);
    out.push_back(vulkan::make_device(physical, bounds));
  }
  return out;
}

Problem chunked_example(Rule rule, Pass pass = Pass::kForward) {
  Problem p = example_problem(rule, pass);
  p.form = Form::kChunked;
  p.seq_len = 200;
  return p;
}

/// Software devices compile a kernel for a third of a second, and backward has eight: the rules that differ
/// most.
std::vector<Rule> rules_of(Pass pass) {
  if (pass == Pass::kBackward) return {Rule::kGla, Rule::kGatedDelta};
  return {std::begin(kRules), std::end(kRules)};
}

class VulkanChunkedForm : public VulkanTest {};

TEST_F(VulkanChunkedForm, ChunksInSeveralLaunches) {
  for (const auto& device : reduced_devices([](DeviceLimits&) {}, {.flop = 1e11, .tokens = 20}))
    for (Rule rule : kRules) {
      const Problem p = chunked_example(rule);
      EXPECT_GT(device->plan(p).launches.size(), 7u) << "four chunks, a launch or more each";
      check(*device, p, 11, Gates::kModel);
    }
}

// Sequences that end within a launch, begin within one, and are empty. Backward walks its stretches twice.
TEST_F(VulkanChunkedForm, PackedSequencesInSeveralLaunches) {
  for (const auto& device : reduced_devices([](DeviceLimits&) {}, {.flop = 1e11, .tokens = 20}))
    for (Pass pass : {Pass::kForward, Pass::kBackward})
      for (Rule rule : rules_of(pass)) {
        Problem p = chunked_example(rule, pass);
        p.batch = 1;
        p.sequences = 6;
        p.packed = true;
        TensorSet inputs = round_inputs(p, generate_inputs(p, 4));
        const std::int32_t ends[] = {0, 0, 7, 7, 120, 190, 200};
        std::ranges::copy(ends, inputs[Slot::kCuSeqlens].as<std::int32_t>().begin());
        EXPECT_GT(device->plan(p).launches.size(), 7u);
        for (const OutputError& e :
             compare_outputs(p, run(*device, p, inputs), cpu::run_recurrent(p, inputs)))
          EXPECT_TRUE(e.ok()) << describe(p) << " " << name(e.slot) << " " << e.error;
      }
}

TEST_F(VulkanChunkedForm, OnTheSmallestDevice) {
  const auto reduce = [](DeviceLimits& limits) {
    limits.shared_memory_per_workgroup = 16384;
    limits.max_workgroup_size = 128;
    limits.cooperative_matrix_f16 = limits.cooperative_matrix_bf16 = false;
  };
  for (const auto& device : reduced_devices(reduce, {}))
    for (Pass pass : {Pass::kForward, Pass::kBackward})
      for (Rule rule : rules_of(pass)) check(*device, chunked_example(rule, pass), 5, Gates::kSpike);
}

/// The types that a device runs by kernels of their own: 16 bits where its matrices are cooperative.
std::vector<DType> types_of(const Device& device) {
  std::vector<DType> out{DType::kF32};
  for (DType dtype : {DType::kBf16, DType::kF16})
    if (vulkan_chunked::matrices_missing(dtype, device.info().limits).empty()) out.push_back(dtype);
  return out;
}

// A device with chains to spare carries wide states, one with too few of them narrow ones.
TEST_F(VulkanChunkedForm, CarriesWideAndNarrowStates) {
  for (const std::uint32_t multiprocessors : {1u, 1u << 16})
    for (const auto& device :
         reduced_devices([&](DeviceLimits& limits) { limits.multiprocessors = multiprocessors; }, {}))
      for (DType dtype : types_of(*device))
        for (Rule rule : {Rule::kGatedDelta, Rule::kLinear})
          for (Pass pass : {Pass::kForward, Pass::kBackward}) {
            if (rule == Rule::kLinear && !device->info().hardware) continue;
            Problem p = chunked_example(rule, pass);
            p.dtype = dtype;
            p.seq_len = 100;
            p.key_dim = p.value_dim = 64;
            p.scale = default_scale(p.key_dim);
            const bool wide = device->plan(p).geometry.value_tile > 16;
            EXPECT_EQ(wide, multiprocessors == 1) << describe(p);
            check(*device, p, 13, Gates::kModel);
          }
}

TEST_F(VulkanChunkedForm, RepeatsBitForBit) {
  for (const auto& device : devices())
    for (DType dtype : types_of(*device))
      for (Pass pass : {Pass::kForward, Pass::kBackward})
        for (Rule rule : rules_of(device->info().hardware ? Pass::kForward : Pass::kBackward)) {
          Problem p = chunked_example(rule, pass);
          p.dtype = dtype;
          const TensorSet inputs = round_inputs(p, generate_inputs(p, 5));
          const TensorSet first = run(*device, p, inputs), second = run(*device, p, inputs);
          for (Slot slot : kSlots)
            EXPECT_EQ(first[slot].bytes, second[slot].bytes) << describe(p) << " " << name(slot);
        }
}

// Gates far below what float32 can tell from zero, as at a document's start, among gates near one.
TEST_F(VulkanChunkedForm, TakesResets) {
  for (const auto& device : devices())
    for (Pass pass : {Pass::kForward, Pass::kBackward})
      for (Rule rule : {Rule::kSsd, Rule::kGla, Rule::kGatedDelta})
        for (DType dtype : types_of(*device)) {
          Problem p = chunked_example(rule, pass);
          p.dtype = dtype;
          TensorSet inputs = round_inputs(p, generate_inputs(p, 9));
          const auto gates = inputs[Slot::kG].as<float>();
          const std::size_t channels = rule == Rule::kGla ? static_cast<std::size_t>(p.key_dim) : 1;
          for (std::size_t i = 0; i < gates.size(); ++i)
            if (i / channels % 7 == 3) gates[i] = i % 2 ? -1e6f : -1e9f;
          for (const OutputError& e :
               compare_outputs(p, run(*device, p, inputs), cpu::run_recurrent(p, inputs)))
            EXPECT_TRUE(e.ok()) << describe(p) << " on " << device->info().description << ": " << name(e.slot)
                                << " " << e.error;
        }
}

TEST_F(VulkanChunkedForm, AgreesWithTheFiles) {
  for (const auto& path : golden_files()) {
    const CaseFile file = read_case_file(path);
    ASSERT_TRUE(file.rule);
    for (Pass pass : {Pass::kForward, Pass::kBackward}) {
      const TensorSet inputs = inputs_of(file, pass);
      Problem problem = problem_of(inputs, *file.rule, pass, file.scale, DType::kF32);
      problem.form = Form::kChunked;
      for (const auto& device : devices()) {
        const TensorSet outputs = run(*device, problem, round_inputs(problem, inputs));
        for (const OutputError& e : compare_outputs(problem, outputs, file.tensors))
          EXPECT_TRUE(e.ok()) << path.filename() << " on " << device->info().description << ": "
                              << name(e.slot) << " " << e.error;
      }
    }
  }
}

std::vector<Combination> combinations() {
  std::vector<Combination> result;
  for (Pass pass : kPasses)
    for (Rule rule : kRules)
      for (DType dtype : kRunTypes)
        if (std::ranges::any_of(vulkan_variants(), [&](const Variant& v) {
              return v.form == Form::kChunked && has(v.passes, pass) && has(v.rules, rule) &&
                     has(v.dtypes, dtype);
            }))
          result.emplace_back(rule, pass, dtype);
  return result;
}

std::string name_of(const testing::TestParamInfo<Combination>& info) {
  const auto [rule, pass, dtype] = info.param;
  return std::string(name(rule)) + "_" + std::string(name(pass)) + "_" + std::string(name(dtype));
}

INSTANTIATE_TEST_SUITE_P(Vulkan, VulkanChunked, testing::ValuesIn(combinations()), name_of);

}  // namespace
}  // namespace statescope
