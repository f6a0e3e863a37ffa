// Rows of an operand are widened to Real (float32, or float64 where any array of the call is of it), computed
// and narrowed again: the loops below see one type.
#include "runtime/cpu/compute.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include <cblas.h>

#include <statescope/error.h>

#include "runtime/cpu/reference.h"

namespace statescope::cpu {
namespace {

struct HostStorage final : Storage {
  std::vector<std::byte> own;
  std::span<std::byte> data;
};

template <typename T>
T* elements(const Array& array) {
  return reinterpret_cast<T*>(bytes_of(array).data());
}

/// Calls visit(pointer) with the array's elements as they are stored: float, double or 16 bits.
template <typename Visit>
void widen(const Array& array, std::int64_t from, std::int64_t stride, std::int64_t count, Visit visit) {
  switch (array.dtype) {
    case DType::kF64:
      for (std::int64_t i = 0; i < count; ++i) visit(i, elements<double>(array)[from + i * stride]);
      return;
    case DType::kF32:
      for (std::int64_t i = 0; i < count; ++i) visit(i, elements<float>(array)[from + i * stride]);
      return;
    case DType::kBf16:
      for (std::int64_t i = 0; i < count; ++i)
        visit(i, bf16_to_f32(elements<std::uint16_t>(array)[from + i * stride]));
      return;
    case DType::kF16:
      for (std::int64_t i = 0; i < count; ++i)
        visit(i, f16_to_f32(elements<std::uint16_t>(array)[from + i * stride]));
      return;
    default:
      throw Error(ErrorKind::kUsage,
                  "array: found type " + std::string(name(array.dtype)) + ", wanted floating-point");
  }
}

template <typename Real>
void read(const Array& array, std::int64_t from, std::int64_t stride, std::int64_t count, Real* to) {
  widen(array, from, stride, count, [to](std::int64_t i, auto x) { to[i] = static_cast<Real>(x); });
}

template <typename Real>
std::vector<Real> read(const Array& array, std::int64_t from, std::int64_t count) {
  std::vector<Real> values(static_cast<std::size_t>(count));
  read(array, from, 1, count, values.data());
  return values;
}

template <typename Real>
void write(const Real* from, const Array& array, std::int64_t first, std::int64_t stride,
           std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t at = first + i * stride;
    switch (array.dtype) {
      case DType::kF64:
        elements<double>(array)[at] = static_cast<double>(from[i]);
        break;
      case DType::kF32:
        elements<float>(array)[at] = static_cast<float>(from[i]);
        break;
      case DType::kBf16:
        elements<std::uint16_t>(array)[at] = f32_to_bf16(static_cast<float>(from[i]));
        break;
      default:
        elements<std::uint16_t>(array)[at] = f32_to_f16(static_cast<float>(from[i]));
    }
  }
}

/// Calls run(Real()) with float64 when any array is of it.
template <typename Run>
void in_precision_of(std::initializer_list<const Array*> arrays, Run run) {
  const bool wide =
      std::ranges::any_of(arrays, [](const Array* array) { return array->dtype == DType::kF64; });
  if (wide) {
    run(double());
  } else {
    run(float());
  }
}

template <typename Real>
Real sigmoid(Real x) {
  return 1 / (1 + std::exp(-x));
}
template <typename Real>
Real softplus(Real x) {
  return std::max(x, Real(0)) + std::log1p(std::exp(-std::abs(x)));
}
template <typename Real>
Real max(Real a, Real b) {
  return std::max(a, b);
}
template <typename Real>
Real max(Real a, int b) {
  return std::max(a, Real(b));
}
template <typename Real>
Real min(Real a, Real b) {
  return std::min(a, b);
}

/// y_i = f(a_i, b_i, c_i, d_i); `in` has pointers to `count` values each, y may be one of them.
template <typename Real>
void run_pointwise(Pointwise f, std::int64_t count, const std::array<const Real*, 4>& in, Real p, Real r,
                   Real* y) {
  using std::exp;
  switch (f) {
#define STATESCOPE_POINTWISE(number, name, value, ...)                                    \
  case Pointwise::name:                                                                   \
    for (std::int64_t i = 0; i < count; ++i) {                                            \
      [[maybe_unused]] const Real a = in[0][i], b = in[1][i], c = in[2][i], d = in[3][i]; \
      y[i] = value;                                                                       \
    }                                                                                     \
    return;
#include <statescope/pointwise.inc>
#undef STATESCOPE_POINTWISE
  }
}

/// Row-major C = alpha A op(B) + beta C.
void gemm(const Product& p, const float* a, const float* b, float* c, int lda, int ldb, int ldc) {
  const CBLAS_TRANSPOSE transpose = p.transpose_b ? CblasTrans : CblasNoTrans;
  const auto m = static_cast<int>(p.m), n = static_cast<int>(p.n), k = static_cast<int>(p.k);
  const float beta = p.accumulate ? 1 : 0;
  if (m == 1) {  // a vector: the BLAS reads the matrix where it lies
    cblas_sgemv(CblasRowMajor, p.transpose_b ? CblasNoTrans : CblasTrans, p.transpose_b ? n : k,
                p.transpose_b ? k : n, p.alpha, b, ldb, a, 1, beta, c, 1);
    return;
  }
  cblas_sgemm(CblasRowMajor, CblasNoTrans, transpose, m, n, k, p.alpha, a, lda, b, ldb, beta, c, ldc);
}
void gemm(const Product& p, const double* a, const double* b, double* c, int lda, int ldb, int ldc) {
  const CBLAS_TRANSPOSE transpose = p.transpose_b ? CblasTrans : CblasNoTrans;
  cblas_dgemm(CblasRowMajor, CblasNoTrans, transpose, static_cast<int>(p.m), static_cast<int>(p.n),
              static_cast<int>(p.k), p.alpha, a, lda, b, ldb, p.accumulate ? 1 : 0, c, ldc);
}

/// A matrix in Real, where it lies or as a copy with rows side by side.
template <typename Real>
struct HostMatrix {
  std::vector<Real> copy;
  Real* data = nullptr;
  std::int64_t stride = 0;

  HostMatrix(const MatrixView& view, std::int64_t matrix, std::int64_t rows, std::int64_t cols) {
    const std::int64_t first = view.offset + matrix * view.batch_stride;
    if (view.array.dtype == (sizeof(Real) == 8 ? DType::kF64 : DType::kF32)) {
      data = elements<Real>(view.array) + first;
      stride = view.row_stride;
      return;
    }
    copy.resize(static_cast<std::size_t>(rows * cols));
    for (std::int64_t i = 0; i < rows; ++i)
      read(view.array, first + i * view.row_stride, 1, cols, copy.data() + i * cols);
    data = copy.data();
    stride = cols;
  }
};

int blas_size(std::int64_t size) {
  if (size < 0 || size > std::numeric_limits<int>::max())
    throw Error(ErrorKind::kUsage,
                "matrix product: found an extent of " + std::to_string(size) + ", wanted at most 2147483647");
  return static_cast<int>(size);
}

class CpuCompute final : public Compute {
 public:
  using Compute::apply;

  Array constant(const TensorView& view, DType dtype) override {
    const auto address = reinterpret_cast<std::uintptr_t>(view.bytes.data());
    if (view.dtype != dtype || address % size_of(dtype) != 0) return Compute::constant(view, dtype);
    const auto storage = std::make_shared<HostStorage>();
    // Constants are not written to.
    storage->data = {const_cast<std::byte*>(view.bytes.data()), view.bytes.size()};
    return {dtype, static_cast<std::int64_t>(view.bytes.size() / size_of(dtype)), storage};
  }

  void upload(const Array& to, std::span<const std::byte> bytes) override {
    std::ranges::copy(bytes, bytes_of(to).begin());
  }

  void download(const Array& from, std::span<std::byte> bytes) override {
    std::ranges::copy(bytes_of(from).first(bytes.size()), bytes.begin());
  }

  void apply(Pointwise f, const Extents& extents, const View& out, const std::vector<View>& in, float p,
             float r) override {
    const Array none;
    const auto array = [&](std::size_t i) { return i < in.size() ? &in[i].array : &none; };
    in_precision_of({&out.array, array(0), array(1), array(2), array(3)},
                    [&](auto real) { apply_in(real, f, extents, out, in, p, r); });
  }

  void multiply(const Product& p, const MatrixView& a, const MatrixView& b, const MatrixView& c) override {
    for (std::int64_t extent : {p.m, p.n, p.k}) blas_size(extent);
    in_precision_of({&a.array, &b.array, &c.array}, [&](auto real) {
      using Real = decltype(real);
      for (std::int64_t matrix = 0; matrix < p.batch; ++matrix) {
        const HostMatrix<Real> left(a, matrix, p.m, p.k);
        const HostMatrix<Real> right(b, matrix, p.transpose_b ? p.n : p.k, p.transpose_b ? p.k : p.n);
        HostMatrix<Real> result(c, matrix, p.m, p.n);
        gemm(p, left.data, right.data, result.data, blas_size(left.stride), blas_size(right.stride),
             blas_size(result.stride));
        for (std::int64_t i = 0; !result.copy.empty() && i < p.m; ++i)
          write(result.data + i * p.n, c.array, c.offset + matrix * c.batch_stride + i * c.row_stride, 1,
                p.n);
      }
    });
  }

  void normalise(RowNorm norm, float value, std::int64_t rows, std::int64_t width, const Array& x,
                 const Array& weight, const Array& y) override {
    in_precision_of({&x, &weight, &y}, [&](auto real) {
      using Real = decltype(real);
      std::vector<Real> factors(static_cast<std::size_t>(width), Real(1));
      const std::int64_t weight_row = weight.size > width ? width : 0;
      std::vector<Real> row(static_cast<std::size_t>(width));
      for (std::int64_t i = 0; i < rows; ++i) {
        read(x, i * width, 1, width, row.data());
        if (weight.present() && (i == 0 || weight_row > 0))
          read(weight, i * weight_row, 1, width, factors.data());
        double squares = 0;
        for (Real element : row) squares += static_cast<double>(element) * element;
        const double scale = row_scale(norm, value, squares, width);
        for (std::int64_t j = 0; j < width; ++j) row[j] *= static_cast<Real>(scale) * factors[j];
        write(row.data(), y, i * width, 1, width);
      }
    });
  }

  void convolve(const Convolution& c, const MatrixView& x, const Array& w, const Array& bias,
                const Array& history, const Array& y) override {
    in_precision_of({&x.array, &w, &y}, [&](auto real) {
      using Real = decltype(real);
      const std::vector<Real> weights = read<Real>(w, 0, c.channels * c.size);
      std::vector<Real> taps(weights.size());  // [size, C], so that the inner loop runs along C
      for (std::int64_t channel = 0; channel < c.channels; ++channel) {
        for (std::int64_t s = 0; s < c.size; ++s)
          taps[s * c.channels + channel] = weights[channel * c.size + s];
      }
      std::vector<Real> offsets(static_cast<std::size_t>(c.channels));
      if (bias.present()) read(bias, 0, 1, c.channels, offsets.data());
      const std::int64_t kept = (c.size - 1) * c.channels;
      std::vector<Real> padded(static_cast<std::size_t>(kept + c.tokens * c.channels));
      std::vector<Real> out(static_cast<std::size_t>(c.channels));
      for (std::int64_t row = 0; row < c.batch; ++row) {
        read(history, row * kept, 1, kept, padded.data());
        for (std::int64_t t = 0; t < c.tokens; ++t)
          read(x.array, x.offset + (row * c.tokens + t) * x.row_stride, 1, c.channels,
               padded.data() + kept + t * c.channels);
        for (std::int64_t t = 0; t < c.tokens; ++t) {
          out = offsets;
          for (std::int64_t s = 0; s < c.size; ++s) {
            const Real* in = padded.data() + (t + s) * c.channels;
            const Real* tap = taps.data() + s * c.channels;
            for (std::int64_t i = 0; i < c.channels; ++i) out[i] += tap[i] * in[i];
          }
          run_pointwise<Real>(c.activation, c.channels, {out.data(), out.data(), out.data(), out.data()}, 0,
                              0, out.data());
          write(out.data(), y, (row * c.tokens + t) * c.channels, 1, c.channels);
        }
        write(padded.data() + c.tokens * c.channels, history, row * kept, 1, kept);
      }
    });
  }

  void softmax(const Softmax& s, const Array& scores, const Array& y) override {
    in_precision_of({&scores, &y}, [&](auto real) {
      using Real = decltype(real);
      for (std::int64_t row = 0; row < s.matrices * s.rows; ++row) {
        std::vector<Real> values = read<Real>(scores, row * s.width, s.width);
        const std::int64_t last = s.past + row % s.rows + 1;
        const std::int64_t first = std::max<std::int64_t>(0, last - s.window);
        const Real most = *std::max_element(values.begin() + first, values.begin() + last);
        double sum = 0;
        for (std::int64_t i = first; i < last; ++i) sum += values[i] = std::exp(values[i] - most);
        const auto inverse = static_cast<Real>(1 / sum);
        for (std::int64_t i = first; i < last; ++i) values[i] *= inverse;
        std::fill(values.begin(), values.begin() + first, Real(0));
        std::fill(values.begin() + last, values.end(), Real(0));
        write(values.data(), y, row * s.width, 1, s.width);
      }
    });
  }

  void gather(const Array& table, std::int64_t width, const Array& ids, const Array& y) override {
    in_precision_of({&table, &y}, [&](auto real) {
      using Real = decltype(real);
      for (std::int64_t i = 0; i < ids.size; ++i) {
        const std::vector<Real> row = read<Real>(table, elements<std::int32_t>(ids)[i] * width, width);
        write(row.data(), y, i * width, 1, width);
      }
    });
  }

  void recur(const Plan& plan, const SlotArrays& arrays) override {
    const Problem& problem = plan.problem;
    TensorSet inputs;
    for (Slot slot : kSlots) {
      if (is_input(slot) && takes_part(problem, slot))
        inputs[slot] = Compute::download(arrays[slot], shape_of(problem, slot));
    }
    const TensorSet outputs =
        problem.form == Form::kChunked ? run_chunked(problem, inputs) : run_recurrent(problem, inputs);
    for (Slot slot : kSlots) {
      if (!is_input(slot) && takes_part(problem, slot))
        upload(arrays[slot], convert(outputs[slot].view(), arrays[slot].dtype).bytes);
    }
  }

  void row_statistics(std::int64_t rows, std::int64_t width, const Array& x, const Array& y) override {
    for (std::int64_t row = 0; row < rows; ++row) {
      std::vector<float> values = read<float>(x, row * width, width);
      const auto n = static_cast<double>(width);
      double mean = 0, squares = 0, variance = 0, most = 0;
      for (float value : values) {
        mean += value / n;
        squares += static_cast<double>(value) * value;
        most = std::max(most, std::abs(static_cast<double>(value)));
      }
      for (float value : values) variance += (value - mean) * (value - mean) / n;
      const auto middle = values.begin() + width / 2;
      std::nth_element(values.begin(), middle, values.end());
      float median = *middle;
      if (width % 2 == 0) median = (median + *std::max_element(values.begin(), middle)) / 2;
      const double found[kRowStatistics] = {mean, variance, std::sqrt(squares / n), median, most};
      write(found, y, row * kRowStatistics, 1, kRowStatistics);
    }
  }

  void largest(std::int64_t rows, std::int64_t width, const Array& x, const Array& y) override {
    for (std::int64_t row = 0; row < rows; ++row) {
      const std::vector<float> values = read<float>(x, row * width, width);
      elements<std::int32_t>(y)[row] =
          static_cast<std::int32_t>(std::ranges::max_element(values) - values.begin());
    }
  }

  void interfere(std::int64_t n, const Array& gram, const Array& interference, const Array& counts) override {
    for (std::int64_t j = 0; j < n; ++j) {
      const std::vector<float> row = read<float>(gram, j * n, n);
      double sum = 0;
      std::int32_t* bins = elements<std::int32_t>(counts) + j * kCosineBins;
      std::fill_n(bins, kCosineBins, 0);
      for (std::int64_t i = 0; i < n; ++i) {
        if (i == j) continue;
        sum += static_cast<double>(row[i]) * row[i];
        const auto bin = static_cast<std::int64_t>((row[i] + 1) / 2 * kCosineBins);
        if (i < j) ++bins[std::clamp<std::int64_t>(bin, 0, kCosineBins - 1)];
      }
      write(&sum, interference, j, 1, 1);
    }
  }

 protected:
  std::unique_ptr<Storage> create_storage(std::size_t bytes) override { return make_storage(bytes); }
  void wait() override {}

 private:
  static double row_scale(RowNorm norm, double value, double squares, std::int64_t width) {
    switch (norm) {
      case RowNorm::kRootMeanSquare:
        return 1 / std::sqrt(squares / static_cast<double>(width) + value);
      case RowNorm::kLength:
        return 1 / std::sqrt(squares + value);
      case RowNorm::kLimit:
        return squares <= value * value ? 1 : value / std::sqrt(squares);
    }
    return 1;
  }

  template <typename Real>
  static void apply_in(Real, Pointwise f, const Extents& extents, const View& out,
                       const std::vector<View>& in, float p, float r) {
    constexpr std::int64_t kPiece = 4096;  // of a row: operands stay in the first-level cache
    std::array<std::vector<Real>, 5> rows;
    for (auto& row : rows) row.resize(static_cast<std::size_t>(std::min(kPiece, extents[3])));
    const auto first = [](const View& view, std::int64_t i, std::int64_t j, std::int64_t k, std::int64_t l) {
      return view.offset + i * view.strides[0] + j * view.strides[1] + k * view.strides[2] +
             l * view.strides[3];
    };
    for (std::int64_t i = 0; i < extents[0]; ++i) {
      for (std::int64_t j = 0; j < extents[1]; ++j) {
        for (std::int64_t k = 0; k < extents[2]; ++k) {
          for (std::int64_t l = 0; l < extents[3]; l += kPiece) {
            const std::int64_t count = std::min(kPiece, extents[3] - l);
            for (std::size_t operand = 0; operand < in.size(); ++operand)
              read(in[operand].array, first(in[operand], i, j, k, l), in[operand].strides[3], count,
                   rows[operand].data());
            run_pointwise<Real>(f, count, {rows[0].data(), rows[1].data(), rows[2].data(), rows[3].data()}, p,
                                r, rows[4].data());
            write(rows[4].data(), out.array, first(out, i, j, k, l), out.strides[3], count);
          }
        }
      }
    }
  }
};

}  // namespace

std::unique_ptr<Storage> make_storage(std::size_t bytes) {
  auto storage = std::make_unique<HostStorage>();
  storage->own.resize(bytes);
  storage->data = storage->own;
  return storage;
}

std::span<std::byte> bytes_of(const Array& array) {
  return static_cast<HostStorage&>(*array.storage).data;
}

std::shared_ptr<Compute> make_compute() {
  return std::make_shared<CpuCompute>();
}

}  // namespace statescope::cpu
