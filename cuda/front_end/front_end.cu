// The front end before any implementation of the recurrence (host side).
#include "cuda/front_end/front_end.h"

#include <algorithm>

#include "cuda/front_end/expand_tensor.h"
#include "cuda/front_end/gradients.h"
#include "cuda/tensor_map.h"

namespace statescope::cuda {
namespace {

using namespace front_end;

std::size_t aligned(std::size_t bytes) {
  return (bytes + 255) / 256 * 256;
}

bool on_tensor_cores(const Problem& p) {
  if (p.pass == Pass::kStep || p.key_dim != kTensorDim || p.dtype == DType::kF32) return false;
  int device = 0, major = 0;
  check(cudaGetDevice(&device), "asking for the device");
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device),
        "asking for the compute capability");
  return major == 9;
}

/// Whether the gradients' products have tiles for this size.
bool has_product_tiles(const Problem& p) {
  return p.dtype != DType::kF32 && (p.key_dim == 64 || p.key_dim == 128 || p.key_dim == 256);
}

/// Whether a step has tensor cores' tiles for this size, and shared memory for them.
bool steps_on_tensor_cores(const Problem& p) {
  if (!has_product_tiles(p)) return false;
  int device = 0, most = 0;
  check(cudaGetDevice(&device), "asking for the device");
  check(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
        "asking for the shared memory of a block");
  return step_tensor_bytes(static_cast<int>(p.key_dim)) <= most;
}

/// SiLU(x) is kept where a kernel on tensor cores reads it.
bool activates(const Problem& p) {
  return on_tensor_cores(p) || (p.pass == Pass::kBackward && has_product_tiles(p));
}

/// Bytes behind SiLU(x) that the last tile of a row may read.
std::size_t read_behind(const Problem& p) {
  return static_cast<std::size_t>(kTensorTokens * p.qk_heads * p.key_dim * size_of(p.dtype));
}

/// Multiprocessors of the current device times `blocks` on each.
std::int64_t blocks_held(int blocks) {
  int device = 0, multiprocessors = 0;
  check(cudaGetDevice(&device), "asking for the device");
  check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device),
        "asking for the multiprocessors");
  return std::int64_t{multiprocessors} * blocks;
}

Ranges gradient_ranges(const Problem& p) {
  return best_ranges(p.seq_len, p.batch, 2 * p.qk_heads * p.expansion, kRangeTokens, blocks_held(2));
}

/// Offsets into scratch memory. The expanded q and k are not needed once the recurrence is done, so dy takes
/// their place.
struct Scratch {
  std::size_t expanded, activated, y, gradients, dweight_parts, dtaps_parts, end;
  std::size_t side, activated_side;  ///< from q's to k's
};
Scratch scratch_of(const Problem& p) {
  const Problem inner = without_front_end(p);
  const auto elements = [](const Problem& of, Slot slot) {
    return static_cast<std::size_t>(element_count(shape_of(of, slot)));
  };
  Scratch s{};
  s.side = aligned(elements(inner, Slot::kQ) * size_of(p.dtype));
  s.activated = s.expanded + 2 * s.side;
  s.activated_side = activates(p) ? aligned(elements(p, Slot::kQ) * size_of(p.dtype)) : 0;
  s.y = s.end = s.activated + 2 * s.activated_side;
  if (on_tensor_cores(p)) s.y = s.end += aligned(read_behind(p));
  if (p.pass != Pass::kBackward) return s;
  s.gradients = s.y + 2 * s.side;
  const auto parts = static_cast<std::size_t>(p.batch * gradient_ranges(p).per_row) * 2 * sizeof(float);
  s.dweight_parts = s.gradients + 2 * s.side;
  s.dtaps_parts = s.dweight_parts + aligned(parts * elements(p, Slot::kDqExpand));
  s.end = s.dtaps_parts + aligned(parts * elements(p, Slot::kDqConv));
  return s;
}

KernelLaunch activate_launch(const Problem& p) {
  const std::int64_t elements = element_count(shape_of(p, Slot::kQ)), each = kActivateElements;
  KernelLaunch launch;
  launch.name = "front_end.activate";
  launch.function = activate_kernel();
  launch.grid = dim3(static_cast<unsigned>((elements + each - 1) / each), 1, 2);
  launch.block = kActivateThreads;
  bind_parameters(launch, [elements, s = scratch_of(p)](const Arguments& a) {
    return ActivateParameters{
        {a.q, a.k}, {a.scratch + s.activated, a.scratch + s.activated + s.activated_side}, elements, a.dtype};
  });
  return launch;
}

/// What every kernel of the way forward is told; x, and y for the way back, are added.
ExpandParameters expand_parameters(const Arguments& a, const Scratch& s, bool norm) {
  ExpandParameters x{};
  x.x[0] = a.q, x.x[1] = a.k;
  x.weight[0] = a.q_expand, x.weight[1] = a.k_expand;
  x.taps[0] = a.q_conv, x.taps[1] = a.k_conv;
  x.out[0] = a.scratch + s.expanded, x.out[1] = a.scratch + s.expanded + s.side;
  x.history[0] = a.q_history, x.history[1] = a.k_history;
  x.after[0] = a.q_history_after, x.after[1] = a.k_history_after;
  x.cu_seqlens = a.cu_seqlens;
  x.seq_len = a.seq_len;
  x.qk_heads = a.qk_heads;
  x.expansion = a.expansion;
  x.key_dim = a.key_dim;
  x.sequences = a.sequences;
  x.dtype = a.dtype;
  x.norm = norm;
  return x;
}

KernelLaunch step_launch(const Problem& p) {
  const auto dim = static_cast<int>(p.key_dim);
  const bool tensor = steps_on_tensor_cores(p);
  const int rows = tensor ? kStepTensorRows : kStepRows;
  KernelLaunch launch;
  launch.name = tensor ? "front_end.step_tensor" : "front_end.step";
  launch.function = tensor ? step_tensor_kernel(p.dtype, dim) : step_kernel();
  launch.grid = dim3(static_cast<unsigned>(p.qk_heads * p.expansion),
                     static_cast<unsigned>((p.sequences + rows - 1) / rows), 2);
  launch.block = static_cast<unsigned>(tensor ? step_tensor_threads(dim) : kExpandThreads);
  launch.dynamic_shared_bytes = launch.predicted_shared_bytes =
      static_cast<std::size_t>(tensor ? step_tensor_bytes(dim) : step_shared_bytes(dim));
  bind_parameters(launch, [norm = p.rule == Rule::kGatedDelta, s = scratch_of(p)](const Arguments& a) {
    return expand_parameters(a, s, norm);
  });
  return launch;
}

/// Behind SiLU(x) in scratch memory.
KernelLaunch expand_tensor_launch(const Problem& p) {
  const bool norm = p.rule == Rule::kGatedDelta;
  const std::int64_t subkeys = p.qk_heads * p.expansion;
  const Ranges ranges =
      best_ranges(p.seq_len, p.batch, 2 * subkeys, kTensorTokens, blocks_held(kTensorBlocks * kTensorGroups));
  KernelLaunch launch;
  launch.name = "front_end.expand_tensor";
  launch.function = expand_tensor_kernel(p.dtype, norm, p.packed, p.history || p.pass == Pass::kBackward);
  launch.grid =
      dim3(static_cast<unsigned>(subkeys),
           static_cast<unsigned>((p.batch * ranges.per_row + kTensorGroups - 1) / kTensorGroups), 2);
  launch.block = kTensorThreads;
  launch.dynamic_shared_bytes = launch.predicted_shared_bytes = TensorShared::bytes;
  bind_parameters(launch, [p, ranges, norm, s = scratch_of(p)](const Arguments& a) {
    ExpandTensorParameters x{};
    x.plain = expand_parameters(a, s, norm);
    x.plain.tokens_per_block = ranges.tokens;
    x.rows = static_cast<int>(p.batch);
    const std::int64_t heads = p.qk_heads, subheads = heads * p.expansion;
    for (int side = 0; side < 2; ++side) {
      const std::byte* const activated = a.scratch + s.activated + side * s.activated_side;
      x.input[side] =
          tensor_map_of_runs(activated, p.dtype, p.batch, p.seq_len, heads, kTensorDim, kTensorRun);
      x.weight[side] = tensor_map(x.plain.weight[side], p.dtype, heads, kTensorDim, p.expansion, kTensorDim,
                                  {kTensorDim, kTensorDim});
      const auto leaving = [&](const void* to) {
        return tensor_map(to, p.dtype, p.batch, p.seq_len, subheads, kTensorDim, {kTensorTokens, kTensorDim});
      };
      x.out[side] = leaving(x.plain.out[side]);
      if (p.pass != Pass::kBackward) continue;
      x.plain.y[side] = a.scratch + s.y + side * s.side;
      x.y[side] = leaving(x.plain.y[side]);
    }
    return x;
  });
  return launch;
}

KernelLaunch expand_plain_launch(const Problem& p) {
  const std::int64_t subkeys = p.qk_heads * p.expansion;
  const Ranges ranges = best_ranges(p.seq_len, p.batch, 2 * subkeys, kExpandTokens, blocks_held(2));
  KernelLaunch launch;
  launch.name = "front_end.expand";
  launch.function = expand_kernel();
  launch.grid = dim3(static_cast<unsigned>(subkeys), static_cast<unsigned>(p.batch * ranges.per_row), 2);
  launch.block = kExpandThreads;
  launch.dynamic_shared_bytes = launch.predicted_shared_bytes =
      static_cast<std::size_t>(expand_shared_bytes(static_cast<int>(p.key_dim)));
  bind_parameters(launch, [ranges, norm = p.rule == Rule::kGatedDelta, back = p.pass == Pass::kBackward,
                           s = scratch_of(p)](const Arguments& a) {
    ExpandParameters x = expand_parameters(a, s, norm);
    if (back) x.y[0] = a.scratch + s.y, x.y[1] = a.scratch + s.y + s.side;
    x.tokens_per_block = ranges.tokens;
    return x;
  });
  return launch;
}

std::vector<KernelLaunch> expand_launches(const Problem& p) {
  if (p.pass == Pass::kStep) return {step_launch(p)};
  std::vector<KernelLaunch> launches;
  if (activates(p)) launches.push_back(activate_launch(p));
  launches.push_back(on_tensor_cores(p) ? expand_tensor_launch(p) : expand_plain_launch(p));
  return launches;
}

std::vector<KernelLaunch> gradient_launches(const Problem& p) {
  const auto subkeys = static_cast<unsigned>(p.qk_heads * p.expansion);
  const auto dim = static_cast<int>(p.key_dim);
  const Ranges ranges = gradient_ranges(p);
  const auto all_ranges = static_cast<unsigned>(p.batch * ranges.per_row);
  const auto parameters = [ranges, scratch = scratch_of(p), rows = static_cast<int>(p.batch),
                           norm = p.rule == Rule::kGatedDelta](const Arguments& a) {
    const auto sides = [&](std::size_t offset) { return a.scratch + offset; };
    GradientParameters x{};
    x.x[0] = a.q, x.x[1] = a.k;
    x.weight[0] = a.q_expand, x.weight[1] = a.k_expand;
    x.taps[0] = a.q_conv, x.taps[1] = a.k_conv;
    for (int side = 0; side < 2; ++side) {
      x.activated[side] = sides(scratch.activated + side * scratch.activated_side);
      x.y[side] = sides(scratch.y + side * scratch.side);
      x.dout[side] = sides(scratch.gradients + side * scratch.side);
      x.dy[side] = sides(scratch.expanded + side * scratch.side);
    }
    x.dx[0] = a.dq, x.dx[1] = a.dk;
    x.dweight_parts = reinterpret_cast<float*>(sides(scratch.dweight_parts));
    x.dtaps_parts = reinterpret_cast<float*>(sides(scratch.dtaps_parts));
    x.dweight[0] = a.dq_expand, x.dweight[1] = a.dk_expand;
    x.dtaps[0] = a.dq_conv, x.dtaps[1] = a.dk_conv;
    x.cu_seqlens = a.cu_seqlens;
    x.rows = rows;
    x.seq_len = a.seq_len;
    x.qk_heads = a.qk_heads;
    x.expansion = a.expansion;
    x.key_dim = a.key_dim;
    x.sequences = a.sequences;
    x.tokens_per_range = ranges.tokens;
    x.ranges = rows * ranges.per_row;
    x.dtype = a.dtype;
    x.norm = norm;
    return x;
  };
  std::vector<KernelLaunch> launches;
  const auto add = [&](const char* name, const void* function, dim3 grid, int threads, int shared_bytes) {
    KernelLaunch& launch = launches.emplace_back();
    launch.name = name;
    launch.function = function;
    launch.grid = grid;
    launch.block = static_cast<unsigned>(threads);
    launch.dynamic_shared_bytes = launch.predicted_shared_bytes = static_cast<std::size_t>(shared_bytes);
    bind_parameters(launch, parameters);
  };
  const auto token_tiles = [&](int tile) {
    return static_cast<unsigned>(p.batch * ((p.seq_len + tile - 1) / tile));
  };
  const auto square = [&](int tile) {
    const auto tiles = static_cast<unsigned>((dim + tile - 1) / tile);
    return tiles * tiles;
  };
  const auto heads = static_cast<unsigned>(p.qk_heads);
  const bool in_rows = p.dtype != DType::kF32 && (dim == 128 || dim == 256);
  add(in_rows ? "front_end.convolution_rows" : "front_end.convolution_gradients",
      in_rows ? convolution_rows_kernel(p.dtype, dim, p.packed) : convolution_gradients_kernel(dim),
      dim3(subkeys, all_ranges, 2), kGradientThreads, 0);
  launches.back().predicted_shared_bytes = kConvolutionGradientsBytes;
  if (has_product_tiles(p)) {
    const int tile = product_tile(dim);
    add("front_end.input_product", input_product_kernel(p.dtype, dim),
        dim3(heads * static_cast<unsigned>(dim / tile), token_tiles(kProductTokens), 2), kProductThreads,
        input_product_bytes(dim));
    add("front_end.weight_product", weight_product_kernel(p.dtype, dim),
        dim3(subkeys * square(tile), all_ranges, 2), 2 * kProductThreads, weight_product_bytes(dim));
  } else {
    add("front_end.input_gradients", input_gradients_kernel(), dim3(heads, token_tiles(kInputTokens), 2),
        kGradientThreads, input_gradients_bytes(dim));
    add("front_end.weight_gradients", weight_gradients_kernel(),
        dim3(subkeys * square(kWeightTile), all_ranges, 2), kGradientThreads, kWeightGradientsBytes);
  }
  add("front_end.sum_parts", sum_parts_kernel(), dim3(1024, 1, 2), kGradientThreads, 0);
  return launches;
}

}  // namespace

std::size_t front_end_bytes(const Problem& p) {
  return scratch_of(p).end;
}

std::vector<KernelLaunch> behind_front_end(const Problem& p, std::vector<KernelLaunch> inner) {
  std::vector<KernelLaunch> all = expand_launches(p);
  for (KernelLaunch& launch : inner) {
    launch.bind = [bind = launch.bind, scratch = scratch_of(p)](Arguments a) {
      a.q = a.scratch + scratch.expanded;
      a.k = a.scratch + scratch.expanded + scratch.side;
      a.dq = a.scratch + scratch.gradients;
      a.dk = a.scratch + scratch.gradients + scratch.side;
      a.scratch += scratch.end;
      return bind(a);
    };
    all.push_back(std::move(launch));
  }
  if (p.pass == Pass::kBackward) {
    for (KernelLaunch& launch : gradient_launches(p)) all.push_back(std::move(launch));
  }
  return all;
}

}  // namespace statescope::cuda
