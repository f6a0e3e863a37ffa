#include "cuda/recording.h"

#include <algorithm>

#include "cuda/kernels.h"

namespace statescope::cuda {
namespace {

/// What the next operation on the stream would wait for.
std::vector<cudaGraphNode_t> last_nodes(cudaStream_t stream) {
  cudaStreamCaptureStatus status{};
  const cudaGraphNode_t* nodes = nullptr;
  std::size_t count = 0;
#if CUDART_VERSION >= 13000
  const cudaError_t error =
      cudaStreamGetCaptureInfo(stream, &status, nullptr, nullptr, &nodes, nullptr, &count);
#else
  const cudaError_t error = cudaStreamGetCaptureInfo_v2(stream, &status, nullptr, nullptr, &nodes, &count);
#endif
  check(error, "recording an operation");
  return {nodes, nodes + count};
}

void wait_for(cudaStream_t stream, std::vector<cudaGraphNode_t>& nodes) {
#if CUDART_VERSION >= 13000
  const cudaError_t error = cudaStreamUpdateCaptureDependencies(stream, nodes.data(), nullptr, nodes.size(),
                                                                cudaStreamSetCaptureDependencies);
#else
  const cudaError_t error = cudaStreamUpdateCaptureDependencies(stream, nodes.data(), nodes.size(),
                                                                cudaStreamSetCaptureDependencies);
#endif
  check(error, "recording an operation");
}

}  // namespace

void Recording::before(const Uses& uses) {
  Nodes nodes;
  const auto add = [&](const Nodes& more) { nodes.insert(nodes.end(), more.begin(), more.end()); };
  for (const void* memory : uses.reads) add(of_memory_[memory].writers);
  for (const void* memory : uses.writes) {
    add(of_memory_[memory].writers);
    add(of_memory_[memory].readers);
  }
  std::ranges::sort(nodes);
  nodes.erase(std::ranges::unique(nodes).begin(), nodes.end());
  wait_for(stream_, nodes);
}

void Recording::after(const Uses& uses) {
  const Nodes nodes = last_nodes(stream_);
  for (const void* memory : uses.reads) {
    Nodes& readers = of_memory_[memory].readers;
    readers.insert(readers.end(), nodes.begin(), nodes.end());
  }
  for (const void* memory : uses.writes) of_memory_[memory] = {nodes, {}};
}

}  // namespace statescope::cuda
