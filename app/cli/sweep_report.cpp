#include "app/cli/sweep_report.h"

#include <algorithm>
#include <new>

#include "models/accounting.h"
#include "models/dilution.h"
#include "models/presets.h"

#include <statescope/error.h>

namespace statescope::cli {
namespace {

// n a few times K: E = 1 then mixes values up and E = 16 does not.
constexpr std::int64_t kPairs = 256, kKeyDim = 64;
constexpr int kDraws = 4;
constexpr const char* kModel = "gdn-400m";

const char* label(KeySource source) {
  switch (source) {
    case KeySource::kIndependent:
      return "independent subkeys";
    case KeySource::kLinearExpansion:
      return "expanded keys, linear";
    case KeySource::kSiluExpansion:
      return "expanded keys, SiLU";
  }
  return "";
}

DilutionCurve dilution_curve(Device& device, KeySource source, const std::vector<std::int64_t>& expansions,
                             const Watch& watch) {
  DilutionCurve curve{label(source), source == KeySource::kIndependent, {}};
  for (std::int64_t expansion : expansions) {
    watch.check();
    watch.say("dilution of " + curve.name + ", E " + std::to_string(expansion));
    DilutionOptions what;
    what.pairs = kPairs;
    what.expansion = expansion;
    what.key_dim = what.value_dim = kKeyDim;
    what.trials = kDraws;
    try {
      const DilutionPoint p = measure_dilution(device, source, what);
      curve.points.push_back({expansion, p.interference, p.theory, p.recall});
    } catch (const Error& e) {  // one point less; the cells are worth a report without it
      curve.points.push_back({expansion, 0, 0, 0, e.what()});
    } catch (const std::bad_alloc&) {
      curve.points.push_back({expansion, 0, 0, 0, "out of memory"});
    }
  }
  return curve;
}

Accounting account_of(std::int64_t expansion, ExpansionMethod method) {
  Expansion choice;
  choice.factor = expansion;
  choice.method = method;
  return account(parse_config(preset_config(kModel, choice)));
}

/// The paper's configuration: K = V = 128, bf16.
Problem limits_shape() {
  Problem shape;
  shape.dtype = DType::kBf16;
  shape.seq_len = 4096;
  shape.key_dim = shape.value_dim = 128;
  shape.scale = default_scale(shape.key_dim);
  return shape;
}

}  // namespace

ReportInputs report_inputs(const SweepResult& sweep, Device& device,
                           const std::vector<std::int64_t>& expansions, const Watch& watch) {
  std::vector<std::int64_t> sorted = expansions;
  std::sort(sorted.begin(), sorted.end());
  sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
  ReportInputs inputs;
  inputs.sweep = sweep;
  inputs.dilution_pairs = kPairs;
  inputs.dilution_key_dim = kKeyDim;
  inputs.recall_run = "linear on " + device.info().name + ", V = " + std::to_string(kKeyDim) + ", " +
                      std::to_string(kDraws) + " draws of keys";
  for (KeySource source : kKeySources)
    inputs.dilution.push_back(dilution_curve(device, source, sorted, watch));
  inputs.parameter_model = "Gated DeltaNet 400M (24 layers, width 1024)";
  const auto base = static_cast<double>(account_of(1, ExpansionMethod::kHeadwise).parameters);
  for (std::int64_t expansion : sorted) {
    const Accounting headwise = account_of(expansion, ExpansionMethod::kHeadwise);
    inputs.parameters.push_back({expansion, headwise.query_key_ratio,
                                 account_of(expansion, ExpansionMethod::kNaive).query_key_ratio,
                                 headwise.parameters, static_cast<double>(headwise.parameters) / base - 1});
  }
  inputs.limits_shape = limits_shape();
  inputs.limits = compute_limits(inputs.limits_shape, device_database(), sorted);
  return inputs;
}

}  // namespace statescope::cli
