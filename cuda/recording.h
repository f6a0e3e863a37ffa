// The order of the operations of a graph that is being recorded: what shares no array runs side by side.
#pragma once

#include <unordered_map>
#include <vector>

#include <cuda_runtime_api.h>

namespace statescope::cuda {

/// What an operation reads and writes, by the addresses of the memory. What is read and written is named
/// under `writes` alone.
struct Uses {
  std::vector<const void*> reads, writes;
};

/// A capture on one stream would put every operation behind the one before. Between before() and after() the
/// stream waits for those only that wrote what is read, or touched what is written.
class Recording {
 public:
  explicit Recording(cudaStream_t stream) : stream_(stream) {}
  void before(const Uses& uses);
  void after(const Uses& uses);

 private:
  using Nodes = std::vector<cudaGraphNode_t>;
  struct History {
    Nodes writers, readers;  ///< the last ones
  };
  cudaStream_t stream_;
  std::unordered_map<const void*, History> of_memory_;
};

}  // namespace statescope::cuda
