// The recurrence of a layer on a device: the state lives between calls, the device's buffers and pipelines
// are kept.
#pragma once

#include <memory>
#include <vector>

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
  Recurrence(std::shared_ptr<Device> device, DType dtype, Form form)
      : device_(std::move(device)), dtype_(dtype), form_(form) {}

  /// o [B, T, H, V] in f32 from f32 inputs q, k, v, g and beta. One token is Pass::kStep, more are
  /// Pass::kForward. `state` is read and replaced; absent: zero. Its shape is that of the cut problem, [B, H,
  /// E, K, V]. Throws what Device::plan and Execution throw.
  Tensor run(Problem problem, TensorSet inputs, Tensor& state);

  const Device& device() const { return *device_; }

 private:
  Execution& execution(const Problem& problem);

  std::shared_ptr<Device> device_;
  DType dtype_;
  Form form_;
  std::vector<std::unique_ptr<Execution>> executions_;  // the latest last
};

}  // namespace statescope
