#include "profiler/capture_export.h"

#include <nlohmann/json.hpp>
#include <sstream>

#include "profiler/export.h"
#include "profiler/kernel_table.h"
#include "profiler/resources.h"

namespace statescope {
namespace {

using nlohmann::json;

/// Threads of the trace that one lane needs, and which of them each span takes: the first on which it nests.
class Tracks {
 public:
  std::size_t place(const Span& span) {
    for (std::size_t track = 0; track < open_.size(); ++track) {
      std::vector<std::int64_t>& ends = open_[track];
      while (!ends.empty() && ends.back() <= span.begin_ns) ends.pop_back();
      if (ends.empty() || span.end_ns <= ends.back()) {
        ends.push_back(span.end_ns);
        return track;
      }
    }
    open_.push_back({span.end_ns});
    return open_.size() - 1;
  }
  std::size_t count() const { return open_.size(); }

 private:
  std::vector<std::vector<std::int64_t>>
      open_;  // ends of the spans that hold the present one, outermost first
};

json metadata(const char* kind, int process, int thread, const std::string& name) {
  return {{"ph", "M"}, {"name", kind}, {"pid", process}, {"tid", thread}, {"args", {{"name", name}}}};
}

json event(const Span& span, const Lane& lane, int process, int thread) {
  json arguments = json::object();
  for (const SpanArgument& argument : span.info->arguments) {
    std::visit([&](const auto& value) { arguments[argument.name] = value; }, argument.value);
  }
  return {{"ph", "X"},
          {"name", span.info->name},
          {"cat", name(lane.kind)},
          {"pid", process},
          {"tid", thread},
          {"ts", static_cast<double>(span.begin_ns) / 1e3},
          {"dur", static_cast<double>(span.end_ns - span.begin_ns) / 1e3},
          {"args", std::move(arguments)}};
}

template <typename T>
std::string field(const std::optional<T>& value) {
  if (!value) return "";
  std::ostringstream text;
  text << *value;
  return text.str();
}

}  // namespace

std::string chrome_trace(const Capture& capture) {
  const TimelineSnapshot& timeline = capture.timeline;
  constexpr int kHost = 1, kDevices = 2;  // process ids: what a viewer groups by
  const auto process_of = [](const Lane& lane) {
    return lane.kind == LaneKind::kHostThread ? kHost : kDevices;
  };
  json events = json::array();
  events.push_back(metadata("process_name", kHost, 0, "host"));
  events.push_back(metadata("process_name", kDevices, 0, "devices"));
  // Track t of a lane is thread lane + t * lanes + 1.
  const std::size_t lanes = timeline.lanes.size();
  const auto thread_of = [&](std::size_t lane, std::size_t track) {
    return static_cast<int>(lane + track * lanes + 1);
  };
  std::vector<Tracks> tracks(lanes);
  for (const Span& span : timeline.spans) {
    const Lane& lane = timeline.lanes[span.lane];
    const std::size_t track = tracks[span.lane].place(span);
    events.push_back(event(span, lane, process_of(lane), thread_of(span.lane, track)));
  }
  for (std::size_t i = 0; i < lanes; ++i) {
    const Lane& lane = timeline.lanes[i];
    const std::string name = lane.clock == "host" ? lane.name : lane.name + " (" + lane.clock + ")";
    for (std::size_t track = 0; track < tracks[i].count(); ++track) {
      events.push_back(metadata("thread_name", process_of(lane), thread_of(i, track), name));
    }
  }
  json devices = json::array();
  for (const CapturedDevice& device : capture.devices)
    devices.push_back(device.info.name + ": " + device.info.description + ", " + device.info.driver);
  const json trace{{"traceEvents", std::move(events)},
                   {"displayTimeUnit", "ms"},
                   {"otherData",
                    {{"program", "statescope " + capture.version},
                     {"commit", capture.commit},
                     {"created", capture.created},
                     {"devices", devices},
                     {"spans_dropped", timeline.dropped}}}};
  return trace.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string kernel_csv(const Capture& capture) {
  std::ostringstream csv;
  csv << "device,description,problem,series,expansion,kernel,part,calls,total_s,share,min_s,median_s,p95_s,"
         "max_s,"
         "rate_flop_per_s,traffic_bytes_per_s,share_of_compute_roof,share_of_copy,shared_memory_bytes,"
         "reported_shared_memory_bytes,registers,spill_bytes\n";
  for (const KernelRow& row : kernel_table(capture)) {
    const CaptureEntry& entry = capture.entries[row.entry];
    const DeviceInfo& device = capture.devices[entry.device].info;
    csv << csv_field(device.name) << ',' << csv_field(device.description) << ','
        << csv_field(describe(entry.problem)) << ',' << name(entry.series) << ',' << entry.expansion << ','
        << csv_field(row.kernel) << ',' << (row.flop_per_second || row.whole_run ? "run" : "launch") << ','
        << row.calls << ',' << row.total << ',' << row.share << ',' << row.seconds.min << ','
        << row.seconds.median << ',' << row.p95 << ',' << row.seconds.max << ',' << field(row.flop_per_second)
        << ',' << field(row.bytes_per_second) << ',' << field(row.share_of_compute) << ','
        << field(row.share_of_copy);
    // A run of several launches has no resources of its own.
    const Launch* launch = nullptr;
    if (!row.whole_run) {
      for (const Launch& candidate : entry.launches) {
        if (candidate.kernel == row.kernel || entry.launches.size() == 1) launch = &candidate;
      }
    }
    if (launch) {
      csv << ',' << launch->shared_memory_bytes << ',' << field(launch->reported_shared_memory_bytes) << ','
          << field(launch->registers) << ',' << field(launch->spill_bytes) << '\n';
    } else {
      csv << ",,,,\n";
    }
  }
  return csv.str();
}

}  // namespace statescope
