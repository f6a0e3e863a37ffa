// What a model's states do over a long input (models/collapse.h): recorded here from a checkpoint or a
// generated layer, without and with the three mitigations, or opened from files that `statescope collapse`
// wrote. Everything runs in the worker.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "app/gui/session.h"
#include "models/collapse.h"
#include "models/mitigation.h"

namespace statescope::gui {

/// One run over the input.
struct Recording {
  std::string mitigation;  ///< "none", "forget-more" ...
  std::string parameters;  ///< "r = 256"; empty where there are none
  std::string model, device;
  std::int64_t trained = 0;
  std::vector<StateRecord> records;
  std::optional<Collapse> collapse;  ///< once there are records on both sides of `trained`
  std::string error;                 ///< why there are none: the mitigation does not apply
  bool done = false;
};

/// schema statescope.collapse/1. Throws Error(kUsage), one line that names the file and the field.
Recording read_recording(const std::string& path);
Recording parse_recording(std::string_view text, const std::string& name);

/// Whether the file begins as a recording does: to tell what was dropped.
bool is_recording(const std::string& path);

/// The model of a generated layer.
Checkpoint generate(const GeneratedLayer& layer);

struct RecordingRequest {
  std::string checkpoint;  ///< a folder; empty: the generated layer
  GeneratedLayer layer;
  std::string device;
  std::string
      text;  ///< a file that is read byte by byte, again and again; empty: newlines, the papers' probe
  std::int64_t tokens = 2048, trained = 256, every = 64;
};

class Recordings {
 public:
  /// Opens the files where the list is new; empty: what is there stays.
  void want(Session& session, const std::vector<std::string>& files);
  /// Records without a mitigation, then with each of them. The window is the training length; the norm that
  /// is kept is the largest that the run without a mitigation has within it.
  void measure(Session& session, const RecordingRequest& request);
  std::vector<std::shared_ptr<const Recording>> all() const;
  /// Why a file or the model was not opened; else empty.
  std::string error() const;

 private:
  void record(Session& session, const RecordingRequest& request, const Watch& watch);
  void put(std::size_t place, Recording recording);

  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<const Recording>> all_;
  std::string error_;

  std::vector<std::string> asked_;  // of the interface's thread
};

}  // namespace statescope::gui
