#include "app/cli/sizes.h"

#include <algorithm>
#include <charconv>

#include "app/cli/numbers.h"

#include <statescope/error.h>

namespace statescope::cli {
namespace {

std::vector<SweepSeries> series_of(const std::string& division) {
  if (division == "both") return {std::begin(kSweepSeries), std::end(kSweepSeries)};
  if (division == "naive") return {SweepSeries::kNaive};
  if (division == "subheads") return {SweepSeries::kSubheads, SweepSeries::kProduction};
  throw Error(ErrorKind::kUsage, "--division: found '" + division + "', wanted both, naive or subheads");
}

}  // namespace

void add_size_options(CLI::App& command, SizeOptions& o) {
  command.add_option("--rule", o.rule, "linear, ssd, gla or gated_delta (default gated_delta)");
  command.add_option("--dtype", o.dtype, "f32, bf16 or f16 (default bf16 on GPUs, f32 on software devices)");
  command.add_option("--form", o.form,
                     "of the production kernels: auto, recurrent or chunked (default auto)");
  command.add_option("--heads", o.heads, "H (default 8 on GPUs, 2 on software devices)")
      ->check(positive_count());
  command.add_option("--key-dim", o.key_dim, "K of a subhead (default 128, 64)")->check(positive_count());
  command.add_option("--value-dim", o.value_dim, "V of a head (default 128, 64)")->check(positive_count());
  command.add_option("--seq-len", o.seq_len, "T, tokens (default 4096, 256)")->check(positive_count());
  command.add_option("--batch", o.batch, "B (default 4, 1)")->check(positive_count());
}

SweepOptions sweep_options(const SizeOptions& o) {
  SweepOptions options;
  if (!o.rule.empty()) options.rule = parse_rule(o.rule);
  if (!o.dtype.empty()) options.dtype = parse_run_dtype(o.dtype);
  if (!o.form.empty()) options.form = parse_form(o.form);
  const auto set = [](std::optional<std::int64_t>& target, std::int64_t value) {
    if (value > 0) target = value;
  };
  set(options.batch, o.batch);
  set(options.seq_len, o.seq_len);
  set(options.heads, o.heads);
  set(options.key_dim, o.key_dim);
  set(options.value_dim, o.value_dim);
  return options;
}

void add_sweep_options(CLI::App& command, SweepWords& words) {
  command.add_option("--expansion", words.expansions, "E, with commas between")->capture_default_str();
  add_size_options(command, words.sizes);
  command.add_option("--pass", words.passes, "forward, backward, step, with commas between")
      ->capture_default_str();
  command.add_option("--division", words.division, "both, naive or subheads")->capture_default_str();
  command.add_option("--seconds", words.seconds, "about how long to time a cell")
      ->capture_default_str()
      ->check(positive_number());
}

SweepOptions sweep_options(const SweepWords& words) {
  SweepOptions options = sweep_options(words.sizes);
  options.expansions = parse_numbers(words.expansions, "--expansion");
  options.passes.clear();
  for (const std::string& pass : split(words.passes, "--pass")) options.passes.push_back(parse_pass(pass));
  options.series = series_of(words.division);
  options.seconds_per_cell = words.seconds;
  return options;
}

DType parse_run_dtype(const std::string& text) {
  for (const DType dtype : {DType::kF32, DType::kBf16, DType::kF16}) {
    if (name(dtype) == text) return dtype;
  }
  throw Error(ErrorKind::kUsage, "--dtype: found '" + text + "', wanted f32, bf16 or f16");
}

std::vector<std::string> split(const std::string& text, const std::string& what) {
  std::vector<std::string> words;
  std::size_t start = 0;
  for (;;) {
    const std::size_t comma = text.find(',', start);
    const std::string word = text.substr(start, comma - start);
    if (std::ranges::find(words, word) != words.end())
      throw Error(ErrorKind::kUsage, what + ": found '" + word + "' twice, wanted each once");
    words.push_back(word);
    if (comma == std::string::npos) return words;
    start = comma + 1;
  }
}

std::vector<std::int64_t> parse_numbers(const std::string& text, const std::string& what) {
  std::vector<std::int64_t> numbers;
  for (const std::string& word : split(text, what)) {
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
    if (error != std::errc() || end != word.data() + word.size() || number < 1) {
      throw Error(ErrorKind::kUsage,
                  what + ": found '" + word + "', wanted positive numbers with commas between");
    }
    numbers.push_back(number);
  }
  return numbers;
}

std::vector<std::shared_ptr<Device>> open_devices(const std::string& name) {
  const DeviceList list = discover();
  if (name != "all") return {open_device(list, name)};
  std::vector<std::shared_ptr<Device>> devices;
  for (const DeviceEntry& entry : list.devices) {
    if (entry.info.can_run) devices.push_back(entry.open());
  }
  return devices;
}

}  // namespace statescope::cli
