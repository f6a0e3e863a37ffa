#include "runtime/cpu/front_end.h"

#include <array>
#include <cmath>

#include <statescope/error.h>

#include "runtime/cpu/dense.h"
#include "runtime/cpu/parallel.h"

namespace statescope::cpu {
namespace {

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}
double silu(double x) {
  return x * sigmoid(x);
}
double silu_slope(double x) {
  const double s = sigmoid(x);
  return s * (1 + x * (1 - s));
}
template <typename Function>
Matrix map(const Matrix& m, Function function) {
  Matrix result = m;
  for (double& x : result.values) x = function(x);
  return result;
}

/// The tensors of q's side or of k's.
struct Side {
  Slot x, weight, taps, history, after, dx, dweight, dtaps;
};
constexpr Side kSides[] = {
    {Slot::kQ, Slot::kQExpand, Slot::kQConv, Slot::kQHistory, Slot::kQHistoryAfter, Slot::kDq,
     Slot::kDqExpand, Slot::kDqConv},
    {Slot::kK, Slot::kKExpand, Slot::kKConv, Slot::kKHistory, Slot::kKHistoryAfter, Slot::kDk,
     Slot::kDkExpand, Slot::kDkConv},
};

/// One subkey of one sequence on its way forward.
struct Subkey {
  Matrix x;                            ///< [T, K]
  Matrix y;                            ///< [3 + T, K]: the history or zeros, then SiLU(x) W
  Matrix sums;                         ///< y convolved
  Matrix out;                          ///< SiLU, and for gated_delta unit rows
  std::vector<double> inverse_length;  ///< of each row; empty without the norm
};

/// `history` [3, K], or nothing.
Subkey forward(const Problem& p, ConstView x, ConstView weight, ConstView taps, ConstView history) {
  Subkey s{Matrix(x), Matrix(kHistoryTokens + x.rows, p.key_dim), Matrix(x.rows, p.key_dim), {}, {}};
  if (p.history) add(1, history, rows_of(s.y, 0, kHistoryTokens));
  add_ab(1, map(s.x, silu), weight, rows_of(s.y, kHistoryTokens, x.rows));
  for (std::int64_t t = 0; t < x.rows; ++t) {
    for (std::int64_t i = 0; i < kConvolutionWidth; ++i) {
      for (std::int64_t c = 0; c < p.key_dim; ++c) s.sums(t, c) += taps(c, i) * s.y(t + i, c);
    }
  }
  s.out = map(s.sums, silu);
  if (p.rule != Rule::kGatedDelta) return s;
  for (std::int64_t t = 0; t < x.rows; ++t) {
    const double* row = s.out.row(t);
    s.inverse_length.push_back(1 / std::sqrt(dot(row, row, p.key_dim) + kNormEpsilon));
    multiply(rows_of(s.out, t, 1), s.inverse_length.back());
  }
  return s;
}

struct SubkeyGradients {
  Matrix dx, dweight, dtaps;
};

SubkeyGradients backward(const Problem& p, const Subkey& s, ConstView weight, ConstView taps,
                         ConstView dout) {
  Matrix dsums(dout);
  for (std::int64_t t = 0; t < dsums.rows; ++t) {
    if (s.inverse_length.empty()) break;  // d(z r), r = (|z|^2 + eps)^-1/2: r (dout - out <out, dout>)
    const double along = dot(s.out.row(t), dout.row(t), p.key_dim);
    for (std::int64_t c = 0; c < p.key_dim; ++c)
      dsums(t, c) = s.inverse_length[t] * (dout(t, c) - s.out(t, c) * along);
  }
  for (std::size_t i = 0; i < dsums.values.size(); ++i) dsums.values[i] *= silu_slope(s.sums.values[i]);

  SubkeyGradients g{Matrix(dsums.rows, p.key_dim), Matrix(p.key_dim, p.key_dim),
                    Matrix(p.key_dim, kConvolutionWidth)};
  Matrix dy(dsums.rows, p.key_dim);
  for (std::int64_t t = 0; t < dsums.rows; ++t) {
    for (std::int64_t i = 0; i < kConvolutionWidth; ++i) {
      const std::int64_t from = t - kHistoryTokens + i;
      if (from < 0) continue;
      for (std::int64_t c = 0; c < p.key_dim; ++c) {
        dy(from, c) += taps(c, i) * dsums(t, c);
        g.dtaps(c, i) += s.y(t + i, c) * dsums(t, c);
      }
    }
  }
  add_atb(1, map(s.x, silu), dy, g.dweight);
  add_abt(1, dy, weight, g.dx);
  for (std::size_t i = 0; i < g.dx.values.size(); ++i) g.dx.values[i] *= silu_slope(s.x.values[i]);
  return g;
}

/// Which sequence, side, head of q and k, and subkey: the last counts fastest.
struct Place {
  std::size_t side;
  std::int64_t sequence, head, subkey;
};

class Layout {
 public:
  Layout(const Problem& problem, const TensorSet& inputs)
      : p_(problem), sequences_(sequences_of(problem, inputs[Slot::kCuSeqlens])) {
    for (const Side& side : kSides) {
      for (Slot slot : {side.x, side.weight, side.taps, side.history}) {
        if (!takes_part(problem, slot)) continue;
        if (inputs[slot].shape != shape_of(problem, slot)) {
          throw Error(ErrorKind::kUsage, "tensor '" + std::string(name(slot)) + "' has shape " +
                                             to_string(inputs[slot].shape) + ", wanted " +
                                             to_string(shape_of(problem, slot)));
        }
        wide_[slot] = convert(inputs[slot].view(), DType::kF64);
      }
    }
  }

  std::int64_t count() const {
    return static_cast<std::int64_t>(sequences_.size()) * 2 * p_.qk_heads * p_.expansion;
  }
  Place place(std::int64_t i) const {
    const std::int64_t head = i / p_.expansion, side = head / p_.qk_heads;
    return {static_cast<std::size_t>(side % 2), side / 2, head % p_.qk_heads, i % p_.expansion};
  }

  View unexpanded(Tensor& t, const Place& at) const { return tokens(t, at, p_.qk_heads, at.head); }
  View expanded(Tensor& t, const Place& at) const {
    return tokens(t, at, p_.qk_heads * p_.expansion, at.head * p_.expansion + at.subkey);
  }
  View weight(Tensor& t, const Place& at) const {
    const std::int64_t stride = p_.expansion * p_.key_dim;
    return {t.as<double>().data() + at.head * p_.key_dim * stride + at.subkey * p_.key_dim, p_.key_dim,
            p_.key_dim, stride};
  }
  View taps(Tensor& t, const Place& at) const {
    const std::int64_t subkey = at.head * p_.expansion + at.subkey;
    return {t.as<double>().data() + subkey * p_.key_dim * kConvolutionWidth, p_.key_dim, kConvolutionWidth,
            kConvolutionWidth};
  }

  /// The subkey's part of a history; nothing without one.
  View history(Tensor& t, const Place& at) const {
    if (!t.present()) return {};
    const std::int64_t stride = p_.qk_heads * p_.expansion * p_.key_dim;
    return {t.as<double>().data() + at.sequence * kHistoryTokens * stride +
                (at.head * p_.expansion + at.subkey) * p_.key_dim,
            kHistoryTokens, p_.key_dim, stride};
  }

  Subkey run(const Place& at) {
    const Side& side = kSides[at.side];
    return forward(p_, unexpanded(wide_[side.x], at), weight(wide_[side.weight], at),
                   taps(wide_[side.taps], at), history(wide_[side.history], at));
  }
  SubkeyGradients run_back(const Place& at, ConstView dout) {
    const Side& side = kSides[at.side];
    return backward(p_, run(at), weight(wide_[side.weight], at), taps(wide_[side.taps], at), dout);
  }

 private:
  View tokens(Tensor& t, const Place& at, std::int64_t slices, std::int64_t slice) const {
    const Sequence& s = sequences_[static_cast<std::size_t>(at.sequence)];
    const std::int64_t stride = slices * p_.key_dim;
    return {t.as<double>().data() + (s.row * p_.seq_len + s.begin) * stride + slice * p_.key_dim,
            s.end - s.begin, p_.key_dim, stride};
  }

  Problem p_;
  std::vector<Sequence> sequences_;
  TensorSet wide_;
};

}  // namespace

Expanded expand_front_end(const Problem& problem, const TensorSet& inputs) {
  const Problem inner = without_front_end(problem);
  Layout layout(problem, inputs);
  Expanded result;
  for (Slot slot : kSlots) {
    if (is_input(slot) && takes_part(inner, slot)) result.inputs[slot] = inputs[slot];
  }
  for (const Side& side : kSides) {
    result.inputs[side.x] = Tensor(DType::kF64, shape_of(inner, side.x));
    if (problem.history) result.histories[side.after] = Tensor(DType::kF64, shape_of(problem, side.after));
  }
  struct Part {
    Matrix out, history;
  };
  work_in_parallel_add_in_order(
      layout.count(),
      [&](std::int64_t i) {
        const Subkey s = layout.run(layout.place(i));
        return Part{s.out, Matrix(rows_of(s.y, s.x.rows, kHistoryTokens))};
      },
      [&](std::int64_t i, const Part& part) {
        const Place at = layout.place(i);
        const Side& side = kSides[at.side];
        add(1, part.out, layout.expanded(result.inputs[side.x], at));
        if (problem.history) add(1, part.history, layout.history(result.histories[side.after], at));
      });
  return result;
}

TensorSet run_behind_front_end(const Problem& problem, const TensorSet& inputs,
                               const std::function<TensorSet(const Problem&, const TensorSet&)>& recurrence) {
  Expanded expanded = expand_front_end(problem, inputs);
  TensorSet outputs = recurrence(without_front_end(problem), expanded.inputs);
  for (const Side& side : kSides) outputs[side.after] = std::move(expanded.histories[side.after]);
  if (problem.pass != Pass::kBackward) return outputs;
  Layout layout(problem, inputs);
  std::array<Tensor, 2> of_subkeys;
  for (std::size_t side = 0; side < 2; ++side) {
    of_subkeys[side] = std::move(outputs[kSides[side].dx]);
    for (Slot slot : {kSides[side].dx, kSides[side].dweight, kSides[side].dtaps})
      outputs[slot] = Tensor(DType::kF64, shape_of(problem, slot));
  }
  work_in_parallel_add_in_order(
      layout.count(),
      [&](std::int64_t i) {
        const Place at = layout.place(i);
        return layout.run_back(at, layout.expanded(of_subkeys[at.side], at));
      },
      [&](std::int64_t i, const SubkeyGradients& g) {
        const Place at = layout.place(i);
        const Side& side = kSides[at.side];
        add(1, g.dx, layout.unexpanded(outputs[side.dx], at));
        add(1, g.dweight, layout.weight(outputs[side.dweight], at));
        add(1, g.dtaps, layout.taps(outputs[side.dtaps], at));
      });
  return outputs;
}

}  // namespace statescope::cpu
