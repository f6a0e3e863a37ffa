// The fields, in files, of the runtime's structs (see json_fields.h).
#pragma once

#include <statescope/device.h>

#include "profiler/json_fields.h"

namespace statescope {

template <typename Visit, MaybeConst<Problem> P>
void visit_fields(Visit& visit, P& problem) {
  visit("rule", problem.rule);
  visit("pass", problem.pass);
  visit("division", problem.division);
  visit("form", problem.form);
  visit("series", problem.series);
  visit("dtype", problem.dtype);
  visit("batch", problem.batch);
  visit("seq_len", problem.seq_len);
  visit("heads", problem.heads);
  visit("qk_heads", problem.qk_heads);
  visit("expansion", problem.expansion);
  visit("key_dim", problem.key_dim);
  visit("value_dim", problem.value_dim);
  visit("sequences", problem.sequences);
  visit("packed", problem.packed);
  visit("initial_state", problem.initial_state);
  visit("final_state_gradient", problem.final_state_gradient);
  visit.added("front_end", problem.front_end);
  visit.added("history", problem.history);
  visit("scale", problem.scale);
}

template <typename Visit, MaybeConst<DeviceLimits> P>
void visit_fields(Visit& visit, P& limits) {
  visit("api", limits.api);
  visit("shared_memory_per_workgroup_bytes", limits.shared_memory_per_workgroup);
  visit("shared_memory_per_multiprocessor_bytes", limits.shared_memory_per_multiprocessor);
  visit("max_workgroup_size", limits.max_workgroup_size);
  visit("subgroup_min", limits.subgroup_min);
  visit("subgroup_max", limits.subgroup_max);
  visit("max_threads_per_multiprocessor", limits.max_threads_per_multiprocessor);
  visit("multiprocessors", limits.multiprocessors);
  visit("registers_per_multiprocessor", limits.registers_per_multiprocessor);
  visit("compute_capability", limits.compute_capability);
  visit("storage_16bit", limits.storage_16bit);
  visit("subgroup_shuffle", limits.subgroup_shuffle);
  visit("subgroup_arithmetic", limits.subgroup_arithmetic);
  visit("subgroup_clustered", limits.subgroup_clustered);
  visit("cooperative_matrix_f16", limits.cooperative_matrix_f16);
  visit("cooperative_matrix_bf16", limits.cooperative_matrix_bf16);
}

template <typename Visit, MaybeConst<DeviceInfo> P>
void visit_fields(Visit& visit, P& info) {
  visit("name", info.name);
  visit("api", info.api);
  visit("description", info.description);
  visit("driver", info.driver);
  visit("hardware", info.hardware);
  visit("can_run", info.can_run);
  visit("clock", info.clock);
  visit("uuid", info.uuid);
  visit("limits", info.limits);
  visit("notes", info.notes);
}

template <typename Visit, MaybeConst<Ceilings> P>
void visit_fields(Visit& visit, P& ceilings) {
  visit("copy_bytes_per_second", ceilings.copy_bytes_per_second);
  visit("f32_flop_per_second", ceilings.f32_flop_per_second);
  visit("matrix_flop_per_second", ceilings.matrix_flop_per_second);
}

template <typename Visit, MaybeConst<Geometry> P>
void visit_fields(Visit& visit, P& geometry) {
  visit("workgroups", geometry.workgroups);
  visit("workgroup_size", geometry.workgroup_size);
  visit("subgroup_size", geometry.subgroup_size);
  visit("chunk", geometry.chunk);
  visit("value_tile", geometry.value_tile);
  visit("subheads", geometry.subheads);
  visit("state_bytes", geometry.state_bytes);
  visit("tile_bytes", geometry.tile_bytes);
}

template <typename Visit, MaybeConst<Launch> P>
void visit_fields(Visit& visit, P& launch) {
  visit("kernel", launch.kernel);
  visit("workgroups", launch.workgroups);
  visit("workgroup_size", launch.workgroup_size);
  visit("shared_memory_bytes", launch.shared_memory_bytes);
  visit("reported_shared_memory_bytes", launch.reported_shared_memory_bytes);
  visit("registers", launch.registers);
  visit("spill_bytes", launch.spill_bytes);
  visit("occupancy", launch.occupancy);
}

/// Times on the host's clock mean nothing on another machine: the timeline carries them from its own origin.
template <typename Visit, MaybeConst<RunTime> P>
void visit_fields(Visit& visit, P& run) {
  visit("total", run.total);
  visit("launches", run.launches);
}

template <typename Visit, MaybeConst<CompiledKernel::Statistic> P>
void visit_fields(Visit& visit, P& statistic) {
  visit("name", statistic.name);
  visit("value", statistic.value);
}

template <typename Visit, MaybeConst<CompiledKernel::Representation> P>
void visit_fields(Visit& visit, P& representation) {
  visit("name", representation.name);
  visit("text", representation.text);
}

/// SPIR-V travels as its disassembly, a representation.
template <typename Visit, MaybeConst<CompiledKernel> P>
void visit_fields(Visit& visit, P& compiled) {
  visit("kernel", compiled.kernel);
  visit("statistics", compiled.statistics);
  visit("representations", compiled.representations);
  visit("symbol", compiled.symbol);
}

}  // namespace statescope
