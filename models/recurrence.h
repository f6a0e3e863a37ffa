// The recurrence of a layer on a device: plans are kept, states stay on the device between calls.
#pragma once

#include <memory>
#include <vector>

#include <statescope/compute.h>
#include <statescope/device.h>
#include <statescope/problem.h>

namespace statescope {

/// A head beyond the kernels' sizes as heads and subheads within them, exactly: a value wider than 256 is
/// several heads that share q and k, and for rules without the delta term a key wider than 256 is several
/// subheads. What cannot be cut comes back as it was. The naive division keeps its long key.
struct Cut {
  Problem problem;
  std::int64_t value_parts = 1, key_parts = 1;
};
Cut cut_to_fit(const Problem& problem);

class Recurrence {
 public:
  Recurrence(std::shared_ptr<Device> device, std::shared_ptr<Compute> compute, Form form)
      : device_(std::move(device)), compute_(std::move(compute)), form_(form) {}

  /// o [B, T, H, V] from q, k and v of one type, g and beta wide. One token is Pass::kStep, more are
  /// Pass::kForward. `state` is read and replaced; absent: zero. Its shape is that of the cut problem, [B, H,
  /// E, K, V]. Behind a front end q and k are unexpanded, its weights are there, and so are the histories
  /// before and, another array unless T = 1, after. Throws what Device::plan throws.
  Array run(Problem problem, SlotArrays inputs, Array& state);

  const Device& device() const { return *device_; }
  Compute& compute() const { return *compute_; }

 private:
  const Plan& plan(const Problem& problem);

  std::shared_ptr<Device> device_;
  std::shared_ptr<Compute> compute_;
  Form form_;
  std::vector<std::pair<Problem, Plan>> plans_;  // the latest last
};

}  // namespace statescope
