// What a family of kernels gives the host side: for each variant of the table, its launches and its scratch
// memory.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <cuda_runtime_api.h>

#include <statescope/problem.h>
#include <statescope/variants.h>

namespace statescope::cuda {

/// Device pointers of one input set, and the sizes. Layouts of DESIGN section 1; null where a tensor takes no
/// part. Tokens are counted over all rows: token (b, t) is b T + t.
struct Arguments {
  const void *q, *k, *v, *d_o;                        ///< of `dtype`
  const void *q_expand, *k_expand, *q_conv, *k_conv;  ///< of `dtype`, of a front end
  const void *q_history, *k_history;                  ///< of `dtype`, of a front end
  const float *g, *beta, *h0, *dht;
  const std::int32_t* cu_seqlens;
  void *o, *dq, *dk, *dv;                   ///< of `dtype`
  void *q_history_after, *k_history_after;  ///< of `dtype`, of a front end
  float *ht, *dg, *dbeta, *dh0;
  float *dq_expand, *dk_expand, *dq_conv, *dk_conv;
  std::byte* scratch;  ///< Implementation::scratch_bytes, 256-byte aligned, shared by all input sets

  DType dtype;
  float scale;
  int seq_len, heads, qk_heads, expansion, key_dim, value_dim, sequences;
  std::int64_t tokens;  ///< B T
};

/// A launch with its parameters in place.
using Enqueue = std::function<void(cudaStream_t)>;

struct KernelLaunch {
  std::string name;
  const void* function = nullptr;
  dim3 grid, block;
  unsigned cluster = 1;  ///< blocks of a cluster along x
  std::size_t dynamic_shared_bytes = 0;
  std::size_t predicted_shared_bytes = 0;  ///< by the variant table: static plus dynamic
  /// Called once an input set, before anything is timed: builds parameters (tensor maps too) for its
  /// pointers.
  std::function<Enqueue(const Arguments&)> bind;
};

struct Implementation {
  std::string_view variant;  ///< Variant::name
  std::size_t (*scratch_bytes)(const Problem&, const Geometry&);
  std::vector<KernelLaunch> (*launches)(const Problem&, const Geometry&);
};

/// Every implementation; each family adds its own.
std::vector<Implementation> implementations();
std::span<const Implementation> chunked_implementations();
std::span<const Implementation> multipass_implementations();
std::span<const Implementation> gla_implementations();  ///< of the passes; chunked_ has its cluster kernel
std::span<const Implementation> recurrent_implementations();
std::span<const Implementation> comparison_implementations();

/// Throws Error(kDevice) with what was being done and the runtime's message.
void check(cudaError_t status, std::string_view doing);

/// Launches `function` with one by-value parameter struct.
void launch(const KernelLaunch& kernel, const void* parameters, cudaStream_t stream);

/// A bind() for kernels whose only parameter is a struct that `make` fills from the arguments.
template <typename Make>
void bind_parameters(KernelLaunch& kernel, Make make) {
  // A copy without its own bind, so that the closures do not hold each other.
  KernelLaunch plain = kernel;
  plain.bind = nullptr;
  kernel.bind = [plain, make](const Arguments& arguments) -> Enqueue {
    return [plain, parameters = make(arguments)](cudaStream_t stream) { launch(plain, &parameters, stream); };
  };
}

}  // namespace statescope::cuda
