// One small problem that has everything, for tests that look at a device and not at sizes.
#pragma once

#include <statescope/problem.h>

namespace statescope {

/// Two sequences a batch, three subheads, Hq < H, K != V, an initial state; backward also from a final
/// state's gradient.
inline Problem example_problem(Rule rule, Pass pass = Pass::kForward, DType dtype = DType::kF32) {
  Problem p;
  p.rule = rule;
  p.pass = pass;
  p.dtype = dtype;
  p.form = Form::kRecurrent;
  p.batch = p.sequences = 2;
  p.seq_len = pass == Pass::kStep ? 1 : 77;
  p.heads = 4;
  p.qk_heads = 2;
  p.expansion = 3;
  p.key_dim = 64;
  p.value_dim = 48;
  p.scale = default_scale(p.key_dim);
  p.initial_state = true;
  p.final_state_gradient = pass == Pass::kBackward;
  return p;
}

}  // namespace statescope
