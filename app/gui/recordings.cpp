#include "app/gui/recordings.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include "models/tokens.h"

#include <statescope/error.h>

#include "app/gui/axis.h"
#include "app/gui/quantity.h"
#include "profiler/json_fields.h"

namespace statescope::gui {

/// A head in a file: the statistics beside its place.
struct StoredHead {
  std::size_t layer = 0, head = 0;
  HeadStatistics statistics;
};
struct StoredRecord {
  std::int64_t tokens = 0;
  double loss = 0;
  std::vector<StoredHead> heads;
};

template <typename Visit, MaybeConst<StoredHead> P>
void visit_fields(Visit& visit, P& stored) {
  visit("layer", stored.layer);
  visit("head", stored.head);
  visit("mean", stored.statistics.mean);
  visit("variance", stored.statistics.variance);
  visit("rms", stored.statistics.rms);
  visit("median", stored.statistics.median);
  visit("max", stored.statistics.max);
  visit("log_decay", stored.statistics.log_decay);
}
template <typename Visit, MaybeConst<StoredRecord> P>
void visit_fields(Visit& visit, P& record) {
  visit("tokens", record.tokens);
  visit("loss", record.loss);
  visit("heads", record.heads);
}

namespace {

// Behind the keys and the throughput of Explore: this may take minutes.
constexpr int kPriority = 3;
constexpr std::uint64_t kSeed = 5;
constexpr MitigationKind kKinds[] = {MitigationKind::kNone, MitigationKind::kForgetMore,
                                     MitigationKind::kWindow, MitigationKind::kNormalise};

StateRecord restore(const StoredRecord& stored, const std::string& where) {
  using json_fields::fail;
  constexpr std::size_t kMost = 4096;
  StateRecord record{stored.tokens, stored.loss, {}};
  for (const StoredHead& head : stored.heads) {
    if (head.layer > kMost || head.head > kMost) fail(where + ".heads", "more than 4096 layers or heads");
    if (record.layers.size() <= head.layer) record.layers.resize(head.layer + 1);
    auto& heads = record.layers[head.layer];
    if (head.head != heads.size()) fail(where + ".heads", "heads of a layer out of order");
    heads.push_back(head.statistics);
  }
  return record;
}

void find(Recording& recording) {
  recording.collapse.reset();
  const auto& records = recording.records;
  if (records.empty() || records.front().tokens > recording.trained ||
      records.back().tokens <= recording.trained)
    return;
  recording.collapse = find_collapse(records, recording.trained);
}

std::vector<std::int32_t> input_of(const RecordingRequest& request, std::int64_t vocabulary) {
  const auto text = request.text.empty() ? byte_tokens("\n") : tokens_of_file(request.text);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(request.tokens));
  for (std::size_t i = 0; i < ids.size(); ++i) {
    ids[i] = text[i % text.size()];
    if (ids[i] >= vocabulary) {
      throw Error(ErrorKind::kUsage, "found byte " + std::to_string(ids[i]) +
                                         ", the model's vocabulary has " + std::to_string(vocabulary) +
                                         " tokens");
    }
  }
  return ids;
}

/// Elements of a head's state.
double state_width(const Mixer& mixer) {
  if (const auto* linear = std::get_if<LinearMixer>(&mixer))
    return static_cast<double>(linear->states() * linear->state_key_dim() * linear->value_dim);
  if (const auto* mamba = std::get_if<Mamba2Mixer>(&mixer))
    return static_cast<double>(mamba->head_dim * mamba->state_size);
  return 0;
}

double largest_norm(const Recording& recording, const ModelConfig& config) {
  double most = 0;
  for (const StateRecord& record : recording.records) {
    if (record.tokens > recording.trained) continue;
    for (std::size_t layer = 0; layer < record.layers.size(); ++layer) {
      for (const HeadStatistics& head : record.layers[layer])
        most = std::max(most, head.rms * std::sqrt(state_width(config.layers[layer])));
    }
  }
  return most;
}

std::string parameters_of(const Mitigation& m) {
  switch (m.kind) {
    case MitigationKind::kForgetMore: {
      char text[64];
      std::snprintf(text, sizeof text, "α × %g, keys × %g", m.decay_factor, m.write_factor);
      return text;
    }
    case MitigationKind::kWindow:
      return "r = " + grouped(m.window) + " tokens";
    case MitigationKind::kNormalise:
      return "p = " + plot::format_value(m.norm);
    case MitigationKind::kNone:
      break;
  }
  return "";
}

}  // namespace

Recording parse_recording(std::string_view text, const std::string& name) {
  using json_fields::Json;
  try {
    const Json file = Json::parse(text, nullptr, false);
    if (file.is_discarded()) throw Error(ErrorKind::kUsage, "not JSON, or cut short");
    if (!file.is_object() || !file.contains("schema") || file["schema"] != "statescope.collapse/1")
      throw Error(ErrorKind::kUsage, "not a recording, wanted schema statescope.collapse/1");
    Recording recording;
    std::vector<StoredRecord> stored;
    json_fields::Reader reader{file, ""};
    reader("model", recording.model);
    reader("device", recording.device);
    reader("trained", recording.trained);
    reader("mitigation", recording.mitigation);
    reader("records", stored);
    for (std::size_t i = 0; i < stored.size(); ++i) {
      const std::string where = "records[" + std::to_string(i) + "]";
      recording.records.push_back(restore(stored[i], where));
      const auto shape = [](const StateRecord& record) {
        std::vector<std::size_t> heads;
        for (const auto& layer : record.layers) heads.push_back(layer.size());
        return heads;
      };
      if (shape(recording.records.back()) != shape(recording.records.front()))
        json_fields::fail(where + ".heads", "other layers or heads than in the first record");
      if (i > 0 && recording.records[i].tokens <= recording.records[i - 1].tokens)
        json_fields::fail(where + ".tokens", "not past the record before");
    }
    if (stored.empty()) json_fields::fail("records", "empty");
    find(recording);
    recording.done = true;
    return recording;
  } catch (const Error& e) {
    throw Error(e.kind(), name + ": " + e.what());
  }
}

Recording read_recording(const std::string& path) {
  return parse_recording(read_text_file(path), path);
}

bool is_recording(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const json_fields::Json json = json_fields::Json::parse(file, nullptr, false);
  return json.is_object() && json.contains("schema") && json["schema"] == "statescope.collapse/1";
}

Checkpoint generate(const GeneratedLayer& layer) {
  json_fields::Json config = {{"model_type", layer.type},
                              {"num_hidden_layers", 1},
                              {"num_heads", layer.heads},
                              {"vocab_size", 256},
                              {"hidden_size", layer.heads * layer.key_dim}};
  if (layer.type == "mamba2") {
    config.update({{"hidden_size", layer.heads * layer.value_dim / 2},
                   {"head_dim", layer.value_dim},
                   {"state_size", layer.key_dim},
                   {"n_groups", 1}});
  } else if (layer.type == "gated_deltanet") {
    config.update({{"head_dim", layer.key_dim},
                   {"expand_v", static_cast<double>(layer.value_dim) / static_cast<double>(layer.key_dim)}});
  } else {
    config.update({{"expand_k", 1.0},
                   {"expand_v", static_cast<double>(layer.value_dim) / static_cast<double>(layer.key_dim)}});
    if (layer.type == "linear_attn") config["feature_map"] = "elu";
  }
  return random_checkpoint(parse_config(config.dump()), kSeed);
}

void Recordings::want(Session& session, const std::vector<std::string>& files) {
  if (files == asked_) return;
  asked_ = files;
  if (files.empty()) return;
  session.worker().post("opening recordings", 0, [this, files](const Watch& watch) {
    std::vector<std::shared_ptr<const Recording>> opened;
    std::string error;
    try {
      for (const std::string& file : files) {
        watch.say(file);
        opened.push_back(std::make_shared<const Recording>(read_recording(file)));
      }
    } catch (const Error& e) {
      error = e.what();
    }
    const std::lock_guard lock(mutex_);
    error_ = error;
    if (error.empty()) all_ = std::move(opened);
  });
}

void Recordings::put(std::size_t place, Recording recording) {
  auto shared = std::make_shared<const Recording>(std::move(recording));
  const std::lock_guard lock(mutex_);
  if (all_.size() <= place) all_.resize(place + 1, std::make_shared<const Recording>());
  all_[place] = std::move(shared);
}

void Recordings::measure(Session& session, const RecordingRequest& request) {
  asked_.clear();
  {
    const std::lock_guard lock(mutex_);
    all_.clear();
    error_.clear();
  }
  session.worker().post("states", kPriority, [this, &session, request](const Watch& watch) {
    try {
      record(session, request, watch);
    } catch (const Error& e) {
      const std::lock_guard lock(mutex_);
      error_ = e.what();
    }
  });
}

void Recordings::record(Session& session, const RecordingRequest& request, const Watch& watch) {
  watch.say("loading the model");
  const Checkpoint checkpoint =
      request.checkpoint.empty() ? generate(request.layer) : load_checkpoint(request.checkpoint);
  const auto device = session.open(request.device);
  const auto ids = input_of(request, checkpoint.config.vocab_size);
  for (std::size_t i = 0; i < std::size(kKinds); ++i) {
    // A run that was interrupted for something urgent begins with the mitigation that it was at.
    const auto known = all();
    if (i < known.size() && known[i]->done) continue;
    ModelOptions options;
    options.mitigation.kind = kKinds[i];
    options.mitigation.window = request.trained;
    if (kKinds[i] == MitigationKind::kNormalise)
      options.mitigation.norm = largest_norm(*known.front(), checkpoint.config);
    Recording recording;
    recording.mitigation = name(kKinds[i]);
    recording.parameters = parameters_of(options.mitigation);
    recording.model = request.checkpoint.empty() ? "generated " + request.layer.type : request.checkpoint;
    recording.device = device->info().name;
    recording.trained = request.trained;
    try {
      Model model(checkpoint, device, options);
      record_states(model, ids, request.every, [&](const StateRecord& record) {
        watch.check();
        watch.say(recording.mitigation + ": " + std::to_string(record.tokens) + " of " +
                  std::to_string(request.tokens) + " tokens");
        recording.records.push_back(record);
        find(recording);
        put(i, recording);
      });
    } catch (const Error& e) {
      // A mitigation that does not apply is an answer; without one nothing can be shown.
      if (kKinds[i] == MitigationKind::kNone || e.kind() == ErrorKind::kDevice) throw;
      recording.error = e.what();
    }
    recording.done = true;
    put(i, recording);
    session.worker().wake();
  }
}

std::vector<std::shared_ptr<const Recording>> Recordings::all() const {
  const std::lock_guard lock(mutex_);
  return all_;
}

std::string Recordings::error() const {
  const std::lock_guard lock(mutex_);
  return error_;
}

}  // namespace statescope::gui
