// Whole layers on a device: arrays that stay there, and the few operations that surround a recurrence. Models
// are written against this once; each backend implements it (runtime/cpu, runtime/vulkan, cuda).
//
// Operations run one after the other in the order of the calls and return before they are done; download()
// waits. Everything is computed in float32 and rounded to the type of the array that is written, except that
// the cpu computes in float64 where an array is of it.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include <statescope/device.h>
#include <statescope/tensor.h>

namespace statescope {

/// Memory of one device; each backend derives its own.
struct Storage {
  std::size_t bytes = 0;
  virtual ~Storage() = default;
};

/// Elements in a device's memory. Copies share them; the last one gives the memory back to its Compute.
struct Array {
  DType dtype = DType::kF32;
  std::int64_t size = 0;
  std::shared_ptr<Storage> storage;

  bool present() const { return storage != nullptr; }
};

/// One array a slot of a recurrence; absent ones are empty.
struct SlotArrays {
  std::array<Array, kSlotCount> arrays;
  Array& operator[](Slot slot) { return arrays[static_cast<std::size_t>(slot)]; }
  const Array& operator[](Slot slot) const { return arrays[static_cast<std::size_t>(slot)]; }
};

/// Elements of an array in four dimensions: offset + the sum of index times stride. A stride of 0 repeats, a
/// negative one goes backwards.
using Extents = std::array<std::int64_t, 4>;
struct View {
  Array array;
  Extents strides{0, 0, 0, 1};
  std::int64_t offset = 0;
};

/// Elementwise functions of up to four operands a, b, c, d and two numbers p, r (pointwise.inc).
enum class Pointwise : std::uint32_t {
#define STATESCOPE_POINTWISE(number, name, ...) name = number,
#include <statescope/pointwise.inc>
#undef STATESCOPE_POINTWISE
};

/// Matrices of a batch: element (i, j) of matrix b is at offset + b batch_stride + i row_stride + j.
struct MatrixView {
  Array array;
  std::int64_t row_stride = 0, batch_stride = 0, offset = 0;
};
/// C [m, n] = alpha A [m, k] B [k, n], or A B^T with B [n, k], for each matrix of the batch; or C += the
/// same.
struct Product {
  std::int64_t m, n, k, batch = 1;
  bool transpose_b = false;
  bool accumulate = false;
  float alpha = 1;
};

/// What a row is divided by.
enum class RowNorm {
  kRootMeanSquare,  ///< x / sqrt(mean(x^2) + value)
  kLength,          ///< x / sqrt(sum(x^2) + value)
  kLimit,           ///< x min(1, value / sqrt(sum(x^2))): rows no longer than `value`
};

/// Causal depthwise convolution along T: y_t = activation(sum_s w[c, s] x_{t - size + 1 + s} + bias[c]).
struct Convolution {
  std::int64_t batch, tokens, channels, size;
  Pointwise activation = Pointwise::kCopy;  ///< one of a single operand
};

/// Rows of causal scores: row i of a matrix sees columns [max(0, past + i + 1 - window), past + i + 1).
struct Softmax {
  std::int64_t matrices, rows, width, past, window;
};

/// A row's mean, variance, root mean square, median and largest absolute value, in this order.
inline constexpr std::int64_t kRowStatistics = 5;
/// Counts of the entries of a Gram matrix in equal bins over [-1, 1].
inline constexpr std::int64_t kCosineBins = 41;

class Compute {
 public:
  virtual ~Compute();

  /// Undefined values. Throws Error(kDevice) with the size when memory runs out.
  Array allocate(DType dtype, std::int64_t size);
  /// A tensor's elements in another floating-point type. The cpu reads those of the same type where they lie:
  /// they must outlive the array.
  virtual Array constant(const TensorView& view, DType dtype);
  /// `bytes` at the array's beginning.
  virtual void upload(const Array& to, std::span<const std::byte> bytes) = 0;
  virtual void download(const Array& from, std::span<std::byte> bytes) = 0;
  /// The array as a host tensor of its own type.
  Tensor download(const Array& from, Shape shape);

  /// out = f(in...) element by element. Views that are read may overlap `out` only where they are the same
  /// view.
  virtual void apply(Pointwise f, const Extents& extents, const View& out, const std::vector<View>& in,
                     float p = 0, float r = 0) = 0;
  /// The same for arrays of one size.
  void apply(Pointwise f, const Array& out, const std::vector<Array>& in, float p = 0, float r = 0);

  /// a and b are of one type; c of that one or f32.
  virtual void multiply(const Product& product, const MatrixView& a, const MatrixView& b,
                        const MatrixView& c) = 0;
  /// y = x over its rows' norms, times the weight: x and y [rows, width], possibly the same array; weight
  /// [width] or [rows, width], or absent.
  virtual void normalise(RowNorm norm, float value, std::int64_t rows, std::int64_t width, const Array& x,
                         const Array& weight, const Array& y) = 0;
  /// x has a row of `channels` a token (batch row by batch row); w [C, size] and bias [C] f32, the latter may
  /// be absent; history [B, size - 1, C], of the type of x: the inputs before x, replaced by the last ones of
  /// x; y [B T, C], not the array of x.
  virtual void convolve(const Convolution& c, const MatrixView& x, const Array& w, const Array& bias,
                        const Array& history, const Array& y) = 0;
  /// scores f32 [matrices, rows, width]; y the same shape. Columns that a row does not see become 0.
  virtual void softmax(const Softmax& s, const Array& scores, const Array& y) = 0;
  /// y [ids, width] = rows of table [any, width]; ids i32, within the table.
  virtual void gather(const Array& table, std::int64_t width, const Array& ids, const Array& y) = 0;
  /// The recurrence of a plan of this device. Where in_place_of() says so, input and output are one array.
  virtual void recur(const Plan& plan, const SlotArrays& arrays) = 0;

  /// y f32 [rows, kRowStatistics] of x f32 [rows, width].
  virtual void row_statistics(std::int64_t rows, std::int64_t width, const Array& x, const Array& y) = 0;
  /// y i32 [rows]: where each row of x f32 [rows, width] is largest; the first of equals.
  virtual void largest(std::int64_t rows, std::int64_t width, const Array& x, const Array& y) = 0;
  /// Of a Gram matrix f32 [n, n]: interference f32 [n], row j's sum of squares without the diagonal, and
  /// counts i32 [n, kCosineBins] of row j's entries left of the diagonal.
  virtual void interfere(std::int64_t n, const Array& gram, const Array& interference,
                         const Array& counts) = 0;

  /// Runs `work`, which uploads and downloads nothing, and returns what repeats the same operations on the
  /// same arrays with as little of the host as the backend can; it must not outlive this object. Arrays that
  /// die within `work` stay the recording's. Where `work` throws, nothing of it may have run.
  std::function<void()> record(const std::function<void()>& work);

  /// Device memory that this object holds, and the most it has held.
  std::size_t memory_bytes() const;
  std::size_t peak_memory_bytes() const;

 protected:
  virtual std::unique_ptr<Storage> create_storage(std::size_t bytes) = 0;
  /// Waits until memory may be given back to the device.
  virtual void wait() = 0;
  /// Operations from the one to the other are repeated by what the latter returns, handed to the device once
  /// by then; null where a backend has no means for it. `memory` must live as long as they may run.
  virtual void begin_recording() {}
  virtual std::function<void()> end_recording(std::shared_ptr<const void> /*memory*/) { return {}; }
  /// Forgets the operations since begin_recording().
  virtual void abandon_recording() noexcept {}

 private:
  struct Pool;
  std::shared_ptr<Pool> new_pool() const;
  std::shared_ptr<Pool> pool_;
  std::shared_ptr<Pool> recorded_;  ///< of the recording that is being made
  struct Usage {
    std::size_t now = 0, peak = 0;
  };
  std::shared_ptr<Usage> usage_ = std::make_shared<Usage>();
};

}  // namespace statescope
