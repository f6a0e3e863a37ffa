// A capture: everything that profiling found on one machine, in one file that another machine opens.
// docs/formats.md describes the file.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <statescope/device.h>

#include "profiler/sweep.h"
#include "profiler/timeline.h"

namespace statescope {

inline constexpr int kCaptureVersion = 1;

struct CapturedError {
  std::string output;           ///< "o", "dq"
  std::optional<double> error;  ///< relative RMS; nothing: NaN or infinity
  double tolerance = 0;
};

/// One configuration on one device.
struct CaptureEntry {
  std::size_t device = 0;  ///< index into Capture::devices
  SweepSeries series = SweepSeries::kProduction;
  std::int64_t expansion = 1;  ///< E, also of a naive entry, whose problem has E = 1 and K = E K
  Problem problem;             ///< form resolved when it was measured
  SweepStatus status = SweepStatus::kMeasured;
  std::string reason;  ///< empty when measured

  // Of measured and wrong entries; empty else.
  std::string kernel;  ///< the variant's name; "cpu.recurrent.forward" on the cpu
  Geometry geometry;
  std::vector<Launch> launches;
  std::vector<CompiledKernel> compiled;  ///< what the compiler reported, where it does
  std::size_t device_memory_bytes = 0;
  bool deterministic = true;
  int input_sets = 1;
  std::vector<CapturedError> errors;
  std::vector<RunTime> runs;  ///< in the order in which they ran; `begins` stays here, not in the file
};

struct CapturedDevice {
  DeviceInfo info;
  Ceilings ceilings;
};

struct Capture {
  std::string version, commit;  ///< of the program that wrote it
  std::string created;          ///< "2026-08-01T12:00:00Z"
  std::vector<CapturedDevice> devices;
  std::vector<CaptureEntry> entries;
  TimelineSnapshot timeline;  ///< times from the first span
};

struct ProfileOptions {
  SweepOptions sweep;
  bool code = false;  ///< keep each kernel's code, not only the figures
};

/// A sweep with its timeline, its sample and its compiled kernels kept.
Capture profile(const std::vector<std::shared_ptr<Device>>& devices, const ProfileOptions& options,
                const Watch& watch = {});

/// 4 when a device failed, 1 when a result was wrong, else 0.
int exit_code(const Capture& capture);

/// Throws Error(kDevice) when the place is not writable or full; no half-written file stays.
void write_capture(const std::filesystem::path& path, const Capture& capture);
std::string capture_json(const Capture& capture);

/// Throws Error(kUsage), one line that names the file and the field, when the file is not a capture, is of a
/// version that this program does not know, lacks a field, or contradicts itself.
Capture read_capture(const std::filesystem::path& path);
Capture parse_capture(std::string_view text, const std::string& name);

}  // namespace statescope
