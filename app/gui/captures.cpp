#include "app/gui/captures.h"

#include <algorithm>
#include <filesystem>

#include <statescope/error.h>

#include "profiler/capture_export.h"
#include "profiler/export.h"

namespace statescope::gui {
namespace {

// A measurement is not to be disturbed; the others are done in a moment.
constexpr int kPriority = 0;

/// Index of the row's launch within its entry; of a whole run 0.
std::size_t launch_of(const CaptureEntry& entry, const KernelRow& row) {
  for (std::size_t i = 0; i < entry.launches.size() && !row.whole_run; ++i) {
    if (entry.launches[i].kernel == row.kernel) return i;
  }
  return 0;
}

bool equal(const std::vector<SpanArgument>& a, const std::vector<SpanArgument>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const SpanArgument& x, const SpanArgument& y) {
    return x.name == y.name && x.value == y.value;
  });
}

}  // namespace

std::shared_ptr<const OpenCapture> open_capture(Capture capture, const std::string& source) {
  auto open = std::make_shared<OpenCapture>();
  open->capture = std::move(capture);
  open->source = source;
  open->kernels = kernel_table(open->capture);
  open->points = roofline(open->capture);
  open->timeline = timeline_rows(open->capture.timeline);
  const std::vector<KernelResources> resources = resources_of(open->capture);
  std::vector<std::size_t> first;  // resources of each entry
  std::size_t next = 0;
  for (const CaptureEntry& entry : open->capture.entries) {
    first.push_back(next);
    next += entry.launches.size();
  }
  for (const KernelRow& row : open->kernels) {
    const CaptureEntry& entry = open->capture.entries[row.entry];
    const std::size_t launch = launch_of(entry, row);
    open->resources.push_back(entry.launches.empty() ? std::nullopt
                                                     : std::optional(resources[first[row.entry] + launch]));
    open->compiled.push_back(launch < entry.compiled.size() ? std::optional(launch) : std::nullopt);
  }
  return open;
}

std::optional<std::size_t> kernel_of(const OpenCapture& open, const SpanInfo& span) {
  for (std::size_t i = 0; i < open.kernels.size(); ++i) {
    const KernelRow& row = open.kernels[i];
    const CaptureEntry& entry = open.capture.entries[row.entry];
    if (row.whole_run) continue;
    // A run of one launch stands in the table under its variant's name.
    const std::string& launch = entry.launches.size() == 1 ? entry.launches.front().kernel : row.kernel;
    if (launch == span.name && equal(arguments_of(entry.problem), span.arguments)) return i;
  }
  return std::nullopt;
}

std::optional<std::size_t> kernel_of(const OpenCapture& open, const RooflinePoint& point) {
  for (std::size_t i = 0; i < open.kernels.size(); ++i) {
    const KernelRow& row = open.kernels[i];
    const CaptureEntry& entry = open.capture.entries[row.entry];
    const bool run = row.whole_run || entry.launches.size() < 2;
    if (run && entry.device == point.device && entry.series == point.series &&
        entry.expansion == point.expansion && entry.problem == point.problem)
      return i;
  }
  return std::nullopt;
}

void Captures::want(Session& session, const std::string& capture, const std::string& baseline) {
  if (baseline != asked_baseline_) {
    asked_baseline_ = baseline;
    if (!baseline.empty()) open_file(session, baseline, true);
  }
  if (capture != asked_capture_) {
    asked_capture_ = capture;
    if (!capture.empty()) open_file(session, capture, false);
  }
}

void Captures::open_file(Session& session, const std::string& path, bool as_baseline) {
  const std::string job = as_baseline ? "opening the baseline" : "opening the capture";
  session.worker().post(job, kPriority, [this, path, as_baseline](const Watch& watch) {
    watch.say(path);
    Open open;
    std::string error;
    try {
      open = open_capture(read_capture(path), path);
    } catch (const Error& e) {
      error = e.what();
    }
    {
      const std::lock_guard lock(mutex_);
      (as_baseline ? baseline_error_ : capture_error_) = error;
      if (!open) return;
      (as_baseline ? baseline_ : current_) = std::move(open);
    }
    compare_again();
  });
}

void Captures::measure(Session& session, const std::vector<std::string>& devices,
                       const ProfileOptions& options) {
  asked_capture_.clear();
  session.worker().post("profile", kPriority, [this, &session, devices, options](const Watch& watch) {
    std::vector<std::shared_ptr<Device>> opened;
    for (const std::string& device : devices) opened.push_back(session.open(device));
    Open open = open_capture(profile(opened, options, watch), "measured here");
    {
      const std::lock_guard lock(mutex_);
      capture_error_.clear();
      current_ = std::move(open);
    }
    compare_again();
  });
}

void Captures::compare_again() {
  const Open before = baseline(), after = current();
  std::shared_ptr<const Comparison> result;
  std::string error;
  if (before && after) {
    try {
      result = std::make_shared<const Comparison>(compare(before->capture, after->capture, threshold_));
    } catch (const Error& e) {
      error = e.what();
    }
  }
  const std::lock_guard lock(mutex_);
  comparison_ = std::move(result);
  baseline_error_ = error;
}

void Captures::keep_as_baseline(Session& session) {
  session.worker().post("comparison", kPriority, [this](const Watch&) {
    {
      const std::lock_guard lock(mutex_);
      baseline_ = current_;
    }
    compare_again();
  });
}

void Captures::drop_baseline() {
  const std::lock_guard lock(mutex_);
  baseline_.reset();
  comparison_.reset();
  baseline_error_.clear();
  asked_baseline_.clear();
}

void Captures::set_threshold(Session& session, double threshold) {
  session.worker().post("comparison", kPriority, [this, threshold](const Watch&) {
    threshold_ = threshold;
    compare_again();
  });
}

void Captures::save(Session& session, CaptureFile kind, const std::string& path) const {
  session.worker().post("saving " + path, kPriority, [open = current(), kind, path, &session](const Watch&) {
    if (!open) return;
    switch (kind) {
      case CaptureFile::kCapture:
        write_capture(path, open->capture);
        break;
      case CaptureFile::kTrace:
        write_text(path, chrome_trace(open->capture));
        break;
      case CaptureFile::kTable:
        write_text(path, kernel_csv(open->capture));
        break;
    }
    session.note("saved " + std::filesystem::absolute(path).string());
  });
}

std::shared_ptr<const OpenCapture> Captures::current() const {
  const std::lock_guard lock(mutex_);
  return current_;
}
std::shared_ptr<const OpenCapture> Captures::baseline() const {
  const std::lock_guard lock(mutex_);
  return baseline_;
}
std::shared_ptr<const Comparison> Captures::comparison() const {
  const std::lock_guard lock(mutex_);
  return comparison_;
}
std::string Captures::capture_error() const {
  const std::lock_guard lock(mutex_);
  return capture_error_;
}
std::string Captures::baseline_error() const {
  const std::lock_guard lock(mutex_);
  return baseline_error_;
}

}  // namespace statescope::gui
