// The captures that the Profile view shows: measured here, or opened from a file that any machine wrote; and
// a baseline to compare with. Reading, measuring, comparing and saving run in the worker.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "app/gui/session.h"
#include "app/gui/timeline_rows.h"
#include "profiler/capture.h"
#include "profiler/compare.h"
#include "profiler/kernel_table.h"
#include "profiler/resources.h"
#include "profiler/roofline.h"

namespace statescope::gui {

/// A capture with everything that is drawn of it, worked out once.
struct OpenCapture {
  Capture capture;
  std::string source;  ///< the file, or "measured here"
  std::vector<KernelRow> kernels;
  std::vector<RooflinePoint> points;
  TimelineRows timeline;
  /// Of each kernel of `kernels`; of a whole run: its first launch. Nothing on a device that launches
  /// nothing.
  std::vector<std::optional<KernelResources>> resources;
  std::vector<std::optional<std::size_t>> compiled;  ///< of each kernel, index into its entry's `compiled`
};
std::shared_ptr<const OpenCapture> open_capture(Capture capture, const std::string& source);

/// The row of the kernel table that a launch with these arguments belongs to.
std::optional<std::size_t> kernel_of(const OpenCapture& open, const SpanInfo& span);
/// The row of a point of the roofline.
std::optional<std::size_t> kernel_of(const OpenCapture& open, const RooflinePoint& point);

enum class CaptureFile { kCapture, kTrace, kTable };

class Captures {
 public:
  /// Opens the files where their names are new; empty: nothing is opened, what is open stays.
  void want(Session& session, const std::string& capture, const std::string& baseline);
  /// Profiles the devices, one after the other; what was open is replaced once it is done.
  void measure(Session& session, const std::vector<std::string>& devices, const ProfileOptions& options);
  /// What is open becomes the baseline.
  void keep_as_baseline(Session& session);
  void drop_baseline();
  /// Compares again by another threshold.
  void set_threshold(Session& session, double threshold);
  /// Writes what is open; says so in the session's notes.
  void save(Session& session, CaptureFile kind, const std::string& path) const;

  std::shared_ptr<const OpenCapture> current() const;
  std::shared_ptr<const OpenCapture> baseline() const;
  /// Of the baseline with what is open; nothing without both, or where they have nothing in common.
  std::shared_ptr<const Comparison> comparison() const;
  /// Why a file was not opened, or why the two cannot be compared; else empty.
  std::string capture_error() const;
  std::string baseline_error() const;

 private:
  using Open = std::shared_ptr<const OpenCapture>;
  void open_file(Session& session, const std::string& path, bool as_baseline);
  /// On the worker's thread.
  void compare_again();

  mutable std::mutex mutex_;
  Open current_, baseline_;
  std::shared_ptr<const Comparison> comparison_;
  std::string capture_error_, baseline_error_;

  double threshold_ = 0.05;                     // of the worker's thread
  std::string asked_capture_, asked_baseline_;  // of the interface's thread
};

}  // namespace statescope::gui
