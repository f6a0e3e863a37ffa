#include "profiler/export.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include <statescope/cost.h>
#include <statescope/safetensors.h>

#include "profiler/build_info.h"
#include "profiler/published.h"
#include "profiler/runtime_fields.h"

namespace statescope {
namespace {

using nlohmann::json;

/// JSON has no infinity: an error of an output with NaN in it is null.
json finite(double x) {
  return std::isfinite(x) ? json(x) : json(nullptr);
}

template <typename T>
json optional_json(const std::optional<T>& x) {
  return x ? json(*x) : json(nullptr);
}

json to_json(const Launch& launch, const Spread* seconds) {
  json j = json_fields::write(launch);
  if (seconds) j["seconds"] = to_json(*seconds);
  return j;
}

}  // namespace

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (char c : text) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + '"';
}

json document(std::string_view schema) {
  return {{"schema", schema}, {"version", version()}, {"commit", commit()}};
}

json to_json(const DeviceLimits& limits) {
  return json_fields::write(limits);
}
json to_json(const DeviceInfo& info) {
  return json_fields::write(info);
}
json to_json(const Problem& problem) {
  return json_fields::write(problem);
}
json to_json(const Ceilings& ceilings) {
  return json_fields::write(ceilings);
}

json to_json(const Spread& s) {
  return {{"count", s.count},   {"min", s.min}, {"p10", s.p10},
          {"median", s.median}, {"p90", s.p90}, {"max", s.max}};
}

json to_json(const Measurement& m, const Ceilings& ceilings) {
  json errors = json::array();
  for (const OutputError& e : m.errors) {
    errors.push_back(
        {{"output", name(e.slot)}, {"error", finite(e.error)}, {"tolerance", e.tolerance}, {"ok", e.ok()}});
  }
  json launches = json::array();
  for (std::size_t i = 0; i < m.plan.launches.size(); ++i) {
    launches.push_back(to_json(m.plan.launches[i], i < m.launches.size() ? &m.launches[i] : nullptr));
  }
  json j{{"kernel", m.plan.variant ? json(m.plan.variant->name) : json("cpu.reference")},
         {"form", name(m.plan.problem.form)},
         {"verified", m.verified},
         {"checked", m.checked_whole ? "whole" : "sampled rows and heads"},
         {"errors", errors},
         {"deterministic", m.plan.deterministic},
         {"device_memory_bytes", m.plan.device_memory_bytes},
         {"input_sets", m.input_sets},
         {"launches", launches}};
  if (!m.verified) return j;
  const auto share = [](double rate, double ceiling) {
    return ceiling > 0 ? json(rate / ceiling) : json(nullptr);
  };
  j["seconds"] = to_json(m.seconds);
  j["tokens_per_second"] = m.tokens_per_second;
  j["flop_per_second"] = m.flop_per_second;
  j["bytes_per_second"] = m.bytes_per_second;
  j["share_of_copy"] = share(m.bytes_per_second, ceilings.copy_bytes_per_second);
  j["share_of_f32"] = share(m.flop_per_second, ceilings.f32_flop_per_second);
  j["share_of_matrix"] = share(m.flop_per_second, ceilings.matrix_flop_per_second);
  return j;
}

json to_json(const VerifyRow& r) {
  return {{"device", r.device},       {"source", r.source},
          {"rule", name(r.rule)},     {"pass", name(r.pass)},
          {"form", name(r.form)},     {"dtype", name(r.dtype)},
          {"series", name(r.series)}, {"division", name(r.division)},
          {"front_end", r.front_end}, {"status", name(r.status)},
          {"passed", r.passed},       {"failed", r.failed},
          {"refused", r.refused},     {"worst_error", finite(r.worst_error)},
          {"tolerance", r.tolerance}, {"worst_output", r.worst_slot},
          {"detail", r.detail}};
}

json to_json(const DeviceLimitsRow& row) {
  json cells = json::array();
  for (const LimitCell& c : row.cells) {
    cells.push_back(
        {{"division", name(c.division)},
         {"expansion", c.expansion},
         {"state_bytes", c.geometry.state_bytes},
         {"tile_bytes", c.geometry.tile_bytes},
         {"fits", c.fits},
         {"workgroups_per_multiprocessor", c.fits && c.occupancy.workgroups_per_multiprocessor
                                               ? json(c.occupancy.workgroups_per_multiprocessor)
                                               : json(nullptr)},
         {"occupancy",
          c.fits && c.occupancy.workgroups_per_multiprocessor ? json(c.occupancy.fraction) : json(nullptr)},
         {"occupancy_limited_by", c.occupancy.limited_by},
         {"refusal", c.refusal}});
  }
  return {{"device", row.device.name},
          {"api", name(row.device.limits.api)},
          {"driver", row.device.driver},
          {"limits", to_json(row.device.limits)},
          {"sources", row.device.sources},
          {"largest_naive_expansion", row.largest_naive},
          {"largest_subhead_expansion", row.subheads_fit ? json("any") : json(0)},
          {"cells", cells}};
}

json devices_document(const DeviceList& list) {
  json j = document("statescope.devices.found/1");
  j["devices"] = json::array();
  for (const DeviceEntry& entry : list.devices) j["devices"].push_back(to_json(entry.info));
  j["backends"] = json::array();
  for (const BackendStatus& status : list.backends) {
    j["backends"].push_back(
        {{"api", name(status.api)}, {"available", status.available}, {"reason", status.reason}});
  }
  return j;
}

json limits_document(const Problem& shape, const std::vector<DeviceLimitsRow>& rows) {
  json j = document("statescope.limits/1");
  j["problem"] = to_json(shape);
  j["devices"] = json::array();
  for (const DeviceLimitsRow& row : rows) j["devices"].push_back(to_json(row));
  j["published_table_2"] = json::array();
  for (const PublishedDivision& cell : published_table_2()) {
    j["published_table_2"].push_back({{"division", name(cell.division)},
                                      {"device", cell.device},
                                      {"expansion", cell.expansion},
                                      {"tokens_per_second", optional_json(cell.tokens_per_second)}});
  }
  j["why_h800_ran_naive"] = why_h800_ran_naive();
  return j;
}

json sweep_document(const SweepResult& result) {
  json j = document("statescope.sweep/1");
  j["wall_seconds"] = result.wall_seconds;
  j["devices"] = json::array();
  for (const SweepDevice& device : result.devices) {
    json entry = to_json(device.info);
    entry["ceilings"] = to_json(device.ceilings);
    j["devices"].push_back(entry);
  }
  j["rows"] = json::array();
  for (const SweepRow& row : result.rows) {
    const SweepDevice& device = result.devices[row.device];
    json entry{{"device", device.info.name},
               {"series", name(row.series)},
               {"expansion", row.expansion},
               {"problem", to_json(row.problem)},
               {"status", name(row.status)},
               {"reason", row.reason},
               {"state_elements", state_elements(row.problem)}};
    entry["measurement"] = row.measurement ? to_json(*row.measurement, device.ceilings) : json(nullptr);
    j["rows"].push_back(entry);
  }
  return j;
}

std::string sweep_csv(const SweepResult& result) {
  std::ostringstream csv;
  csv << "device,description,driver,api,rule,pass,series,form,dtype,expansion,batch,seq_len_tokens,heads,key_"
         "dim,"
         "value_dim,status,kernel,time_median_s,time_p10_s,time_p90_s,runs,throughput_tokens_per_s,rate_flop_"
         "per_s,"
         "traffic_bytes_per_s,shared_memory_bytes,state_elements,worst_output,worst_error_relative_rms,"
         "tolerance,reason\n";
  for (const SweepRow& row : result.rows) {
    const DeviceInfo& info = result.devices[row.device].info;
    const Problem& p = row.problem;
    csv << csv_field(info.name) << ',' << csv_field(info.description) << ',' << csv_field(info.driver) << ','
        << name(info.api) << ',' << name(p.rule) << ',' << name(p.pass) << ',' << name(row.series) << ',';
    const Measurement* m = row.measurement ? &*row.measurement : nullptr;
    csv << (m ? name(m->plan.problem.form) : "") << ',' << name(p.dtype) << ',' << row.expansion << ','
        << p.batch << ',' << p.seq_len << ',' << p.heads << ',' << p.key_dim << ',' << p.value_dim << ','
        << name(row.status) << ',';
    if (m) csv << (m->plan.variant ? m->plan.variant->name : "cpu.reference");
    csv << ',';
    if (m && m->verified) {
      csv << m->seconds.median << ',' << m->seconds.p10 << ',' << m->seconds.p90 << ',' << m->seconds.count
          << ',' << m->tokens_per_second << ',' << m->flop_per_second << ',' << m->bytes_per_second << ',';
    } else {
      csv << ",,,,,,,";
    }
    if (m) csv << m->plan.geometry.shared_memory_bytes();
    csv << ',' << state_elements(p) << ',';
    if (m && !m->errors.empty()) {
      const OutputError& bad = worst(m->errors);
      csv << name(bad.slot) << ',' << bad.error << ',' << bad.tolerance << ',';
    } else {
      csv << ",,,";
    }
    csv << csv_field(row.reason) << '\n';
  }
  return csv.str();
}

void write_text(const std::filesystem::path& path, const std::string& text) {
  write_file_atomically(path, std::as_bytes(std::span(text)));
}

}  // namespace statescope
