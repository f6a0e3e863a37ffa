// The adjoint of a machine whose memory is the arrays: each operation keeps what it read; backwards it takes
// the gradient of what it wrote, leaves zero there, for the memory held something else before, and adds to
// the gradients of what it read. So operations in place need no case of their own.
#include "runtime/cpu/tape.h"

#include <algorithm>
#include <cmath>
#include <string>

#include <statescope/error.h>

#include "runtime/cpu/compute.h"
#include "runtime/cpu/reference.h"

namespace statescope::cpu {
namespace {

using Values = std::vector<double>;

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}
double softplus(double x) {
  return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x)));
}

/// d f / d a, d b, d c, d d
std::array<double, 4> derivatives(Pointwise f, double a, double b, double c, double d, double p, double r) {
  using std::exp;
  // The table's expressions name all of these, each row only some.
  static_cast<void>(a), static_cast<void>(b), static_cast<void>(c), static_cast<void>(d);
  static_cast<void>(p), static_cast<void>(r);
  switch (f) {
#define STATESCOPE_POINTWISE(number, name, value, da, db, dc, dd)                      \
  case Pointwise::name:                                                                \
    return {static_cast<double>(da), static_cast<double>(db), static_cast<double>(dc), \
            static_cast<double>(dd)};
#include <statescope/pointwise.inc>
#undef STATESCOPE_POINTWISE
  }
  return {};
}

/// Calls visit(i, index in the view) for every element, in order.
template <typename Visit>
void for_each_index(const Extents& extents, const View& view, Visit visit) {
  std::int64_t i = 0;
  for (std::int64_t i0 = 0; i0 < extents[0]; ++i0) {
    for (std::int64_t i1 = 0; i1 < extents[1]; ++i1) {
      for (std::int64_t i2 = 0; i2 < extents[2]; ++i2) {
        for (std::int64_t i3 = 0; i3 < extents[3]; ++i3, ++i)
          visit(i, view.offset + i0 * view.strides[0] + i1 * view.strides[1] + i2 * view.strides[2] +
                       i3 * view.strides[3]);
      }
    }
  }
}

Values values_of(const Array& array) {
  if (!array.present()) return {};
  if (array.dtype != DType::kF64)
    throw Error(ErrorKind::kUsage,
                "tape: found an array of " + std::string(name(array.dtype)) + ", wanted f64");
  const auto* first = reinterpret_cast<const double*>(bytes_of(array).data());
  return {first, first + array.size};
}

class CpuTape final : public Tape {
 public:
  using Compute::apply;
  using Compute::download;

  Array constant(const TensorView& view, DType dtype) override { return run_->constant(view, dtype); }

  void upload(const Array& to, std::span<const std::byte> bytes) override {
    run_->upload(to, bytes);
    if (to.dtype == DType::kF64) record([this, to] { take(to); });
  }
  void download(const Array& from, std::span<std::byte> bytes) override { run_->download(from, bytes); }

  void apply(Pointwise f, const Extents& extents, const View& out, const std::vector<View>& in, float p,
             float r) override {
    const std::int64_t count = extents[0] * extents[1] * extents[2] * extents[3];
    std::array<Values, 4> seen;
    for (auto& values : seen) values.resize(static_cast<std::size_t>(count));
    for (std::size_t operand = 0; operand < in.size(); ++operand) {
      // Tables come as float32 and have no gradient.
      if (in[operand].array.dtype != DType::kF64) continue;
      const Values all = values_of(in[operand].array);
      for_each_index(extents, in[operand],
                     [&](std::int64_t i, std::int64_t at) { seen[operand][i] = all[at]; });
    }
    run_->apply(f, extents, out, in, p, r);
    if (out.array.dtype != DType::kF64) return;
    record([this, f, extents, out, in, p, r, seen, count] {
      Values g(static_cast<std::size_t>(count));
      Values& written = gradient_of(out.array);
      for_each_index(extents, out, [&](std::int64_t i, std::int64_t at) { std::swap(g[i], written[at]); });
      for (std::size_t operand = 0; operand < in.size(); ++operand) {
        if (in[operand].array.dtype != DType::kF64) continue;
        Values& read = gradient_of(in[operand].array);
        for_each_index(extents, in[operand], [&](std::int64_t i, std::int64_t at) {
          read[at] += g[i] * derivatives(f, seen[0][i], seen[1][i], seen[2][i], seen[3][i], p, r)[operand];
        });
      }
    });
  }

  void multiply(const Product& p, const MatrixView& a, const MatrixView& b, const MatrixView& c) override {
    const Values left = values_of(a.array), right = values_of(b.array);
    run_->multiply(p, a, b, c);
    record([this, p, a, b, c, left, right] {
      Values& gc = gradient_of(c.array);
      for (std::int64_t matrix = 0; matrix < p.batch; ++matrix) {
        for (std::int64_t i = 0; i < p.m; ++i) {
          for (std::int64_t j = 0; j < p.n; ++j) {
            double& place = gc[c.offset + matrix * c.batch_stride + i * c.row_stride + j];
            const double g = p.alpha * place;
            if (!p.accumulate) place = 0;
            Values &ga = gradient_of(a.array), &gb = gradient_of(b.array);
            for (std::int64_t k = 0; k < p.k; ++k) {
              const std::int64_t from_a = a.offset + matrix * a.batch_stride + i * a.row_stride + k;
              const std::int64_t from_b = b.offset + matrix * b.batch_stride +
                                          (p.transpose_b ? j * b.row_stride + k : k * b.row_stride + j);
              ga[from_a] += g * right[from_b];
              gb[from_b] += g * left[from_a];
            }
          }
        }
      }
    });
  }

  void normalise(RowNorm norm, float value, std::int64_t rows, std::int64_t width, const Array& x,
                 const Array& weight, const Array& y) override {
    const Values seen = values_of(x), factors = values_of(weight);
    run_->normalise(norm, value, rows, width, x, weight, y);
    record([this, norm, value, rows, width, x, weight, y, seen, factors] {
      const Values g = take(y);
      const std::int64_t factor_row = weight.size > width ? width : 0;
      for (std::int64_t row = 0; row < rows; ++row) {
        const double* in = seen.data() + row * width;
        const auto factor = [&](std::int64_t i) {
          return factors.empty() ? 1 : factors[row * factor_row + i];
        };
        double squares = 0, product = 0;  // sum of x^2, and of the gradient of the scaled row times x
        for (std::int64_t i = 0; i < width; ++i) {
          squares += in[i] * in[i];
          product += g[row * width + i] * factor(i) * in[i];
        }
        // y = s x, with ds / dx = -t x.
        double s = 1, t = 0;
        if (norm == RowNorm::kRootMeanSquare) {
          s = 1 / std::sqrt(squares / static_cast<double>(width) + value);
          t = s * s * s / static_cast<double>(width);
        } else if (norm == RowNorm::kLength) {
          s = 1 / std::sqrt(squares + value);
          t = s * s * s;
        } else if (squares > static_cast<double>(value) * value) {
          s = value / std::sqrt(squares);
          t = s / squares;
        }
        for (std::int64_t i = 0; i < width; ++i) {
          const double gi = g[row * width + i];
          gradient_of(x)[row * width + i] += factor(i) * gi * s - t * in[i] * product;
          if (!factors.empty()) gradient_of(weight)[row * factor_row + i] += gi * in[i] * s;
        }
      }
    });
  }

  void convolve(const Convolution& c, const MatrixView& x, const Array& w, const Array& bias,
                const Array& history, const Array& y) override {
    const Values taps = values_of(w), offsets = values_of(bias), before = values_of(history),
                 inputs = values_of(x.array);
    run_->convolve(c, x, w, bias, history, y);
    record([this, c, x, w, bias, history, y, taps, offsets, before, inputs] {
      const Values g = take(y);
      Values kept = take(history);  // of the inputs that were kept for later
      const std::int64_t past = c.size - 1;
      for (std::int64_t row = 0; row < c.batch; ++row) {
        for (std::int64_t channel = 0; channel < c.channels; ++channel) {
          // Inputs of one channel in time, the history first.
          Values in, gradient(static_cast<std::size_t>(past + c.tokens));
          const auto place = [&](std::int64_t t) { return (row * past + t) * c.channels + channel; };
          const auto input = [&](std::int64_t t) {
            return x.offset + (row * c.tokens + t) * x.row_stride + channel;
          };
          for (std::int64_t t = 0; t < past; ++t) in.push_back(before[place(t)]);
          for (std::int64_t t = 0; t < c.tokens; ++t) in.push_back(inputs[input(t)]);
          for (std::int64_t t = 0; t < past; ++t) gradient[c.tokens + t] += kept[place(t)];
          for (std::int64_t t = 0; t < c.tokens; ++t) {
            double sum = offsets.empty() ? 0 : offsets[channel];
            for (std::int64_t s = 0; s < c.size; ++s) sum += taps[channel * c.size + s] * in[t + s];
            const double gz = g[(row * c.tokens + t) * c.channels + channel] *
                              derivatives(c.activation, sum, 0, 0, 0, 0, 0)[0];
            if (!offsets.empty()) gradient_of(bias)[channel] += gz;
            for (std::int64_t s = 0; s < c.size; ++s) {
              gradient_of(w)[channel * c.size + s] += gz * in[t + s];
              gradient[t + s] += gz * taps[channel * c.size + s];
            }
          }
          for (std::int64_t t = 0; t < past; ++t) gradient_of(history)[place(t)] += gradient[t];
          for (std::int64_t t = 0; t < c.tokens; ++t) gradient_of(x.array)[input(t)] += gradient[past + t];
        }
      }
    });
  }

  void softmax(const Softmax& s, const Array& scores, const Array& y) override {
    run_->softmax(s, scores, y);
    record([this, s, scores, y, weights = values_of(y)] {
      const Values g = take(y);
      for (std::int64_t row = 0; row < s.matrices * s.rows; ++row) {
        double sum = 0;
        for (std::int64_t i = row * s.width; i < (row + 1) * s.width; ++i) sum += g[i] * weights[i];
        for (std::int64_t i = row * s.width; i < (row + 1) * s.width; ++i)
          gradient_of(scores)[i] += weights[i] * (g[i] - sum);
      }
    });
  }

  void gather(const Array& table, std::int64_t width, const Array& ids, const Array& y) override {
    run_->gather(table, width, ids, y);
    const Tensor rows = run_->download(ids, {ids.size});
    record([this, table, width, y, rows] {
      const Values g = take(y);
      for (std::int64_t i = 0; i < static_cast<std::int64_t>(g.size()); ++i)
        gradient_of(table)[rows.as<std::int32_t>()[i / width] * width + i % width] += g[i];
    });
  }

  void recur(const Plan& plan, const SlotArrays& arrays) override {
    Problem problem = plan.problem;
    problem.pass = Pass::kBackward;
    problem.final_state_gradient = true;
    TensorSet inputs;
    for (Slot slot : kSlots) {
      if (is_input(slot) && takes_part(plan.problem, slot))
        inputs[slot] = Compute::download(arrays[slot], shape_of(plan.problem, slot));
    }
    run_->recur(plan, arrays);
    record([this, problem, arrays, inputs]() mutable {
      const auto taken = [&](Slot of, Slot as) {
        Tensor tensor(DType::kF64, shape_of(problem, as));
        std::ranges::copy(take(arrays[of]), tensor.as<double>().begin());
        inputs[as] = std::move(tensor);
      };
      taken(Slot::kO, Slot::kDo);
      taken(Slot::kHt, Slot::kDht);
      const TensorSet found = run_recurrent(problem, inputs);
      const std::pair<Slot, Slot> gradients[] = {{Slot::kQ, Slot::kDq},       {Slot::kK, Slot::kDk},
                                                 {Slot::kV, Slot::kDv},       {Slot::kG, Slot::kDg},
                                                 {Slot::kBeta, Slot::kDbeta}, {Slot::kH0, Slot::kDh0}};
      for (const auto& [slot, gradient] : gradients) {
        if (!takes_part(problem, gradient)) continue;
        Values& to = gradient_of(arrays[slot]);
        for (std::size_t i = 0; i < to.size(); ++i) to[i] += found[gradient].as<double>()[i];
      }
    });
  }

  void row_statistics(std::int64_t rows, std::int64_t width, const Array& x, const Array& y) override {
    run_->row_statistics(rows, width, x, y);
  }
  void largest(std::int64_t rows, std::int64_t width, const Array& x, const Array& y) override {
    run_->largest(rows, width, x, y);
  }
  void interfere(std::int64_t n, const Array& gram, const Array& interference, const Array& counts) override {
    run_->interfere(n, gram, interference, counts);
  }

  Tensor gradient(const Array& array) const override {
    Tensor tensor(DType::kF64, {array.size});
    const auto it = gradients_.find(array.storage.get());
    if (it != gradients_.end()) std::ranges::copy(it->second, tensor.as<double>().begin());
    return tensor;
  }

  void backward(const Array& result, const Tensor& seed) override {
    gradients_.clear();
    gradient_of(result).assign(seed.as<double>().begin(), seed.as<double>().end());
    for (auto step = steps_.rbegin(); step != steps_.rend(); ++step) (*step)();
    steps_.clear();
  }

 protected:
  std::unique_ptr<Storage> create_storage(std::size_t bytes) override { return make_storage(bytes); }
  void wait() override {}

 private:
  // Steps hold the arrays that they speak of, so no memory serves two of them.
  void record(std::function<void()> step) { steps_.push_back(std::move(step)); }

  Values& gradient_of(const Array& array) {
    Values& gradient = gradients_[array.storage.get()];
    gradient.resize(static_cast<std::size_t>(array.size));
    return gradient;
  }
  /// The gradient of an array that was written as a whole.
  Values take(const Array& array) {
    Values taken(static_cast<std::size_t>(array.size));
    std::swap(taken, gradient_of(array));
    return taken;
  }

  std::shared_ptr<Compute> run_ = make_compute();
  std::vector<std::function<void()>> steps_;
  std::map<const Storage*, Values> gradients_;
};

}  // namespace

std::shared_ptr<Tape> make_tape() {
  return std::make_shared<CpuTape>();
}

}  // namespace statescope::cpu
