// The chunked kernels' launches and scratch memory (host side).
#include <algorithm>
#include <array>
#include <bit>

#include <statescope/error.h>

#include "cuda/chunked/parameters.h"
#include "cuda/kernels.h"
#include "cuda/tensor_map.h"

namespace statescope::cuda {
namespace {

using namespace cuda_chunked;

constexpr std::size_t kStateBytes = kDim * kDim * sizeof(float);

/// Clusters of the kernel that the device holds at once. Chains are shared out among that many workers.
int resident_clusters(const Problem& p, const void* kernel, int cluster) {
  const bool gla = p.rule == Rule::kGla;
  const unsigned threads = gla ? GlaMap::kThreads : kThreads, bytes = gla ? GlaMap::bytes : SharedMap::bytes;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
        "allowing shared memory to the chunked kernel");
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(cluster));
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = bytes;
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {static_cast<unsigned>(cluster), 1, 1};
  config.attrs = &attribute;
  config.numAttrs = 1;
  int count = 0;
  check(cudaOccupancyMaxActiveClusters(&count, kernel, &config), "asking how many clusters the device holds");
  if (count < 1)
    throw Error(ErrorKind::kDevice,
                "CUDA: the device holds no cluster of " + std::to_string(cluster) + " blocks");
  return count;
}

const void* kernel_of(const Problem& p, int cluster) {
  const int log = std::countr_zero(static_cast<unsigned>(cluster));
  if (p.rule == Rule::kGla)
    return p.dtype == DType::kBf16 ? chunked::gla_kernel_bf16(log) : chunked::gla_kernel_f16(log);
  const bool delta = p.rule == Rule::kGatedDelta;
  return p.dtype == DType::kBf16 ? chunked::forward_kernel_bf16(delta, log)
                                 : chunked::forward_kernel_f16(delta, log);
}

/// No fewer workers than the longest chain allows are of use; lengths of packed sequences are not known here.
int workers_of(const Problem& p, const void* kernel, int cluster) {
  const int resident = resident_clusters(p, kernel, cluster);
  if (p.packed) return resident;
  const std::int64_t longest = (p.seq_len + kChunk - 1) / kChunk, total = longest * p.sequences * p.heads;
  const std::int64_t share = std::max(longest, (total + resident - 1) / resident);
  return static_cast<int>((total + share - 1) / share);
}

/// The clusters' sizes, one launch each: sums over more subheads than a cluster holds go from launch to
/// launch.
std::vector<int> clusters_of(const Problem& p) {
  std::vector<int> sizes;
  for (int left = static_cast<int>(p.expansion); left > 0; left -= sizes.back())
    sizes.push_back(cluster_size(left));
  return sizes;
}

struct Scratch {
  std::size_t states = 0, ready = 0, sums = 0, bytes = 0;  ///< offsets, and the end
};
Scratch scratch_of(const Problem& p) {
  const auto aligned = [](std::size_t bytes) { return (bytes + 255) / 256 * 256; };
  std::size_t blocks = 0;
  for (int cluster : clusters_of(p))
    blocks =
        std::max(blocks, static_cast<std::size_t>(workers_of(p, kernel_of(p, cluster), cluster) * cluster));
  Scratch s;
  s.ready = s.states + blocks * kStateBytes;
  s.sums = s.ready + aligned(blocks * 2 * sizeof(int));
  s.bytes = s.sums;
  if (clusters_of(p).size() > 1) {
    const std::int64_t chunks = p.batch * ((p.seq_len + kChunk - 1) / kChunk) + p.sequences;
    s.bytes += static_cast<std::size_t>(chunks * p.heads) * kChunk * kDim * sizeof(float);
  }
  return s;
}

std::size_t scratch_bytes(const Problem& p, const Geometry&) {
  return scratch_of(p).bytes;
}

std::vector<KernelLaunch> forward(const Problem& p, const Geometry& g) {
  std::vector<KernelLaunch> result;
  const Scratch scratch = scratch_of(p);
  int first = 0;
  for (int cluster : clusters_of(p)) {
    const bool last = first + cluster == p.expansion;
    KernelLaunch& launch = result.emplace_back();
    launch.name = "chunked.forward";
    launch.function = kernel_of(p, cluster);
    launch.grid =
        dim3(static_cast<unsigned>(cluster), static_cast<unsigned>(workers_of(p, launch.function, cluster)));
    launch.block = g.workgroup_size;
    launch.cluster = static_cast<unsigned>(cluster);
    launch.dynamic_shared_bytes = launch.predicted_shared_bytes = g.shared_memory_bytes();
    bind_parameters(launch, [p, scratch, first, last](const Arguments& a) {
      chunked::Parameters x{};
      const std::int64_t rows = a.cu_seqlens ? 1 : p.batch, tokens = a.tokens / rows;
      const bool gla = p.rule == Rule::kGla;
      const CopyBox box{gla ? GlaMap::kHalfTokens : kChunk, kDim};
      x.query = tensor_map(a.q, a.dtype, rows, tokens, a.qk_heads * a.expansion, kDim, box);
      x.key = tensor_map(a.k, a.dtype, rows, tokens, a.qk_heads * a.expansion, kDim, box);
      x.value = tensor_map(a.v, a.dtype, rows, tokens, a.heads, kDim, box);
      if (gla)
        x.gate = tensor_map(a.g, DType::kF32, rows, tokens, a.heads * a.expansion, kDim, box);
      else
        x.g = a.g;
      x.beta = a.beta;
      x.h0 = a.h0;
      x.ht = a.ht;
      x.o = a.o;
      x.sum_in = first > 0 ? reinterpret_cast<const float4*>(a.scratch + scratch.sums) : nullptr;
      x.sum_out = last ? nullptr : reinterpret_cast<float4*>(a.scratch + scratch.sums);
      x.handoff = reinterpret_cast<float4*>(a.scratch + scratch.states);
      x.handoff_ready = reinterpret_cast<int*>(a.scratch + scratch.ready);
      x.cu_seqlens = a.cu_seqlens;
      x.seq_len = a.seq_len;
      x.heads = a.heads;
      x.qk_heads = a.qk_heads;
      x.expansion = a.expansion;
      x.sequences = a.sequences;
      x.first_subhead = first;
      x.scale = a.scale;
      return x;
    });
    first += cluster;
  }
  return result;
}

constexpr Implementation kImplementations[] = {
    {"cuda.chunked.forward", scratch_bytes, forward},
    {"cuda.chunked.gla_forward", scratch_bytes, forward},
};

}  // namespace

std::span<const Implementation> chunked_implementations() {
  return kImplementations;
}

}  // namespace statescope::cuda
