#include "cuda/compute.h"

#include <limits>
#include <optional>

#include <statescope/error.h>

#include "cuda/compute_kernels.h"
#include "cuda/execution.h"
#include "cuda/kernels.h"
#include "cuda/matrix_products.h"
#include "cuda/recording.h"
#include "cuda/vector_products.h"

namespace statescope::cuda {
namespace {

struct DeviceStorage final : Storage {
  void* data = nullptr;
  ~DeviceStorage() override { cudaFree(data); }
};

std::byte* address_of(const Array& array) {
  return array.present() ? static_cast<std::byte*>(static_cast<DeviceStorage&>(*array.storage).data)
                         : nullptr;
}

Elements elements_of(const Array& array) {
  if (array.dtype != DType::kF32 && array.dtype != DType::kBf16 && array.dtype != DType::kF16) {
    throw Error(ErrorKind::kRefused,
                "array: found type " + std::string(name(array.dtype)) + ", wanted f32, bf16 or f16 on CUDA");
  }
  return {address_of(array), array.dtype};
}
float* floats(const Array& array) {
  return reinterpret_cast<float*>(address_of(array));
}
std::int32_t* integers(const Array& array) {
  return reinterpret_cast<std::int32_t*>(address_of(array));
}

/// Kernels count rows and columns in 32 bits, elements in 64.
int count(std::int64_t x) {
  if (x < 0 || x > std::numeric_limits<int>::max())
    throw Error(ErrorKind::kRefused,
                "array: found an extent of " + std::to_string(x) + ", wanted at most 2147483647");
  return static_cast<int>(x);
}

StridedElements strided(const View& view) {
  StridedElements out;
  out.elements = elements_of(view.array);
  out.at = view.offset;
  std::copy(view.strides.begin(), view.strides.end(), out.strides);
  return out;
}

class CudaCompute final : public Compute {
 public:
  using Compute::apply;
  using Compute::download;

  explicit CudaCompute(int device_index) : device_index_(device_index) {
    select();
    products_ = std::make_unique<MatrixProducts>();
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");
  }
  ~CudaCompute() override { cudaStreamDestroy(stream_); }

  void upload(const Array& to, std::span<const std::byte> bytes) override {
    select();
    check(cudaMemcpyAsync(address_of(to), bytes.data(), bytes.size(), cudaMemcpyHostToDevice, stream_),
          "uploading");
    wait();
  }

  void download(const Array& from, std::span<std::byte> bytes) override {
    select();
    check(cudaMemcpyAsync(bytes.data(), address_of(from), bytes.size(), cudaMemcpyDeviceToHost, stream_),
          "downloading");
    wait();
  }

  void apply(Pointwise f, const Extents& extents, const View& out, const std::vector<View>& in, float p,
             float r) override {
    ApplyParameters x{};
    x.function = static_cast<int>(f);
    x.operands = static_cast<int>(in.size());
    for (int i = 0; i < 4; ++i) x.extents[i] = count(extents[i]);
    x.out = strided(out);
    for (std::size_t i = 0; i < in.size(); ++i) x.in[i] = strided(in[i]);
    x.p = p;
    x.r = r;
    std::vector<Array> read;
    for (const View& view : in) read.push_back(view.array);
    operate(read, {out.array}, [&] { launch_apply(x, stream_); });
  }

  void multiply(const Product& p, const MatrixView& a, const MatrixView& b, const MatrixView& c) override {
    const auto matrix = [](const MatrixView& view) {
      return DeviceMatrix{
          address_of(view.array) + view.offset * static_cast<std::int64_t>(size_of(view.array.dtype)),
          view.array.dtype, view.row_stride, view.batch_stride};
    };
    Uses uses = uses_of({a.array, b.array}, {c.array});
    if (is_vector_product(p, matrix(a), matrix(b))) {
      operate(uses, [&] { multiply_vectors(p, matrix(a), matrix(b), matrix(c), stream_); });
      return;
    }
    uses.writes.push_back(products_.get());  // its workspace
    operate(uses, [&] { products_->multiply(p, matrix(a), matrix(b), matrix(c), stream_); });
  }

  void normalise(RowNorm norm, float value, std::int64_t rows, std::int64_t width, const Array& x,
                 const Array& weight, const Array& y) override {
    operate({x, weight}, {y}, [&] {
      launch_normalise({norm, value, count(rows), count(width), elements_of(x), elements_of(y),
                        elements_of(weight), weight.size > width ? width : 0},
                       stream_);
    });
  }

  void convolve(const Convolution& c, const MatrixView& x, const Array& w, const Array& bias,
                const Array& history, const Array& y) override {
    ConvolveParameters p{};
    p.batch = count(c.batch);
    p.tokens = count(c.tokens);
    p.channels = count(c.channels);
    p.size = count(c.size);
    p.function = static_cast<int>(c.activation);
    p.x = elements_of(x.array);
    p.history = elements_of(history);
    p.y = elements_of(y);
    p.x_at = x.offset;
    p.x_row = x.row_stride;
    p.weight = floats(w);
    p.bias = floats(bias);
    operate({x.array, w, bias}, {history, y}, [&] { launch_convolve(p, stream_); });
  }

  void softmax(const Softmax& s, const Array& scores, const Array& y) override {
    operate({scores}, {y}, [&] {
      launch_softmax({count(s.matrices * s.rows), count(s.rows), count(s.width), count(s.past),
                      count(s.window), floats(scores), elements_of(y)},
                     stream_);
    });
  }

  void gather(const Array& table, std::int64_t width, const Array& ids, const Array& y) override {
    operate({table, ids}, {y}, [&] {
      launch_gather({count(ids.size), count(width), elements_of(table), elements_of(y), integers(ids)},
                    stream_);
    });
  }

  void recur(const Plan& plan, const SlotArrays& arrays) override {
    const auto at = [&](Slot slot) {
      return takes_part(plan.problem, slot) ? address_of(arrays[slot]) : nullptr;
    };
    const std::size_t bytes = scratch_bytes(plan);
    Array scratch;
    if (bytes > 0) scratch = allocate(DType::kF32, static_cast<std::int64_t>((bytes + 3) / 4));
    // What is only read belongs to one layer, so to take it for written keeps nobody waiting.
    std::vector<Array> touched(arrays.arrays.begin(), arrays.arrays.end());
    touched.push_back(scratch);
    operate({}, touched, [&] {
      if (bytes > 0) {
        // Flags between blocks begin unset; what was here before is another operation's.
        const std::size_t plain = plain_scratch_bytes(plan);
        check(cudaMemsetAsync(address_of(scratch) + plain, 0, bytes - plain, stream_),
              "clearing scratch memory");
      }
      enqueue(plan, at, address_of(scratch), stream_);
    });
  }

  void row_statistics(std::int64_t rows, std::int64_t width, const Array& x, const Array& y) override {
    operate({x}, {y},
            [&] { launch_row_statistics(count(rows), count(width), floats(x), floats(y), stream_); });
  }
  void largest(std::int64_t rows, std::int64_t width, const Array& x, const Array& y) override {
    operate({x}, {y}, [&] { launch_largest(count(rows), count(width), floats(x), integers(y), stream_); });
  }
  void interfere(std::int64_t n, const Array& gram, const Array& interference, const Array& counts) override {
    operate({gram}, {interference, counts}, [&] {
      launch_interfere(count(n), floats(gram), floats(interference), integers(counts), stream_);
    });
  }

 protected:
  std::unique_ptr<Storage> create_storage(std::size_t bytes) override {
    select();
    auto storage = std::make_unique<DeviceStorage>();
    check(cudaMalloc(&storage->data, bytes), "allocating " + std::to_string(bytes) + " B of device memory");
    return storage;
  }

  void wait() override { check(cudaStreamSynchronize(stream_), "running a layer"); }

  void begin_recording() override {
    check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed), "beginning a graph");
    recording_.emplace(stream_);
  }

  std::function<void()> end_recording(std::shared_ptr<const void> memory) override {
    recording_.reset();
    cudaGraph_t graph = nullptr;
    check(cudaStreamEndCapture(stream_, &graph), "ending a graph");
    cudaGraphExec_t made = nullptr;
    const cudaError_t status = cudaGraphInstantiate(&made, graph, 0);
    cudaGraphDestroy(graph);
    check(status, "instantiating a graph");
    const std::shared_ptr<CUgraphExec_st> executable(made, cudaGraphExecDestroy);
    const auto launch = [this, executable, memory = std::move(memory)] {  // freeing it waits for the device
      check(cudaGraphLaunch(executable.get(), stream_), "launching a graph");
    };
    launch();
    return launch;
  }

  void abandon_recording() noexcept override {
    recording_.reset();
    cudaGraph_t graph = nullptr;
    if (cudaStreamEndCapture(stream_, &graph) == cudaSuccess) cudaGraphDestroy(graph);
    cudaGetLastError();  // of a capture that had failed already
  }

 private:
  void select() const {
    check(cudaSetDevice(device_index_), "selecting cuda:" + std::to_string(device_index_));
  }

  static Uses uses_of(const std::vector<Array>& reads, const std::vector<Array>& writes) {
    const auto memory_of = [](const std::vector<Array>& arrays) {
      std::vector<const void*> memory;
      for (const Array& array : arrays)
        if (array.present()) memory.push_back(array.storage.get());
      return memory;
    };
    return {memory_of(reads), memory_of(writes)};
  }
  template <class Launch>
  void operate(const Uses& uses, Launch&& launch) {
    if (recording_) recording_->before(uses);
    launch();
    if (recording_) recording_->after(uses);
  }
  template <class Launch>
  void operate(const std::vector<Array>& reads, const std::vector<Array>& writes, Launch&& launch) {
    if (recording_) return operate(uses_of(reads, writes), launch);
    launch();
  }

  int device_index_;
  cudaStream_t stream_ = nullptr;
  std::unique_ptr<MatrixProducts> products_;
  std::optional<Recording> recording_;  ///< of the graph that is being made
};

}  // namespace

std::shared_ptr<Compute> make_compute(int device_index) {
  return std::make_shared<CudaCompute>(device_index);
}

}  // namespace statescope::cuda
