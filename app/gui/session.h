// What the app knows beside its settings: the devices, and every result so far. The views ask each frame for
// what they need; what is missing is worked out by the worker, and is there some frames later.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <statescope/device.h>

#include "app/gui/captured_keys.h"
#include "app/gui/settings.h"
#include "app/gui/worker.h"
#include "models/dilution.h"
#include "profiler/oracle.h"
#include "profiler/sweep.h"

namespace statescope::gui {

/// One measured (or refused) point of the throughput curves.
struct SpeedCell {
  SweepStatus status = SweepStatus::kMeasured;
  std::string reason;
  double tokens_per_second = 0;
  Spread seconds;
  std::string kernel;  ///< the variant's name; empty on the cpu
};
/// What a throughput curve is of.
struct SpeedRequest {
  std::string device;  ///< DeviceInfo::name
  SweepSeries series = SweepSeries::kProduction;
  std::int64_t expansion = 1;
  Problem problem;
  bool operator==(const SpeedRequest&) const = default;
};

/// Keys to look at: a source of random keys, or a captured file.
struct KeyRequest {
  std::optional<KeySource> source;  ///< nothing: the file
  std::int64_t pairs = 64, expansion = 1, key_dim = 64;
  KeyFile file;
  auto operator<=>(const KeyRequest&) const = default;
};
struct RecallRequest {
  KeyRequest keys;
  std::string device;
  Rule rule = Rule::kGatedDelta;
  std::int64_t value_dim = 64;
  auto operator<=>(const RecallRequest&) const = default;
};
struct GramResult {
  Keys keys;  ///< values left out: only the sizes
  std::vector<double> gram;
  std::vector<double> histogram;
};
struct InterferencePoint {
  std::int64_t pairs = 0;   ///< fewer than asked for where a file has fewer tokens
  double interference = 0;  ///< mean of I_j over keys and draws
};

class Session {
 public:
  /// `wake` is called from the worker's thread.
  explicit Session(std::function<void()> wake);

  /// Every device, once they have been looked for; until then nothing.
  const DeviceList* devices() const;
  /// The entry of a device, by DeviceInfo::name; empty: the default device. Null while unknown.
  const DeviceInfo* device(const std::string& name) const;

  /// The sizes in force for a device: the settings', else its own defaults.
  Problem problem_for(const Settings& settings, const DeviceInfo* info) const;

  /// What is known of a point; nothing while it is not.
  std::optional<SpeedCell> speed(const SpeedRequest& request) const;
  /// Measures what is not known yet, in this order. Calling again with the same list changes nothing.
  void want_speed(const std::vector<SpeedRequest>& requests);

  std::shared_ptr<const GramResult> gram(const KeyRequest& request) const;
  std::optional<InterferencePoint> interference_of(const KeyRequest& request) const;
  /// The share right; an error's text in place of it.
  struct Recall {
    double value = 0;
    std::string error;
  };
  std::optional<Recall> recall(const RecallRequest& request) const;
  /// Why a captured file cannot be used, or nothing.
  std::string file_error(const KeyFile& file) const;
  /// E and K of the captured file's keys, once it has been read.
  std::optional<std::pair<std::int64_t, std::int64_t>> file_shape(const KeyFile& file) const;
  void want_dilution(const std::optional<KeyRequest>& shown, const std::vector<KeyRequest>& points,
                     const std::vector<RecallRequest>& recalls);

  Worker& worker() { return worker_; }
  const Worker& worker() const { return worker_; }
  /// Opened once and kept; on the worker's thread only. By DeviceInfo::name; empty: the default device.
  std::shared_ptr<Device> open(const std::string& name);
  /// Closes the device, and forgets what was measured on it: its kernels are others now. On the worker's
  /// thread only.
  void forget(const std::string& device);
  /// A line for the user, from any thread, and those since the last call.
  void note(const std::string& line);
  std::vector<std::string> take_notes();

 private:
  void measure_speed(const std::vector<SpeedRequest>& requests, const Watch& watch);
  void measure_keys(const std::optional<KeyRequest>& shown, const std::vector<KeyRequest>& points,
                    const std::vector<RecallRequest>& recalls, const Watch& watch);
  std::vector<Keys> draw_keys(const KeyRequest& request);
  const Oracle& oracle_of(const Problem& problem);

  mutable std::mutex mutex_;  ///< of the results
  std::shared_ptr<const DeviceList> devices_;
  std::vector<std::pair<SpeedRequest, SpeedCell>> speeds_;
  std::map<KeyRequest, std::shared_ptr<const GramResult>> grams_;
  std::map<KeyRequest, InterferencePoint> points_;
  std::map<RecallRequest, Recall> recalls_;
  std::map<KeyFile, std::string> file_errors_;
  std::map<KeyFile, std::pair<std::int64_t, std::int64_t>> file_shapes_;
  std::vector<std::string> notes_;
  std::atomic<int> generation_ = 0;  ///< how often something was forgotten

  // Of the interface's thread: what was asked last.
  std::vector<SpeedRequest> asked_speed_;
  int asked_generation_ = 0;
  std::optional<std::tuple<std::optional<KeyRequest>, std::vector<KeyRequest>, std::vector<RecallRequest>>>
      asked_keys_;

  // Of the worker's thread.
  std::map<std::string, std::shared_ptr<Device>> open_devices_;
  std::map<std::string, std::string> lost_;
  std::vector<std::unique_ptr<Oracle>> oracles_;
  std::pair<KeyFile, Tensor> captured_;

  Worker worker_;  ///< last: its thread ends before anything that it uses
};

}  // namespace statescope::gui
