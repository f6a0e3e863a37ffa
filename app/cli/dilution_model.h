// The part of `dilution` that measures a checkpoint's own keys.
#pragma once

#include <cstdint>
#include <string>

#include <statescope/device.h>

namespace statescope::cli {

struct ModelKeysOptions {
  std::string model, text;  ///< a checkpoint's directory; a text file, read byte by byte
  std::int64_t pairs = 256, value_dim = 64, seed = 1;
  bool json = false;
};

/// A row for each layer and head. Throws Error(kUsage) when the text is shorter than the pairs.
int dilution_of_model(std::shared_ptr<Device> device, const ModelKeysOptions& options);

}  // namespace statescope::cli
