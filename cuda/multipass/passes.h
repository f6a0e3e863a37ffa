// What other families take of the passes (host side).
#pragma once

#include <string>

#include "cuda/multipass/gla_parameters.h"
#include "cuda/multipass/parameters.h"

namespace statescope::cuda::multipass {

/// Where the passes of a problem leave what in their scratch memory.
Scratch scratch_at(const Problem& p, std::byte* base);
GlaScratch gla_scratch_at(const Problem& p, std::byte* base);

/// Pass 1 without scores: the gates, and the inverse of gated_delta.
KernelLaunch inverse_pass(const Problem& p, const std::string& name);

/// Of the current device.
int multiprocessors();

}  // namespace statescope::cuda::multipass
