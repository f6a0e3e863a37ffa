// Each operation is a dispatch. Dispatches gather, then go into a command buffer in rounds with a barrier
// between two: a dispatch's round is the first behind those that share memory with it, so that there are as
// few barriers as the longest chain has links, in whatever order the operations came. A command buffer is
// submitted when so many have gathered, behind those that run, and waited for before the host reads or writes
// memory.
#include "runtime/vulkan/compute.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <statescope/error.h>

#include "runtime/vulkan/binding.h"
#include "runtime/vulkan/kernel_parts.h"
#include "runtime/vulkan_chunked.h"

namespace statescope::vulkan {
namespace {

constexpr std::size_t kDispatchesPerSubmission = 64;  // the device starts while the host records the next
constexpr std::size_t kDispatchesPerRecording = 256;  // repeated as it is: a submission costs the device 8 us
constexpr std::size_t kMostUnderWay = 8;              // bounds what the host holds for them
constexpr std::uint32_t kThreads = 128;               // the most that every device has
constexpr std::uint32_t kTileThreads = 256;
constexpr std::int64_t kTile = 64;            // of multiply.comp
constexpr std::int64_t kFewRows = 4;          // more are faster as tiles
constexpr std::uint32_t kMostGroups = 65535;  // of one dimension, on every device

struct BufferStorage final : Storage {
  Buffer buffer;
};

const Buffer& buffer_of(const Array& array) {
  return static_cast<const BufferStorage&>(*array.storage).buffer;
}

using Words = std::map<std::string, std::uint32_t>;
using Arrays = std::map<std::string, Array>;

[[noreturn]] void refuse(const std::string& what) {
  throw Error(ErrorKind::kRefused, what);
}

/// As the shaders number them.
std::uint32_t type_of(const Array& array) {
  if (array.dtype != DType::kF32 && array.dtype != DType::kBf16 && array.dtype != DType::kF16)
    refuse("array: found type " + std::string(statescope::name(array.dtype)) + ", wanted f32, bf16 or f16");
  return static_cast<std::uint32_t>(array.dtype);
}

void check_index(std::int64_t elements) {
  if (elements > std::numeric_limits<std::int32_t>::max())
    refuse("array: found " + std::to_string(elements) + " elements, wanted at most 2147483647 in a shader");
}

/// 16-bit elements are written a word at a time, so every row that is written begins and ends at one.
void check_pairs(const Array& out, std::initializer_list<std::int64_t> begins, std::int64_t width,
                 std::int64_t rows) {
  check_index(out.size);
  if (out.dtype == DType::kF32) return;
  const bool even = std::ranges::all_of(begins, [](std::int64_t at) { return at % 2 == 0; });
  if (!even || (width % 2 != 0 && rows > 1))
    refuse("array of " + std::string(statescope::name(out.dtype)) + ": found rows of " +
           std::to_string(width) + " elements, wanted an even number of them");
}

std::int64_t pairs_of(std::int64_t rows, std::int64_t width) {
  return rows * ((width + 1) / 2);
}

/// Neighbouring invocations that share a sum (lanes.glsl) of so many parts: a whole workgroup where there is
/// one for each, since in a model's step, of few rows, what takes time is loads that wait for each other.
std::uint32_t lanes_for(std::int64_t parts) {
  return parts >= kThreads ? kThreads : 32;
}

/// Whether the factors' rows are whole packs of 16 bytes that begin at a multiple of one.
bool in_packs(const Product& p, const MatrixView& a, const MatrixView& b) {
  const auto pack = static_cast<std::int64_t>(16 / size_of(a.array.dtype));
  return std::ranges::all_of(
      std::initializer_list<std::int64_t>{p.k, p.transpose_b ? 0 : p.n, a.offset, a.row_stride,
                                          a.batch_stride, b.offset, b.row_stride, b.batch_stride},
      [&](std::int64_t x) { return x % pack == 0; });
}

/// Whether C's rows are whole packs of 16 bytes that begin at a multiple of one, eight elements at a time.
bool in_packs(const Product& p, const MatrixView& c) {
  return std::ranges::all_of(std::initializer_list<std::int64_t>{p.n, c.offset, c.row_stride, c.batch_stride},
                             [](std::int64_t x) { return x % 8 == 0; });
}

/// How multiply_matrix.comp cuts C: subgroups of rows x columns tiles of 16 x 16, in rows of `across` of
/// them.
struct MatrixTiles {
  std::uint32_t rows = 0, columns = 0, across = 0, slab = 0;
  std::int64_t side_m() const { return 16 * rows * (kTeams / across); }
  std::int64_t side_n() const { return 16 * columns * across; }
  std::size_t stage_bytes() const {  // rows a pack longer; B^T is the larger of B's two
    return static_cast<std::size_t>((side_m() + side_n()) * (slab / 8 + 1)) * 16;
  }
  static constexpr std::uint32_t kTeams = 8;
};
constexpr MatrixTiles kLargeTiles{4, 4, 2, 32};  // 256 x 128: 16 products for eight loads
constexpr MatrixTiles kSmallTiles{4, 2, 4, 32};  // 128 x 128: more workgroups

/// Large tiles where they are known to be enough for every multiprocessor.
const MatrixTiles& tiles_for(const Product& p, const DeviceLimits& limits) {
  const auto groups = [&](const MatrixTiles& t) {
    return (p.m + t.side_m() - 1) / t.side_m() * ((p.n + t.side_n() - 1) / t.side_n()) * p.batch;
  };
  const bool large = limits.multiprocessors > 0 && groups(kLargeTiles) >= limits.multiprocessors;
  return large ? kLargeTiles : kSmallTiles;
}

/// Whether multiply_matrix.comp takes a product: the device's matrix units have the type and the shape.
bool on_matrix_units(const DeviceLimits& limits, const Product& p, const MatrixView& a, const MatrixView& b,
                     const MatrixView& c) {
  return vulkan_chunked::matrices_missing(a.array.dtype, limits).empty() &&
         limits.shared_memory_per_workgroup >= tiles_for(p, limits).stage_bytes() &&
         limits.max_workgroup_size >= MatrixTiles::kTeams * vulkan_chunked::matrix_subgroup(limits) &&
         in_packs(p, a, b) && in_packs(p, c);
}

class VulkanCompute final : public Compute {
 public:
  using Compute::apply;
  using Compute::download;

  VulkanCompute(const std::shared_ptr<Gpu>& gpu, const DeviceInfo& info, const LaunchBounds& bounds)
      : gpu_(gpu), info_(info), bounds_(bounds) {
    unused_.buffer = create_buffer(gpu, kThreads, Place::kDevice);
  }
  ~VulkanCompute() override {
    try {
      await();                // what has gathered has nobody left to read it
    } catch (const Error&) {  // the device is lost: nothing of it is running
    }
  }

  void upload(const Array& to, std::span<const std::byte> bytes) override {
    flush();
    vulkan::upload(buffer_of(to), bytes);
  }

  void download(const Array& from, std::span<std::byte> bytes) override {
    flush();
    vulkan::download(buffer_of(from), bytes);
  }

  void apply(Pointwise f, const Extents& extents, const View& out, const std::vector<View>& in, float p,
             float r) override {
    const std::int64_t rows = extents[0] * extents[1] * extents[2];
    check_pairs(out.array, {out.offset, out.strides[0], out.strides[1], rows > 1 ? out.strides[2] : 0},
                extents[3], rows);
    if (out.strides[3] != 1) refuse("apply: wanted neighbours in the last dimension of what is written");
    Words push{{"pairs", word(pairs_of(rows, extents[3]))},
               {"n1", word(extents[1])},
               {"n2", word(extents[2])},
               {"n3", word(extents[3])},
               {"out_at", word(out.offset)},
               {"p", word(p)},
               {"r", word(r)}};
    for (int i = 0; i < 3; ++i) push["out_" + std::to_string(i)] = word(out.strides[i]);
    Words constants{{"FUNCTION", static_cast<std::uint32_t>(f)},
                    {"OPERANDS", static_cast<std::uint32_t>(in.size())},
                    {"OUT_TYPE", type_of(out.array)}};
    Arrays arrays{{"result", out.array}};
    for (std::size_t operand = 0; operand < 4; ++operand) {
      const bool there = operand < in.size();
      const std::string lower(1, static_cast<char>('a' + operand)),
          upper(1, static_cast<char>('A' + operand));
      constants[upper + "_TYPE"] = there ? type_of(in[operand].array) : 0;
      arrays[lower] = there ? in[operand].array : Array();
      push[lower + "_at"] = there ? word(in[operand].offset) : 0;
      for (int i = 0; i < 4; ++i)
        push[lower + "_" + std::to_string(i)] = there ? word(in[operand].strides[i]) : 0;
      if (there) check_index(in[operand].array.size);
    }
    dispatch("apply", constants, push, arrays, by_threads(pairs_of(rows, extents[3])));
  }

  void multiply(const Product& p, const MatrixView& a, const MatrixView& b, const MatrixView& c) override {
    check_pairs(c.array, {c.offset, p.batch > 1 ? c.batch_stride : 0, p.m > 1 ? c.row_stride : 0}, p.n,
                p.m * p.batch);
    check_index(a.array.size);
    check_index(b.array.size);
    Words push{{"m", word(p.m)},
               {"n", word(p.n)},
               {"k", word(p.k)},
               {"accumulate", p.accumulate},
               {"alpha", word(p.alpha)}};
    const auto place = [&](const std::string& prefix, const MatrixView& view) {
      push[prefix + "_at"] = word(view.offset);
      push[prefix + "_row"] = word(view.row_stride);
      push[prefix + "_matrix"] = word(view.batch_stride);
    };
    place("a", a);
    place("b", b);
    place("c", c);
    Words constants{{"IN_TYPE", type_of(a.array)}, {"OUT_TYPE", type_of(c.array)}};
    const Arrays arrays{{"a", a.array}, {"b", b.array}, {"c", c.array}};
    const auto batch = static_cast<std::uint32_t>(p.batch);
    const auto groups = [](std::int64_t extent, std::int64_t each) {
      return static_cast<std::uint32_t>((extent + each - 1) / each);
    };
    if (p.m <= kFewRows && p.transpose_b) {
      const bool packed = in_packs(p, a, b);
      const auto pack = static_cast<std::int64_t>(packed ? 16 / size_of(a.array.dtype) : 1);
      const std::uint32_t lanes = lanes_for(p.k / pack);
      constants["LANES"] = lanes;
      const std::int64_t columns = 2 * (kThreads / lanes);  // two a group
      const std::uint32_t across = by_rows(groups(p.n, columns))[0];
      dispatch(packed ? "multiply_vector.packed" : "multiply_vector", constants, push, arrays,
               {across, static_cast<std::uint32_t>(p.m), batch});
      return;
    }
    constants["TRANSPOSE_B"] = p.transpose_b;
    if (on_matrix_units(info_.limits, p, a, b, c)) {
      constants.erase("IN_TYPE");
      const DType dtype = a.array.dtype;
      const MatrixTiles& tiles = tiles_for(p, info_.limits);
      constants["STAGES"] = info_.limits.shared_memory_per_workgroup >= 2 * tiles.stage_bytes() ? 2 : 1;
      constants["ROWS"] = tiles.rows;
      constants["COLUMNS"] = tiles.columns;
      constants["ACROSS"] = tiles.across;
      constants["SLAB"] = tiles.slab;
      constants["BFLOAT16"] = dtype == DType::kBf16;
      constants["TEAMS"] = MatrixTiles::kTeams;
      constants["UNROLL"] = true;
      PipelineRequest request{"multiply", constants,
                              MatrixTiles::kTeams * vulkan_chunked::matrix_subgroup(info_.limits), 0};
      use_matrices(request, dtype, info_.limits);
      dispatch(request, push, arrays, {groups(p.n, tiles.side_n()), groups(p.m, tiles.side_m()), batch});
      return;
    }
    dispatch("multiply", constants, push, arrays, {groups(p.n, kTile), groups(p.m, kTile), batch},
             kTileThreads);
  }

  void normalise(RowNorm norm, float value, std::int64_t rows, std::int64_t width, const Array& x,
                 const Array& weight, const Array& y) override {
    check_pairs(y, {}, width, rows);
    const std::uint32_t lanes = lanes_for(width / 2);
    const std::int64_t at_once = kThreads / lanes;  // rows of a workgroup
    dispatch("normalise",
             {{"NORM", static_cast<std::uint32_t>(norm)},
              {"WEIGHTED", weight.present()},
              {"WEIGHT_TYPE", weight.present() ? type_of(weight) : 0},
              {"LANES", lanes},
              {"IN_TYPE", type_of(x)},
              {"OUT_TYPE", type_of(y)}},
             {{"rows", word(rows)},
              {"width", word(width)},
              {"weight_row", word(weight.size > width ? width : 0)},
              {"value", word(value)}},
             {{"x", x}, {"weight", weight}, {"y", y}}, by_rows((rows + at_once - 1) / at_once));
  }

  void convolve(const Convolution& c, const MatrixView& x, const Array& w, const Array& bias,
                const Array& history, const Array& y) override {
    check_pairs(y, {}, c.channels, c.batch * c.tokens);
    check_pairs(history, {}, c.channels, c.batch * (c.size - 1));
    Words constants{{"TYPE", type_of(y)},
                    {"FUNCTION", static_cast<std::uint32_t>(c.activation)},
                    {"BIASED", bias.present()},
                    {"KEEP", 0},
                    {"SIZE", word(c.size)}};
    Words push{{"tokens", word(c.tokens)},
               {"channels", word(c.channels)},
               {"x_at", word(x.offset)},
               {"x_row", word(x.row_stride)}};
    Arrays arrays{{"x", x.array}, {"weight", w}, {"bias", bias}, {"history", history}, {"y", y}};
    const auto run = [&](std::int64_t rows, bool keep) {
      constants["KEEP"] = keep;
      push["pairs"] = word(pairs_of(rows, c.channels));
      dispatch("convolve", constants, push, arrays, by_threads(pairs_of(rows, c.channels)));
    };
    run(c.batch * c.tokens, false);
    arrays["y"] = history;  // what follows leaves y alone, and may run beside what reads it
    run(c.batch, true);
  }

  void softmax(const Softmax& s, const Array& scores, const Array& y) override {
    check_pairs(y, {}, s.width, s.matrices * s.rows);
    dispatch("softmax", {{"OUT_TYPE", type_of(y)}},
             {{"all_rows", word(s.matrices * s.rows)},
              {"rows", word(s.rows)},
              {"width", word(s.width)},
              {"past", word(s.past)},
              {"window", word(s.window)}},
             {{"scores", scores}, {"y", y}}, by_rows(s.matrices * s.rows));
  }

  void gather(const Array& table, std::int64_t width, const Array& ids, const Array& y) override {
    check_pairs(y, {}, width, ids.size);
    check_index(table.size);
    dispatch("gather", {{"IN_TYPE", type_of(table)}, {"OUT_TYPE", type_of(y)}},
             {{"rows", word(ids.size)}, {"width", word(width)}}, {{"table", table}, {"ids", ids}, {"y", y}},
             by_threads(pairs_of(ids.size, width)));
  }

  void recur(const Plan& plan, const SlotArrays& arrays) override {
    const Problem& problem = plan.problem;
    const Dispatches dispatches = dispatches_of(problem, {plan.variant, plan.geometry}, info_, bounds_);
    Arrays named;
    for (Slot slot : kSlots) {
      named[std::string(statescope::name(slot))] = takes_part(problem, slot) ? arrays[slot] : Array();
    }
    for (const Scratch& scratch : dispatches.scratch) {
      if (scratch.bytes > 0)
        named[scratch.name] = allocate(DType::kF32, static_cast<std::int64_t>(scratch.bytes / 4));
      else
        named[scratch.name] = {};
    }
    for (const Dispatch& one : dispatches.list) {
      const auto find = [&](const std::string& called) -> const Buffer* {
        const auto alias = one.aliases.find(called);
        const auto at = named.find(alias == one.aliases.end() ? called : alias->second);
        return at == named.end() ? nullptr : buffer_or_unused(at->second);
      };
      record(one.pipeline, find, one.push_constants, one.workgroups);
    }
  }

  void row_statistics(std::int64_t rows, std::int64_t width, const Array& x, const Array& y) override {
    check_index(x.size);
    dispatch("row_statistics", {}, {{"rows", word(rows)}, {"width", word(width)}}, {{"x", x}, {"y", y}},
             by_rows(rows));
  }

  void largest(std::int64_t rows, std::int64_t width, const Array& x, const Array& y) override {
    check_index(x.size);
    dispatch("largest", {}, {{"rows", word(rows)}, {"width", word(width)}}, {{"x", x}, {"y", y}},
             by_rows(rows));
  }

  void interfere(std::int64_t n, const Array& gram, const Array& interference, const Array& counts) override {
    check_index(gram.size);
    dispatch("interfere", {}, {{"n", word(n)}},
             {{"gram", gram}, {"interference", interference}, {"counts", counts}}, by_rows(n));
  }

 protected:
  std::unique_ptr<Storage> create_storage(std::size_t bytes) override {
    const std::size_t most = gpu_->physical.properties.limits.maxStorageBufferRange;
    if (bytes > most)
      refuse("array of " + std::to_string(bytes) + " B > " + std::to_string(most) +
             " B, the largest buffer of a shader on " + info_.name);
    auto storage = std::make_unique<BufferStorage>();
    storage->buffer = create_buffer(gpu_, bytes, Place::kDevice);
    return storage;
  }

  void wait() override { flush(); }

  void begin_recording() override {
    flush();
    recording_ = true;
  }

  std::function<void()> end_recording(std::shared_ptr<const void> memory) override {
    if (!gathered_.empty()) finished_.push_back(close());
    recording_ = false;
    const auto recorded =
        std::make_shared<const Submissions>(Submissions{std::move(memory), std::exchange(finished_, {})});
    const auto repeat = [this, recorded] {
      if (std::ranges::find(under_way_, recorded) != under_way_.end()) await();
      if (!gathered_.empty()) hand_over();
      start(recorded);
    };
    repeat();
    return repeat;
  }

  void abandon_recording() noexcept override {
    recording_ = false;
    gathered_.clear();
    first_rounds_.clear();
    finished_.clear();
  }

 private:
  struct Gathered {
    BoundPipeline bound;
    std::array<std::uint32_t, 3> workgroups{};
    std::size_t round = 0;
  };
  /// A command buffer and what its dispatches are bound to.
  struct Submission {
    std::vector<Gathered> dispatches;
    std::unique_ptr<Commands> commands;
  };
  /// What is submitted at once, and what must live while it may run.
  struct Submissions {
    std::shared_ptr<const void> memory;
    std::vector<Submission> list;
  };
  /// The first rounds in which a buffer may be read and written.
  struct FirstRounds {
    std::size_t read = 0, write = 0;
  };

  static std::array<std::uint32_t, 3> by_threads(std::int64_t threads) {
    return by_rows((threads + kThreads - 1) / kThreads);
  }
  static std::array<std::uint32_t, 3> by_rows(std::int64_t rows) {
    return {static_cast<std::uint32_t>(std::clamp<std::int64_t>(rows, 1, kMostGroups)), 1, 1};
  }

  const Buffer* buffer_or_unused(const Array& array) const {
    return array.present() ? &buffer_of(array) : &unused_.buffer;
  }

  void dispatch(const char* module, const Words& constants, const Words& push, const Arrays& arrays,
                const std::array<std::uint32_t, 3>& workgroups, std::uint32_t threads = kThreads) {
    dispatch(PipelineRequest{module, constants, threads}, push, arrays, workgroups);
  }

  void dispatch(const PipelineRequest& request, const Words& push, const Arrays& arrays,
                const std::array<std::uint32_t, 3>& workgroups) {
    const auto find = [&](const std::string& called) -> const Buffer* {
      const auto at = arrays.find(called);
      return at == arrays.end() ? nullptr : buffer_or_unused(at->second);
    };
    record(request, find, push, workgroups);
  }

  void record(const PipelineRequest& request, const std::function<const Buffer*(const std::string&)>& find,
              const Words& push, const std::array<std::uint32_t, 3>& workgroups) {
    const auto& most = gpu_->physical.properties.limits.maxComputeWorkGroupCount;
    for (std::size_t i = 0; i < 3; ++i) {
      if (workgroups[i] > most[i])
        refuse(request.module + ": " + std::to_string(workgroups[i]) + " workgroups > " +
               std::to_string(most[i]) + " on " + info_.name);
    }
    BoundPipeline bound = bind_pipeline(get_pipeline(*gpu_, request), find, push);
    const std::size_t round = round_of(bound.uses);
    gathered_.push_back({std::move(bound), workgroups, round});
    if (gathered_.size() < (recording_ ? kDispatchesPerRecording : kDispatchesPerSubmission)) return;
    if (recording_) {
      finished_.push_back(close());
    } else {
      hand_over();
    }
  }

  /// The first round behind those that wrote what a dispatch touches, and those that read what it writes.
  std::size_t round_of(const std::vector<BufferUse>& uses) {
    std::size_t round = 0;
    for (const BufferUse& use : uses) {
      const auto first = first_rounds_.find(use.buffer);
      if (first == first_rounds_.end()) continue;
      round = std::max(round, use.written ? first->second.write : first->second.read);
    }
    for (const BufferUse& use : uses) {
      FirstRounds& first = first_rounds_[use.buffer];
      if (use.written) first.read = round + 1;
      first.write = std::max(first.write, round + 1);
    }
    return round;
  }

  Submission close() {
    Submission submission{{}, std::make_unique<Commands>(*gpu_)};
    submission.dispatches.swap(gathered_);
    first_rounds_.clear();
    std::ranges::stable_sort(submission.dispatches, {}, &Gathered::round);
    std::size_t round = 0;
    for (const Gathered& one : submission.dispatches) {
      if (one.round != round) dispatch_barrier(submission.commands->handle);
      round = one.round;
      record_dispatch(submission.commands->handle, one.bound, one.workgroups);
    }
    dispatch_barrier(submission.commands->handle);
    submission.commands->end();
    return submission;
  }

  /// Hands over what has gathered; the next may be recorded while it runs.
  void hand_over() {
    Submissions submissions;
    submissions.list.push_back(close());
    start(std::make_shared<const Submissions>(std::move(submissions)));
  }
  void start(std::shared_ptr<const Submissions> submissions) {
    if (under_way_.size() >= kMostUnderWay) await();
    std::vector<VkCommandBuffer> handles;
    for (const Submission& one : submissions->list) handles.push_back(one.commands->handle);
    under_way_.push_back(std::move(submissions));
    submit(*gpu_, handles);
  }
  void await() {
    wait_for_submitted(*gpu_);
    under_way_.clear();
  }
  void flush() {
    if (recording_) return;
    if (!gathered_.empty()) hand_over();
    await();
  }

  std::shared_ptr<Gpu> gpu_;
  DeviceInfo info_;
  LaunchBounds bounds_;
  BufferStorage unused_;  ///< bound where an array is absent
  std::vector<Gathered> gathered_;
  std::map<const Buffer*, FirstRounds> first_rounds_;  ///< of what has gathered
  std::vector<std::shared_ptr<const Submissions>> under_way_;
  bool recording_ = false;
  std::vector<Submission> finished_;  ///< of the recording
};

}  // namespace

std::shared_ptr<Compute> make_compute(const std::shared_ptr<Gpu>& gpu, const DeviceInfo& info,
                                      const LaunchBounds& bounds) {
  return std::make_shared<VulkanCompute>(gpu, info, bounds);
}

}  // namespace statescope::vulkan
