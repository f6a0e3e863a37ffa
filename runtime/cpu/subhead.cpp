#include "runtime/cpu/subhead.h"

#include <string>

#include <statescope/error.h>

#include "runtime/cpu/parallel.h"

namespace statescope::cpu {
namespace {

/// The tensors of a problem in float64, and where one token of one subhead lies in each.
class Layout {
 public:
  Layout(const Problem& problem, const TensorSet& inputs) : problem_(problem) {
    for (Slot slot : kSlots) {
      if (!takes_part(problem, slot)) continue;
      const Shape shape = shape_of(problem, slot);
      if (is_input(slot) && inputs[slot].shape != shape) {
        throw Error(ErrorKind::kUsage, "tensor '" + std::string(name(slot)) + "' has shape " +
                                           to_string(inputs[slot].shape) + ", wanted " + to_string(shape));
      }
      if (slot == Slot::kCuSeqlens) continue;
      tensors_[slot] =
          is_input(slot) ? convert(inputs[slot].view(), DType::kF64) : Tensor(DType::kF64, shape);
    }
    sequences_ = sequences_of(problem, inputs[Slot::kCuSeqlens]);
  }

  std::int64_t subheads() const { return problem_.sequences * problem_.heads * problem_.expansion; }

  Subhead gather(std::int64_t index) {
    const Problem& p = problem_;
    Subhead x{p.rule,    p.scale,     sequence(index).end - sequence(index).begin,
              p.key_dim, p.value_dim, {},
              {},        {},          {},
              {},        {},          {},
              {}};
    x.q = gathered(Slot::kQ, index, x);
    x.k = gathered(Slot::kK, index, x);
    x.v = gathered(Slot::kV, index, x);
    if (has_gate(p.rule)) x.g = gathered(Slot::kG, index, x);
    if (has_beta(p.rule)) x.beta = gathered(Slot::kBeta, index, x);
    x.h0 = gathered(Slot::kH0, index, x);
    if (p.pass == Pass::kBackward) {
      x.d_o = gathered(Slot::kDo, index, x);
      x.dht = gathered(Slot::kDht, index, x);
    }
    return x;
  }

  void add(std::int64_t index, const SubheadOutputs& y) {
    scatter(Slot::kO, index, y.o);
    scatter(Slot::kHt, index, y.ht);
  }

  void add(std::int64_t index, const SubheadGradients& y) {
    scatter(Slot::kDq, index, y.dq);
    scatter(Slot::kDk, index, y.dk);
    scatter(Slot::kDv, index, y.dv);
    scatter(Slot::kDg, index, y.dg);
    scatter(Slot::kDbeta, index, y.dbeta);
    scatter(Slot::kDh0, index, y.dh0);
  }

  TensorSet take_outputs() {
    for (Slot slot : kSlots) {
      if (is_input(slot)) tensors_[slot] = Tensor();
    }
    return std::move(tensors_);
  }

 private:
  /// Subheads count up as (sequence, head, subhead of the head), the last fastest.
  const Sequence& sequence(std::int64_t index) const {
    return sequences_[index / (problem_.heads * problem_.expansion)];
  }

  /// The rows of one subhead in a tensor: a state's K rows, or a row a token at a stride of whole tokens.
  View rows(Slot slot, std::int64_t index) {
    const Problem& p = problem_;
    double* data = tensors_[slot].as<double>().data();
    const std::int64_t subhead = index % p.expansion;
    const std::int64_t head = index / p.expansion % p.heads;
    const Sequence& s = sequence(index);
    const std::int64_t tokens = s.end - s.begin;
    const std::int64_t first = s.row * p.seq_len + s.begin;
    const auto tokens_of = [&](std::int64_t slices, std::int64_t slice, std::int64_t width) {
      const std::int64_t stride = slices * width;
      return View{data + first * stride + slice * width, tokens, width, stride};
    };
    switch (slot) {
      case Slot::kH0:
      case Slot::kDht:
      case Slot::kHt:
      case Slot::kDh0:
        return {data + index * p.key_dim * p.value_dim, p.key_dim, p.value_dim, p.value_dim};
      case Slot::kQ:
      case Slot::kK:
      case Slot::kDq:
      case Slot::kDk: {
        const std::int64_t qk_head = head * p.qk_heads / p.heads;
        return tokens_of(p.qk_heads * p.expansion, qk_head * p.expansion + subhead, p.key_dim);
      }
      case Slot::kV:
      case Slot::kO:
      case Slot::kDo:
      case Slot::kDv:
        return tokens_of(p.heads, head, p.value_dim);
      default: {  // g, beta and their gradients
        const bool channels = gate_per_channel(p.rule) && (slot == Slot::kG || slot == Slot::kDg);
        return tokens_of(p.heads * p.expansion, head * p.expansion + subhead, channels ? p.key_dim : 1);
      }
    }
  }

  Matrix gathered(Slot slot, std::int64_t index, const Subhead& x) {
    if (!takes_part(problem_, slot)) return Matrix(x.key_dim, x.value_dim);  // only states may be absent
    return Matrix(ConstView(rows(slot, index)));
  }

  void scatter(Slot slot, std::int64_t index, const Matrix& y) {
    if (takes_part(problem_, slot)) cpu::add(1, y, rows(slot, index));
  }

  Problem problem_;
  std::vector<Sequence> sequences_;
  TensorSet tensors_;
};

}  // namespace

SubheadGradients::SubheadGradients(const Subhead& x)
    : dq(x.tokens, x.key_dim),
      dk(x.tokens, x.key_dim),
      dv(x.tokens, x.value_dim),
      dg(x.g.rows, x.g.cols),
      dbeta(x.beta.rows, x.beta.cols),
      dh0(x.key_dim, x.value_dim) {}

TensorSet run_subheads(const Problem& problem, const TensorSet& inputs, const SubheadForm& form) {
  Layout layout(problem, inputs);
  const auto add = [&](std::int64_t i, const auto& result) { layout.add(i, result); };
  if (problem.pass == Pass::kBackward) {
    work_in_parallel_add_in_order(
        layout.subheads(), [&](std::int64_t i) { return form.backward(layout.gather(i)); }, add);
  } else {
    work_in_parallel_add_in_order(
        layout.subheads(), [&](std::int64_t i) { return form.forward(layout.gather(i)); }, add);
  }
  return layout.take_outputs();
}

}  // namespace statescope::cpu
