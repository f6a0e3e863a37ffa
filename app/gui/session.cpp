#include "app/gui/session.h"

#include <algorithm>
#include <utility>

#include <statescope/error.h>

namespace statescope::gui {
namespace {

// Keys first: they answer a drag of the slider at once.
constexpr int kKeysPriority = 1, kSpeedPriority = 2;
constexpr std::uint64_t kSeed = 7, kDraws = 3;
/// Reference work a point may cost; beyond it heads are sampled.
constexpr double kOracleFlop = 1e9;
/// Tokens that a checkpoint reads.
constexpr std::int64_t kMostCaptured = 512;
constexpr std::size_t kKeptOracles = 4, kKeptGrams = 64;

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double x : values) sum += x;
  return sum / static_cast<double>(values.size());
}

InterferencePoint point_of(const std::vector<Keys>& draws) {
  InterferencePoint point{draws.front().pairs, 0};
  for (const Keys& keys : draws) {
    point.interference +=
        mean(interference(gram_matrix(keys), keys.pairs)) / static_cast<double>(draws.size());
  }
  return point;
}

GramResult gram_of(const Keys& keys) {
  GramResult result;
  result.keys = {keys.pairs, keys.expansion, keys.key_dim, {}};
  result.gram = gram_matrix(keys);
  const auto counts = cosine_histogram(result.gram, keys.pairs);
  result.histogram.assign(counts.begin(), counts.end());
  return result;
}

}  // namespace

Session::Session(std::function<void()> wake) : worker_(std::move(wake)) {
  worker_.post("looking for devices", 0, [this](const Watch& watch) {
    watch.say("Vulkan and CUDA drivers");
    auto list = std::make_shared<const DeviceList>(discover());
    const std::lock_guard lock(mutex_);
    devices_ = std::move(list);
  });
}

const DeviceList* Session::devices() const {
  const std::lock_guard lock(mutex_);
  return devices_.get();
}

const DeviceInfo* Session::device(const std::string& name) const {
  const DeviceList* list = devices();
  if (!list || list->devices.empty()) return nullptr;
  for (const DeviceEntry& entry : list->devices) {
    if (entry.info.name == name) return &entry.info;
  }
  if (!name.empty()) return nullptr;
  for (const DeviceEntry& entry : list->devices) {
    if (entry.info.hardware) return &entry.info;
  }
  for (const DeviceEntry& entry : list->devices) {
    if (entry.info.description.find("llvmpipe") != std::string::npos) return &entry.info;
  }
  return &list->devices.back().info;
}

Problem Session::problem_for(const Settings& settings, const DeviceInfo* info) const {
  SweepOptions options;
  const auto given = [](std::int64_t value) { return value > 0 ? std::optional(value) : std::nullopt; };
  options.rule = settings.rule;
  if (!settings.dtype.empty()) options.dtype = parse_dtype(settings.dtype);
  options.batch = given(settings.batch);
  options.seq_len = given(settings.seq_len);
  options.heads = given(settings.heads);
  options.key_dim = given(settings.key_dim);
  options.value_dim = given(settings.value_dim);
  return base_problem(info ? *info : DeviceInfo{}, options);
}

std::optional<SpeedCell> Session::speed(const SpeedRequest& request) const {
  const std::lock_guard lock(mutex_);
  for (const auto& [known, cell] : speeds_) {
    if (known == request) return cell;
  }
  return std::nullopt;
}

void Session::want_speed(const std::vector<SpeedRequest>& requests) {
  if (requests == asked_speed_ && asked_generation_ == generation_) return;
  asked_speed_ = requests;
  asked_generation_ = generation_;
  worker_.post("throughput", kSpeedPriority,
               [this, requests](const Watch& watch) { measure_speed(requests, watch); });
}

std::shared_ptr<Device> Session::open(const std::string& name) {
  std::shared_ptr<Device>& device = open_devices_[name];
  if (!device) device = open_device(*devices(), name);
  return device;
}

void Session::forget(const std::string& device) {
  open_devices_.clear();  // one device may stand under its name and as the default
  const std::lock_guard lock(mutex_);
  std::erase_if(speeds_, [&](const auto& known) { return known.first.device == device; });
  ++generation_;
}

void Session::note(const std::string& line) {
  {
    const std::lock_guard lock(mutex_);
    notes_.push_back(line);
  }
  worker_.wake();
}

std::vector<std::string> Session::take_notes() {
  const std::lock_guard lock(mutex_);
  return std::exchange(notes_, {});
}

const Oracle& Session::oracle_of(const Problem& problem) {
  for (const auto& oracle : oracles_) {
    if (same_mathematics(oracle->problem, problem)) return *oracle;
  }
  if (oracles_.size() >= kKeptOracles) oracles_.erase(oracles_.begin());
  oracles_.push_back(std::make_unique<Oracle>(make_oracle(problem, kSeed, kOracleFlop)));
  return *oracles_.back();
}

void Session::measure_speed(const std::vector<SpeedRequest>& requests, const Watch& watch) {
  for (const SpeedRequest& request : requests) {
    if (speed(request)) continue;
    watch.check();
    watch.say(request.device + " E " + std::to_string(request.expansion) + " " +
              std::string(name(request.series)));
    SpeedCell cell;
    try {
      if (!lost_[request.device].empty())
        throw Error(ErrorKind::kDevice, "not run: " + lost_[request.device]);
      Device& device = *open(request.device);
      device.plan(request.problem);  // a refusal costs no reference
      BenchOptions options;
      options.seconds = 0.1;
      options.min_runs = 3;
      if (!device.info().hardware) options.rotate_bytes = 64.0 * 1024 * 1024;
      const Measurement m = measure(device, request.problem, oracle_of(request.problem), options, watch);
      cell.kernel = m.plan.variant ? std::string(m.plan.variant->name) : "";
      cell.seconds = m.seconds;
      cell.tokens_per_second = m.tokens_per_second;
      if (!m.verified) {
        const OutputError& bad = worst(m.errors);
        cell.status = SweepStatus::kWrong;
        cell.reason = std::string(name(bad.slot)) + " misses the reference: not timed";
      }
    } catch (const Error& e) {
      cell.status = e.kind() == ErrorKind::kDevice ? SweepStatus::kFailed : SweepStatus::kRefused;
      cell.reason = e.what();
      if (e.kind() == ErrorKind::kDevice && lost_[request.device].empty()) lost_[request.device] = e.what();
    }
    {
      const std::lock_guard lock(mutex_);
      speeds_.emplace_back(request, cell);
    }
    worker_.wake();
  }
}

std::shared_ptr<const GramResult> Session::gram(const KeyRequest& request) const {
  const std::lock_guard lock(mutex_);
  const auto found = grams_.find(request);
  return found == grams_.end() ? nullptr : found->second;
}

std::optional<InterferencePoint> Session::interference_of(const KeyRequest& request) const {
  const std::lock_guard lock(mutex_);
  const auto found = points_.find(request);
  return found == points_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<Session::Recall> Session::recall(const RecallRequest& request) const {
  const std::lock_guard lock(mutex_);
  const auto found = recalls_.find(request);
  return found == recalls_.end() ? std::nullopt : std::optional(found->second);
}

std::string Session::file_error(const KeyFile& file) const {
  const std::lock_guard lock(mutex_);
  const auto found = file_errors_.find(file);
  return found == file_errors_.end() ? "" : found->second;
}

std::optional<std::pair<std::int64_t, std::int64_t>> Session::file_shape(const KeyFile& file) const {
  const std::lock_guard lock(mutex_);
  const auto found = file_shapes_.find(file);
  return found == file_shapes_.end() ? std::nullopt : std::optional(found->second);
}

void Session::want_dilution(const std::optional<KeyRequest>& shown, const std::vector<KeyRequest>& points,
                            const std::vector<RecallRequest>& recalls) {
  auto asked = std::tuple(shown, points, recalls);
  if (asked_keys_ == asked) return;
  asked_keys_ = std::move(asked);
  worker_.post("keys", kKeysPriority, [this, shown, points, recalls](const Watch& watch) {
    measure_keys(shown, points, recalls, watch);
  });
}

std::vector<Keys> Session::draw_keys(const KeyRequest& request) {
  std::vector<Keys> draws;
  if (request.source) {
    for (std::uint64_t seed = kSeed; seed < kSeed + kDraws; ++seed) {
      draws.push_back(make_keys(*request.source, request.pairs, request.expansion, request.key_dim, seed));
    }
    return draws;
  }
  try {
    if (captured_.first != request.file || !captured_.second.present()) {
      captured_ = {request.file, captured_keys(request.file, kMostCaptured, open(""))};
    }
    const TensorView k = captured_.second.view();
    const std::int64_t tokens = k.shape.size() == 5 ? std::min(k.shape[1], request.pairs) : request.pairs;
    draws.push_back(keys_from_tensor(k, 0, 0, tokens));
    const std::lock_guard lock(mutex_);
    file_shapes_[request.file] = {draws.front().expansion, draws.front().key_dim};
    file_errors_.erase(request.file);
    return draws;
  } catch (const Error& e) {
    const std::lock_guard lock(mutex_);
    file_errors_[request.file] = e.what();
    throw;
  }
}

void Session::measure_keys(const std::optional<KeyRequest>& shown, const std::vector<KeyRequest>& points,
                           const std::vector<RecallRequest>& recalls, const Watch& watch) {
  const auto unusable = [this](const KeyRequest& request) {
    return !request.source && !file_error(request.file).empty();
  };
  if (shown && !gram(*shown) && !unusable(*shown)) {
    watch.say("Gram matrix of " + std::to_string(shown->pairs) + " keys");
    try {
      auto result = std::make_shared<const GramResult>(gram_of(draw_keys(*shown).front()));
      const std::lock_guard lock(mutex_);
      if (grams_.size() >= kKeptGrams) grams_.clear();
      grams_[*shown] = std::move(result);
    } catch (const Error&) {
      if (shown->source) throw;  // a file's error is shown beside its name
    }
    worker_.wake();
  }
  for (const KeyRequest& request : points) {
    watch.check();
    if (interference_of(request) || unusable(request)) continue;
    watch.say("interference of " + std::to_string(request.pairs) + " keys");
    try {
      const InterferencePoint point = point_of(draw_keys(request));
      const std::lock_guard lock(mutex_);
      points_[request] = point;
    } catch (const Error&) {
      if (request.source) throw;  // a file's error is shown beside its name
    }
    worker_.wake();
  }
  for (const RecallRequest& request : recalls) {
    watch.check();
    if (recall(request) || unusable(request.keys)) continue;
    watch.say("recall of " + std::to_string(request.keys.pairs) + " pairs on " + request.device);
    Recall result;
    try {
      result.value =
          recall_at_1(*open(request.device), request.rule, draw_keys(request.keys), request.value_dim, kSeed);
    } catch (const Error& e) {
      result.error = e.what();
    }
    {
      const std::lock_guard lock(mutex_);
      recalls_[request] = result;
    }
    worker_.wake();
  }
}

}  // namespace statescope::gui
