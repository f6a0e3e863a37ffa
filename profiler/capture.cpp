#include "profiler/capture.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <unordered_map>

#include <statescope/error.h>
#include <statescope/files.h>

#include "profiler/build_info.h"
#include "profiler/code_view.h"
#include "profiler/export.h"
#include "profiler/runtime_fields.h"

namespace statescope {

constexpr const char* kSchema = "statescope.capture/1";
static_assert(kCaptureVersion == 1, "the schema's name carries the version");

/// A timeline in a file: what spans share stands once, a span is [lane, info, begin_ns, duration_ns].
struct StoredSpanArgument {
  std::string name;
  std::optional<double> number;
  std::optional<std::string> word;
};
struct StoredSpanInfo {
  std::string name;
  std::vector<StoredSpanArgument> arguments;
};
struct StoredTimeline {
  std::vector<Lane> lanes;
  std::vector<StoredSpanInfo> infos;
  std::vector<std::array<std::int64_t, 4>> spans;
  std::uint64_t dropped = 0;
};

void parse_name(const std::string& text, LaneKind& kind) {
  json_fields::parse_one_of(text, kind,
                            {LaneKind::kHostThread, LaneKind::kVulkanQueue, LaneKind::kCudaStream});
}
void parse_name(const std::string& text, SweepSeries& series) {
  json_fields::parse_one_of(text, series,
                            {SweepSeries::kNaive, SweepSeries::kSubheads, SweepSeries::kProduction});
}
void parse_name(const std::string& text, SweepStatus& status) {
  json_fields::parse_one_of(
      text, status,
      {SweepStatus::kMeasured, SweepStatus::kRefused, SweepStatus::kWrong, SweepStatus::kFailed});
}

template <typename Visit, MaybeConst<Lane> P>
void visit_fields(Visit& visit, P& lane) {
  visit("kind", lane.kind);
  visit("name", lane.name);
  visit("clock", lane.clock);
}
template <typename Visit, MaybeConst<StoredSpanArgument> P>
void visit_fields(Visit& visit, P& argument) {
  visit("name", argument.name);
  visit("number", argument.number);
  visit("word", argument.word);
}
template <typename Visit, MaybeConst<StoredSpanInfo> P>
void visit_fields(Visit& visit, P& info) {
  visit("name", info.name);
  visit("arguments", info.arguments);
}
template <typename Visit, MaybeConst<StoredTimeline> P>
void visit_fields(Visit& visit, P& timeline) {
  visit("lanes", timeline.lanes);
  visit("infos", timeline.infos);
  visit("spans", timeline.spans);
  visit("dropped", timeline.dropped);
}
template <typename Visit, MaybeConst<CapturedError> P>
void visit_fields(Visit& visit, P& error) {
  visit("output", error.output);
  visit("error", error.error);
  visit("tolerance", error.tolerance);
}
template <typename Visit, MaybeConst<CaptureEntry> P>
void visit_fields(Visit& visit, P& entry) {
  visit("device", entry.device);
  visit("series", entry.series);
  visit("expansion", entry.expansion);
  visit("problem", entry.problem);
  visit("status", entry.status);
  visit("reason", entry.reason);
  visit("kernel", entry.kernel);
  visit("geometry", entry.geometry);
  visit("launches", entry.launches);
  visit("compiled", entry.compiled);
  visit("device_memory_bytes", entry.device_memory_bytes);
  visit("deterministic", entry.deterministic);
  visit("input_sets", entry.input_sets);
  visit("errors", entry.errors);
  visit("runs", entry.runs);
}
template <typename Visit, MaybeConst<CapturedDevice> P>
void visit_fields(Visit& visit, P& device) {
  visit("info", device.info);
  visit("ceilings", device.ceilings);
}

namespace {

using json_fields::Json;

StoredTimeline store(const TimelineSnapshot& snapshot) {
  StoredTimeline stored;
  stored.lanes = snapshot.lanes;
  stored.dropped = snapshot.dropped;
  std::unordered_map<const SpanInfo*, std::int64_t> index;
  for (const Span& span : snapshot.spans) {
    const auto [place, is_new] =
        index.emplace(span.info.get(), static_cast<std::int64_t>(stored.infos.size()));
    if (is_new) {
      StoredSpanInfo info{span.info->name, {}};
      for (const SpanArgument& argument : span.info->arguments) {
        const double* number = std::get_if<double>(&argument.value);
        if (number) {
          info.arguments.push_back({argument.name, *number, std::nullopt});
        } else {
          info.arguments.push_back({argument.name, std::nullopt, std::get<std::string>(argument.value)});
        }
      }
      stored.infos.push_back(std::move(info));
    }
    stored.spans.push_back({span.lane, place->second, span.begin_ns, span.end_ns - span.begin_ns});
  }
  return stored;
}

TimelineSnapshot restore(const StoredTimeline& stored) {
  using json_fields::fail;
  TimelineSnapshot snapshot;
  snapshot.lanes = stored.lanes;
  snapshot.dropped = stored.dropped;
  std::vector<std::shared_ptr<const SpanInfo>> infos;
  for (const StoredSpanInfo& info : stored.infos) {
    auto restored = std::make_shared<SpanInfo>(info.name, std::vector<SpanArgument>{});
    for (const StoredSpanArgument& argument : info.arguments) {
      if (argument.number.has_value() == argument.word.has_value())
        fail("timeline.infos." + argument.name, "wanted either a number or a word");
      if (argument.number) {
        restored->arguments.push_back({argument.name, *argument.number});
      } else {
        restored->arguments.push_back({argument.name, *argument.word});
      }
    }
    infos.push_back(std::move(restored));
  }
  for (std::size_t i = 0; i < stored.spans.size(); ++i) {
    const auto [lane, info, begin_ns, duration_ns] = stored.spans[i];
    const std::string where = "timeline.spans[" + std::to_string(i) + "]";
    // A hundred years: sums of such times cannot overflow.
    constexpr std::int64_t kLongest = std::int64_t{3'155'760'000} * 1'000'000'000;
    if (lane < 0 || lane >= static_cast<std::int64_t>(stored.lanes.size())) fail(where, "no such lane");
    if (info < 0 || info >= static_cast<std::int64_t>(infos.size())) fail(where, "no such info");
    if (begin_ns < -kLongest || begin_ns > kLongest || duration_ns < 0 || duration_ns > kLongest)
      fail(where, "begin or duration out of range");
    snapshot.spans.push_back({static_cast<std::uint32_t>(lane), begin_ns, begin_ns + duration_ns,
                              infos[static_cast<std::size_t>(info)]});
  }
  return snapshot;
}

void check_entry(const CaptureEntry& entry, std::size_t devices, const std::string& where) {
  using json_fields::fail;
  if (entry.device >= devices) {
    fail(where + ".device",
         "found " + std::to_string(entry.device) + ", there are " + std::to_string(devices));
  }
  try {
    check(entry.problem);
  } catch (const Error& e) {
    fail(where + ".problem", e.what());
  }
  if (entry.status == SweepStatus::kMeasured && entry.runs.empty())
    fail(where + ".runs", "measured, but empty");
  for (std::size_t r = 0; r < entry.runs.size(); ++r) {
    const RunTime& run = entry.runs[r];
    const std::string run_where = where + ".runs[" + std::to_string(r) + "]";
    if (run.launches.size() != entry.launches.size()) {
      fail(run_where + ".launches", "found " + std::to_string(run.launches.size()) + " times, wanted " +
                                        std::to_string(entry.launches.size()));
    }
    if (!(run.total >= 0)) fail(run_where + ".total", "negative");
    for (const double seconds : run.launches) {
      if (!(seconds >= 0)) fail(run_where + ".launches", "negative");
    }
  }
}

std::string now_utc() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

CaptureEntry entry_of(const SweepRow& row, Device& device, bool code) {
  CaptureEntry entry;
  entry.device = row.device;
  entry.series = row.series;
  entry.expansion = row.expansion;
  entry.problem = row.problem;
  entry.status = row.status;
  entry.reason = row.reason;
  if (!row.measurement) return entry;
  const Measurement& m = *row.measurement;
  entry.problem = m.plan.problem;
  entry.geometry = m.plan.geometry;
  entry.launches = m.plan.launches;
  entry.kernel = m.plan.variant ? std::string(m.plan.variant->name) : m.plan.launches.front().kernel;
  entry.device_memory_bytes = m.plan.device_memory_bytes;
  entry.deterministic = m.plan.deterministic;
  entry.input_sets = m.input_sets;
  for (const OutputError& e : m.errors) {
    entry.errors.push_back({std::string(name(e.slot)),
                            std::isfinite(e.error) ? std::optional(e.error) : std::nullopt, e.tolerance});
  }
  entry.runs = m.runs;
  entry.compiled = device.compile(m.plan);
  for (CompiledKernel& compiled : entry.compiled) {
    if (code) {
      add_disassembly(compiled);
    } else {
      compiled.representations.clear();
    }
  }
  return entry;
}

/// Times of another machine's clock mean nothing: the first span becomes 0.
void start_at_zero(TimelineSnapshot& timeline) {
  if (timeline.spans.empty()) return;
  const std::int64_t origin = timeline.spans.front().begin_ns;
  for (Span& span : timeline.spans) {
    span.begin_ns -= origin;
    span.end_ns -= origin;
  }
}

}  // namespace

Capture profile(const std::vector<std::shared_ptr<Device>>& devices, const ProfileOptions& options,
                const Watch& watch) {
  Timeline timeline;
  SweepOptions sweep_options = options.sweep;
  sweep_options.timeline = &timeline;
  const SweepResult result = sweep(devices, sweep_options, watch);

  Capture capture;
  capture.version = version();
  capture.commit = commit();
  capture.created = now_utc();
  for (const SweepDevice& device : result.devices) capture.devices.push_back({device.info, device.ceilings});
  for (const SweepRow& row : result.rows) {
    capture.entries.push_back(entry_of(row, *devices[row.device], options.code));
  }
  capture.timeline = timeline.snapshot();
  start_at_zero(capture.timeline);
  return capture;
}

int exit_code(const Capture& capture) {
  const auto any = [&](SweepStatus status) {
    return std::ranges::any_of(capture.entries, [&](const CaptureEntry& e) { return e.status == status; });
  };
  if (any(SweepStatus::kFailed)) return 4;
  return any(SweepStatus::kWrong) ? 1 : 0;
}

std::string capture_json(const Capture& capture) {
  Json file{{"schema", kSchema}, {"version", capture.version}, {"commit", capture.commit}};
  file["created"] = capture.created;
  file["devices"] = json_fields::write(capture.devices);
  file["entries"] = json_fields::write(capture.entries);
  file["timeline"] = json_fields::write(store(capture.timeline));
  // Text that is not UTF-8 (a driver's name) is replaced, not a reason to lose a capture.
  return file.dump(1, ' ', false, Json::error_handler_t::replace);
}

void write_capture(const std::filesystem::path& path, const Capture& capture) {
  write_text(path, capture_json(capture));
}

Capture parse_capture(std::string_view text, const std::string& name) {
  try {
    const Json file = Json::parse(text, nullptr, false);
    if (file.is_discarded()) throw Error(ErrorKind::kUsage, "not JSON, or cut short");
    if (!file.is_object() || !file.contains("schema") || !file["schema"].is_string() ||
        !file["schema"].get<std::string>().starts_with("statescope.capture/")) {
      throw Error(ErrorKind::kUsage, std::string("not a capture, wanted schema ") + kSchema);
    }
    if (file["schema"] != kSchema) {
      throw Error(ErrorKind::kUsage,
                  "found schema " + file["schema"].get<std::string>() + ", this program reads " + kSchema);
    }
    Capture capture;
    StoredTimeline timeline;
    json_fields::Reader reader{file, ""};
    reader("version", capture.version);
    reader("commit", capture.commit);
    reader("created", capture.created);
    reader("devices", capture.devices);
    reader("entries", capture.entries);
    reader("timeline", timeline);
    for (std::size_t i = 0; i < capture.entries.size(); ++i) {
      check_entry(capture.entries[i], capture.devices.size(), "entries[" + std::to_string(i) + "]");
    }
    capture.timeline = restore(timeline);
    return capture;
  } catch (const Error& e) {
    throw Error(e.kind(), name + ": " + e.what());
  }
}

Capture read_capture(const std::filesystem::path& path) {
  return parse_capture(read_text_file(path), path.string());
}

}  // namespace statescope
