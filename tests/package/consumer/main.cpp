// The smallest use of the library: one linear-attention step on the cpu, checked by hand.
#include <cmath>
#include <cstdio>

#include <statescope/device.h>
#include <statescope/problem.h>

int main() {
  using namespace statescope;
  Problem problem;
  problem.rule = Rule::kLinear;
  problem.key_dim = problem.value_dim = 16;
  problem.scale = 0.5f;
  TensorSet inputs;
  for (Slot slot : {Slot::kQ, Slot::kK, Slot::kV}) {
    inputs[slot] = Tensor(DType::kF32, shape_of(problem, slot));
    inputs[slot].as<float>()[3] = 2.0f;
  }
  const auto device = open_device(discover(), "cpu");
  const auto execution = device->prepare(device->plan(problem));
  execution->upload(inputs);
  execution->run();
  const float found = execution->download()[Slot::kO].as<float>()[3];  // scale (q . k) v = 0.5 * 4 * 2
  std::printf("o[3] = %g, wanted 4\n", found);
  return std::fabs(found - 4.0f) < 1e-6f ? 0 : 1;
}
