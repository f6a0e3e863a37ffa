// Keys that come from outside: the k of a captured run, or those that a checkpoint computes from text.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <statescope/device.h>
#include <statescope/tensor.h>

namespace statescope::gui {

struct KeyFile {
  std::string path;        ///< safetensors with a tensor k [B, T, Hq, E, K], or a checkpoint's folder
  std::string text;        ///< a text file that the checkpoint reads byte by byte; empty: random tokens
  std::int64_t layer = 0;  ///< of the checkpoint
  auto operator<=>(const KeyFile&) const = default;
};

/// The first `tokens` keys at most, [B, T, Hq, E, K]. A checkpoint's are those that its recurrence receives.
/// Throws Error(kUsage): no such file, no tensor k, no such layer, a vocabulary without bytes.
Tensor captured_keys(const KeyFile& file, std::int64_t tokens, const std::shared_ptr<Device>& device);

}  // namespace statescope::gui
