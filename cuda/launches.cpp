#include "cuda/launches.h"

#include <utility>

#include <statescope/error.h>

#include "cuda/execution.h"
#include "cuda/front_end/front_end.h"
#include "cuda/segmented/segmented.h"

namespace statescope::cuda {
namespace {

const Implementation& implementation_of(const Variant& variant) {
  static const std::vector<Implementation> all = implementations();
  for (const Implementation& candidate : all) {
    if (candidate.variant == variant.name) return candidate;
  }
  throw Error(ErrorKind::kDevice,
              "CUDA: variant " + std::string(variant.name) + " has no kernels in this build");
}

}  // namespace

std::vector<Implementation> implementations() {
  std::vector<Implementation> all;
  for (std::span<const Implementation> family :
       {segmented_implementations(), chunked_implementations(), multipass_implementations(),
        gla_implementations(), recurrent_implementations(), comparison_implementations()}) {
    all.insert(all.end(), family.begin(), family.end());
  }
  return all;
}

void launch(const KernelLaunch& kernel, const void* parameters, cudaStream_t stream) {
  cudaLaunchConfig_t config{};
  config.gridDim = kernel.grid;
  config.blockDim = kernel.block;
  config.dynamicSmemBytes = kernel.dynamic_shared_bytes;
  config.stream = stream;
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim.x = kernel.cluster;
  cluster.val.clusterDim.y = cluster.val.clusterDim.z = 1;
  if (kernel.cluster > 1) {
    config.attrs = &cluster;
    config.numAttrs = 1;
  }
  void* arguments[] = {const_cast<void*>(parameters)};
  check(cudaLaunchKernelExC(&config, kernel.function, arguments), "launching " + kernel.name);
}

std::vector<KernelLaunch> launches_of(const Variant& variant, const Problem& problem,
                                      const Geometry& geometry) {
  std::vector<KernelLaunch> launches =
      implementation_of(variant).launches(without_front_end(problem), geometry);
  for (const KernelLaunch& launch : launches) {
    if (!launch.function)
      throw Error(ErrorKind::kRefused, "CUDA: " + launch.name + " of " + describe(problem) +
                                           " is left out of this build (STATESCOPE_CUDA_KERNELS=few)");
  }
  return problem.front_end ? behind_front_end(problem, std::move(launches)) : launches;
}

std::size_t scratch_bytes_of(const Variant& variant, const Problem& problem, const Geometry& geometry) {
  return implementation_of(variant).scratch_bytes(without_front_end(problem), geometry) +
         (problem.front_end ? front_end_bytes(problem) : 0);
}

Arguments arguments_of(const Problem& p, const std::function<std::byte*(Slot)>& at, std::byte* scratch) {
  const auto floats = [&](Slot slot) { return reinterpret_cast<float*>(at(slot)); };
  Arguments a{};
  a.q = at(Slot::kQ);
  a.k = at(Slot::kK);
  a.v = at(Slot::kV);
  a.d_o = at(Slot::kDo);
  a.q_expand = at(Slot::kQExpand);
  a.k_expand = at(Slot::kKExpand);
  a.q_conv = at(Slot::kQConv);
  a.k_conv = at(Slot::kKConv);
  a.q_history = at(Slot::kQHistory);
  a.k_history = at(Slot::kKHistory);
  a.g = floats(Slot::kG);
  a.beta = floats(Slot::kBeta);
  a.h0 = floats(Slot::kH0);
  a.dht = floats(Slot::kDht);
  a.cu_seqlens = reinterpret_cast<const std::int32_t*>(at(Slot::kCuSeqlens));
  a.o = at(Slot::kO);
  a.q_history_after = at(Slot::kQHistoryAfter);
  a.k_history_after = at(Slot::kKHistoryAfter);
  a.dq = at(Slot::kDq);
  a.dk = at(Slot::kDk);
  a.dv = at(Slot::kDv);
  a.ht = floats(Slot::kHt);
  a.dg = floats(Slot::kDg);
  a.dbeta = floats(Slot::kDbeta);
  a.dh0 = floats(Slot::kDh0);
  a.dq_expand = floats(Slot::kDqExpand);
  a.dk_expand = floats(Slot::kDkExpand);
  a.dq_conv = floats(Slot::kDqConv);
  a.dk_conv = floats(Slot::kDkConv);
  a.scratch = scratch;
  a.dtype = p.dtype;
  a.scale = p.scale;
  a.seq_len = static_cast<int>(p.seq_len);
  a.heads = static_cast<int>(p.heads);
  a.qk_heads = static_cast<int>(p.qk_heads);
  a.expansion = static_cast<int>(p.expansion);
  a.key_dim = static_cast<int>(p.key_dim);
  a.value_dim = static_cast<int>(p.value_dim);
  a.sequences = static_cast<int>(p.sequences);
  a.tokens = p.batch * p.seq_len;
  return a;
}

std::vector<CompiledKernel> compile(const Plan& plan) {
  std::vector<CompiledKernel> compiled;
  for (const KernelLaunch& kernel : launches_of(*plan.variant, plan.problem, plan.geometry)) {
    cudaFuncAttributes attributes{};
    check(cudaFuncGetAttributes(&attributes, kernel.function), "loading kernel " + kernel.name);
    CompiledKernel& one = compiled.emplace_back();
    one.kernel = kernel.name;
    one.statistics = {{"registers", static_cast<double>(attributes.numRegs)},
                      {"local memory bytes", static_cast<double>(attributes.localSizeBytes)},
                      {"static shared memory bytes", static_cast<double>(attributes.sharedSizeBytes)},
                      {"constant memory bytes", static_cast<double>(attributes.constSizeBytes)},
                      {"most threads a block", static_cast<double>(attributes.maxThreadsPerBlock)},
                      {"binary version", static_cast<double>(attributes.binaryVersion)}};
    const char* symbol = nullptr;
    check(cudaFuncGetName(&symbol, kernel.function), "asking for the symbol of " + kernel.name);
    one.symbol = symbol;
  }
  return compiled;
}

std::size_t scratch_bytes(const Plan& plan) {
  return scratch_bytes_of(*plan.variant, plan.problem, plan.geometry);
}

std::size_t plain_scratch_bytes(const Plan& plan) {
  return plan.problem.front_end ? front_end_bytes(plan.problem) : 0;
}

void enqueue(const Plan& plan, const std::function<std::byte*(Slot)>& at, std::byte* scratch,
             cudaStream_t stream) {
  const Arguments arguments = arguments_of(plan.problem, at, scratch);
  for (const KernelLaunch& kernel : launches_of(*plan.variant, plan.problem, plan.geometry))
    kernel.bind(arguments)(stream);
}

}  // namespace statescope::cuda
