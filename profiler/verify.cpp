#include "profiler/verify.h"

#include <algorithm>
#include <optional>

#include <statescope/error.h>

#include "runtime/check/cases.h"
#include "runtime/cpu/reference.h"

#include "profiler/case_file.h"
#include "profiler/oracle.h"

namespace statescope {
namespace {

using Devices = std::vector<std::shared_ptr<Device>>;

/// What one row of the table is about.
struct Kind {
  Rule rule;
  Pass pass;
  Form form;
  DType dtype;
  Series series = Series::kProduction;
  Division division = Division::kSubheads;
  bool front_end = false;
};

VerifyRow row_of(const Device& device, const Kind& kind, const std::string& source) {
  VerifyRow row;
  row.device = device.info().name;
  row.source = source;
  row.rule = kind.rule;
  row.pass = kind.pass;
  row.form = kind.form;
  row.dtype = kind.dtype;
  row.series = kind.series;
  row.division = kind.division;
  row.front_end = kind.front_end;
  return row;
}

bool implements(const Device& device, const Kind& kind) {
  Problem problem;
  problem.rule = kind.rule;
  problem.pass = kind.pass;
  problem.form = kind.form;
  problem.dtype = kind.dtype;
  problem.series = kind.series;
  problem.division = kind.division;
  if (kind.front_end) problem = with_front_end(problem);
  return is_implemented(problem, device.info().limits);
}

/// Runs one problem and adds what came of it to the row.
void run_case(Device& device, const Problem& problem, const TensorSet& inputs, const TensorSet& reference,
              const std::string& name_of_case, VerifyRow& row) {
  std::unique_ptr<Execution> execution;
  try {
    execution = device.prepare(device.plan(problem));
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::kRefused) throw;
    ++row.refused;
    if (row.detail.empty()) row.detail = e.what();
    return;
  }
  execution->upload(inputs);
  execution->poison();
  execution->run();
  const auto errors = compare_outputs(execution->plan().problem, execution->download(), reference);
  const OutputError& bad = worst(errors);
  if (row.passed + row.failed == 0 || !(bad.error / bad.tolerance <= row.worst_error / row.tolerance)) {
    row.worst_error = bad.error;
    row.tolerance = bad.tolerance;
    row.worst_slot = name(bad.slot);
    if (!bad.ok()) row.detail = name_of_case + ": " + std::string(name(bad.slot));
  }
  ++(bad.ok() ? row.passed : row.failed);
}

void settle(VerifyRow& row) {
  row.status = row.failed > 0   ? VerifyStatus::kFailed
               : row.passed > 0 ? VerifyStatus::kPassed
                                : VerifyStatus::kMissing;
}

/// Production kernels in every form and type, and behind a front end; the comparison kernels, which are
/// recurrent and forward, in both divisions.
std::vector<Kind> matrix() {
  std::vector<Kind> kinds;
  for (Rule rule : kRules) {
    for (Pass pass : kPasses) {
      for (Form form : {Form::kRecurrent, Form::kChunked}) {
        if (pass == Pass::kStep && form == Form::kChunked) continue;
        for (DType dtype : kRunTypes) kinds.push_back({rule, pass, form, dtype});
      }
      for (DType dtype : kRunTypes) {
        kinds.push_back(
            {rule, pass, Form::kRecurrent, dtype, Series::kProduction, Division::kSubheads, true});
      }
    }
    for (Division division : {Division::kSubheads, Division::kNaive}) {
      for (DType dtype : kRunTypes) {
        kinds.push_back({rule, Pass::kForward, Form::kRecurrent, dtype, Series::kComparison, division});
      }
    }
  }
  return kinds;
}

/// The cpu has one text for every series: its comparison rows would repeat the production ones.
bool concerns(const Device& device, const Kind& kind) {
  return device.info().api != Api::kCpu || kind.series == Series::kProduction ||
         kind.division == Division::kNaive;
}

std::string describe_kind(const Kind& kind) {
  return std::string(name(kind.rule)) + " " + std::string(name(kind.pass)) + " " +
         std::string(name(kind.form)) + " " + std::string(name(kind.dtype)) +
         (kind.series == Series::kComparison ? " " + std::string(name(kind.division)) + " comparison" : "") +
         (kind.front_end ? " front end" : "");
}

void verify_matrix(const Devices& devices, bool full, const std::function<void(const VerifyRow&)>& on_row,
                   const Watch& watch) {
  for (const Kind& kind : matrix()) {
    std::vector<std::pair<Device*, VerifyRow>> runs;
    for (const auto& device : devices) {
      if (!concerns(*device, kind)) continue;
      if (implements(*device, kind)) {
        runs.emplace_back(device.get(), row_of(*device, kind, "generated"));
      } else {
        on_row(row_of(*device, kind, "generated"));
      }
    }
    if (runs.empty()) continue;
    const auto all =
        kind.front_end ? front_end_cases(kind.rule, kind.pass, kind.dtype, full)
                       : cases(kind.rule, kind.pass, kind.form, kind.dtype, kind.series, kind.division, full);
    for (std::size_t i = 0; i < all.size(); ++i) {
      watch.check();
      watch.say(describe_kind(kind) + " " + std::to_string(i + 1) + "/" + std::to_string(all.size()));
      const Problem& problem = all[i].problem;
      const TensorSet inputs = round_inputs(problem, generate_inputs(problem, all[i].seed, all[i].gates));
      const TensorSet reference = cpu::run_recurrent(problem, inputs);
      for (auto& [device, row] : runs) run_case(*device, problem, inputs, reference, all[i].name(), row);
    }
    for (auto& [device, row] : runs) {
      settle(row);
      on_row(row);
    }
  }
}

std::vector<std::filesystem::path> files_of(const std::vector<std::filesystem::path>& inputs) {
  std::vector<std::filesystem::path> files;
  for (const auto& input : inputs) {
    if (!std::filesystem::is_directory(input)) {
      files.push_back(input);
      continue;
    }
    const std::size_t before = files.size();
    for (const auto& entry : std::filesystem::directory_iterator(input)) {
      if (entry.is_regular_file() && entry.path().extension() == ".safetensors")
        files.push_back(entry.path());
    }
    if (files.size() == before) {
      throw Error(ErrorKind::kUsage, input.string() + ": found no *.safetensors, wanted at least one case");
    }
    std::sort(files.begin() + static_cast<std::ptrdiff_t>(before), files.end());
  }
  return files;
}

/// Stored outputs judge float32; 16-bit inputs are rounded first, so their reference is computed from the
/// rounded ones.
TensorSet reference_of(const CaseFile& file, const Problem& problem, const TensorSet& rounded) {
  if (problem.dtype != DType::kF32) return cpu::run_recurrent(problem, rounded);
  TensorSet stored;
  for (Slot slot : kSlots) {
    if (is_input(slot) || !takes_part(problem, slot)) continue;
    if (!file.tensors[slot].present()) {
      throw Error(ErrorKind::kUsage, file.path.string() + ": no tensor '" + std::string(name(slot)) +
                                         "', wanted the outputs of a " + std::string(name(problem.pass)) +
                                         " pass");
    }
    stored[slot] = convert(file.tensors[slot].view(), DType::kF64);
  }
  return stored;
}

void verify_file(const CaseFile& file, const Devices& devices,
                 const std::function<void(const VerifyRow&)>& on_row, const Watch& watch) {
  if (!file.rule)
    throw Error(ErrorKind::kUsage, file.path.string() + ": no metadata rule, wanted one of the rules");
  const std::string source = file.path.filename().string();
  std::vector<Pass> passes{Pass::kForward};
  if (file.tensors[Slot::kDo].present()) passes.push_back(Pass::kBackward);
  for (Pass pass : passes) {
    for (DType dtype : kRunTypes) {
      watch.check();
      watch.say(source + " " + std::string(name(pass)) + " " + std::string(name(dtype)));
      const TensorSet inputs = inputs_of(file, pass);
      Problem problem = problem_of(inputs, *file.rule, pass, file.scale, dtype);
      const TensorSet rounded = round_inputs(problem, inputs);
      const TensorSet reference = reference_of(file, problem, rounded);
      for (Form form : {Form::kRecurrent, Form::kChunked}) {
        problem.form = form;
        for (const auto& device : devices) {
          const Kind kind{
              .rule = *file.rule, .pass = pass, .form = form, .dtype = dtype, .front_end = problem.front_end};
          VerifyRow row = row_of(*device, kind, source);
          if (implements(*device, kind)) {
            run_case(*device, problem, rounded, reference, source, row);
            settle(row);
          }
          on_row(row);
        }
      }
    }
  }
}

}  // namespace

std::string_view name(VerifyStatus status) {
  switch (status) {
    case VerifyStatus::kPassed:
      return "passed";
    case VerifyStatus::kFailed:
      return "FAILED";
    case VerifyStatus::kMissing:
      return "missing";
  }
  return "";
}

void verify(const Devices& devices, const VerifyOptions& options,
            const std::function<void(const VerifyRow&)>& on_row, const Watch& watch) {
  if (options.inputs.empty()) return verify_matrix(devices, options.full, on_row, watch);
  for (const auto& path : files_of(options.inputs)) verify_file(read_case_file(path), devices, on_row, watch);
}

}  // namespace statescope
