#include "app/cli/dilution_model.h"

#include <iostream>
#include <nlohmann/json.hpp>

#include "app/cli/terminal.h"
#include "app/cli/text_table.h"
#include "models/key_dilution.h"
#include "models/model_check.h"
#include "models/tokens.h"
#include "profiler/export.h"

#include <statescope/error.h>

namespace statescope::cli {
namespace {

using nlohmann::json;

json head_json(const HeadDilution& head) {
  return {{"layer", head.layer},
          {"head", head.head},
          {"pairs", head.pairs},
          {"expansion", head.expansion},
          {"key_dim", head.key_dim},
          {"interference", head.interference},
          {"independent_expectation", head.theory},
          {"participation_ratio", head.participation},
          {"recall_at_1", head.recall},
          {"cosine_histogram", head.cosines}};
}

}  // namespace

int dilution_of_model(std::shared_ptr<Device> device, const ModelKeysOptions& options) {
  Model model(load_checkpoint(options.model), device);
  std::vector<std::int32_t> ids = tokens_of_file(options.text);
  if (static_cast<std::int64_t>(ids.size()) < options.pairs) {
    throw Error(ErrorKind::kUsage, options.text + ": found " + std::to_string(ids.size()) +
                                       " tokens, wanted " + std::to_string(options.pairs) + " (--pairs)");
  }
  ids.resize(static_cast<std::size_t>(options.pairs));
  const Watch job = watch();
  job.say("keys of " + std::to_string(ids.size()) + " tokens");
  std::vector<LayerKeys> keys = extract_keys(model, ids);
  std::vector<HeadDilution> heads;
  for (std::size_t layer = 0; layer < keys.size(); ++layer) {
    job.check();
    job.say("layer " + std::to_string(layer));
    const auto found = measure_keys(model.recurrence(), static_cast<std::int64_t>(layer), keys[layer],
                                    rule_of(model.config().layers[layer]), options.pairs, options.value_dim,
                                    static_cast<std::uint64_t>(options.seed));
    heads.insert(heads.end(), found.begin(), found.end());
    keys[layer] = {};  // its memory goes to the next layer's products
  }
  clear_progress();
  if (options.json) {
    json j = document("statescope.dilution.model/1");
    j["device"] = to_json(device->info());
    j["model"] = options.model;
    j["text"] = options.text;
    j["heads"] = json::array();
    for (const HeadDilution& head : heads) j["heads"].push_back(head_json(head));
    std::cout << j.dump(2) << "\n";
    return 0;
  }
  TextTable table(
      {">layer", ">head", ">n", ">E", ">K", ">interference", ">(n-1)/(EK)", ">directions", ">recall@1"});
  for (const HeadDilution& h : heads) {
    table.add({std::to_string(h.layer), std::to_string(h.head), std::to_string(h.pairs),
               std::to_string(h.expansion), std::to_string(h.key_dim), fixed(h.interference, 3),
               fixed(h.theory, 3), fixed(h.participation, 1), percent(h.recall)});
  }
  table.print(std::cout);
  std::cout << "(n-1)/(EK) is the expectation for independent isotropic subkeys; directions: participation "
               "ratio, at "
               "most min(n, E K).\n";
  return 0;
}

}  // namespace statescope::cli
