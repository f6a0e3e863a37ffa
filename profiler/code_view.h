// The code of a kernel as text: what its driver gives, and what disassemblers on this machine make of the
// rest.
#pragma once

#include <statescope/device.h>

namespace statescope {

/// Adds the representations "SPIR-V" (spirv-dis) and "SASS" (cuobjdump) where the kernel has them. Both tools
/// are looked for in PATH, cuobjdump also where the toolkit installs itself. A tool that is not there leaves
/// a text that names it.
void add_disassembly(CompiledKernel& kernel);

}  // namespace statescope
