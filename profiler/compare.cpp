#include "profiler/compare.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include <statescope/error.h>

#include "profiler/kernel_table.h"

namespace statescope {
namespace {

/// What makes two entries the same configuration, whichever machine ran them and whichever kernel was picked.
struct Key {
  Api api;
  std::string problem;
  bool operator<(const Key& other) const {
    return std::tie(api, problem) < std::tie(other.api, other.problem);
  }
};

std::string label(const CaptureEntry& entry) {
  return std::string(name(entry.series)) + " E" + std::to_string(entry.expansion) + " " +
         describe(entry.problem);
}

/// Entries of a capture by configuration, those of several devices of one api in their order.
std::map<Key, std::vector<std::size_t>> by_key(const Capture& capture) {
  std::map<Key, std::vector<std::size_t>> entries;
  for (std::size_t i = 0; i < capture.entries.size(); ++i) {
    const CaptureEntry& entry = capture.entries[i];
    // The form is what the dispatcher resolved: a change of it is a change to be seen, not another problem.
    CaptureEntry formless = entry;
    formless.problem.form = Form::kAuto;
    entries[{capture.devices[entry.device].info.api, label(formless)}].push_back(i);
  }
  return entries;
}

std::map<std::size_t, std::vector<KernelRow>> rows_by_entry(const Capture& capture) {
  std::map<std::size_t, std::vector<KernelRow>> rows;
  for (KernelRow& row : kernel_table(capture)) rows[row.entry].push_back(std::move(row));
  return rows;
}

std::string status_of(const CaptureEntry& entry) {
  return std::string(name(entry.status)) + (entry.reason.empty() ? "" : ": " + entry.reason);
}

class Comparer {
 public:
  Comparer(const Capture& before, const Capture& after, Comparison& result)
      : before_(before),
        after_(after),
        result_(result),
        before_rows_(rows_by_entry(before)),
        after_rows_(rows_by_entry(after)) {}

  void both(std::size_t before, std::size_t after) {
    warn_of(before_.devices[before_.entries[before].device].info,
            after_.devices[after_.entries[after].device].info);
    const auto& old_rows = before_rows_[before];
    const auto& new_rows = after_rows_[after];
    if (old_rows.empty() && new_rows.empty()) return;  // refused in both
    if (new_rows.empty()) return gone(before, status_of(after_.entries[after]));
    if (old_rows.empty()) return fresh(after);
    // Runs as a whole always match, even when another variant does the work now.
    compare_rows(after, old_rows.front(), new_rows.front());
    for (std::size_t i = 1; i < new_rows.size(); ++i) {
      const auto old_row = std::find_if(old_rows.begin() + 1, old_rows.end(), [&](const KernelRow& row) {
        return row.kernel == new_rows[i].kernel;
      });
      if (old_row != old_rows.end()) compare_rows(after, *old_row, new_rows[i]);
    }
  }

  void gone(std::size_t before, const std::string& why) {
    if (before_rows_[before].empty()) return;
    const CaptureEntry& entry = before_.entries[before];
    CompareRow row;
    row.device = before_.devices[entry.device].info.name;
    row.problem = label(entry);
    row.kernel = entry.kernel;
    row.before = median_interval(before_rows_[before].front().sample);
    row.verdict = Verdict::kGone;
    row.note = why;
    result_.rows.push_back(std::move(row));
  }

  void fresh(std::size_t after) {
    if (after_rows_[after].empty()) return;
    const CaptureEntry& entry = after_.entries[after];
    CompareRow row;
    row.device = after_.devices[entry.device].info.name;
    row.problem = label(entry);
    row.kernel = entry.kernel;
    row.after = median_interval(after_rows_[after].front().sample);
    row.verdict = Verdict::kNew;
    result_.rows.push_back(std::move(row));
  }

 private:
  void compare_rows(std::size_t after, const KernelRow& old_row, const KernelRow& new_row) {
    const CaptureEntry& entry = after_.entries[after];
    CompareRow row = compare_samples(old_row.sample, new_row.sample, result_.threshold);
    row.device = after_.devices[entry.device].info.name;
    row.problem = label(entry);
    row.kernel = new_row.kernel;
    if (old_row.kernel != new_row.kernel) row.note = "was " + old_row.kernel;
    result_.rows.push_back(std::move(row));
  }

  void warn_of(const DeviceInfo& before, const DeviceInfo& after) {
    const auto differ = [&](const char* what, const std::string& a, const std::string& b) {
      if (a != b && warned_.insert(what + a + b).second)
        result_.warnings.push_back(after.name + ": another " + what + ": " + a + ", now " + b);
    };
    differ("device", before.description, after.description);
    differ("driver", before.driver, after.driver);
  }

  const Capture& before_;
  const Capture& after_;
  Comparison& result_;
  std::map<std::size_t, std::vector<KernelRow>> before_rows_, after_rows_;
  std::set<std::string> warned_;
};

int rank(Verdict verdict) {
  return verdict == Verdict::kSlower ? 0 : verdict == Verdict::kGone ? 1 : 2;
}

}  // namespace

std::string_view name(Verdict verdict) {
  switch (verdict) {
    case Verdict::kSame:
      return "same";
    case Verdict::kSlower:
      return "slower";
    case Verdict::kFaster:
      return "faster";
    case Verdict::kNoise:
      return "noise";
    case Verdict::kTooFew:
      return "too few runs";
    case Verdict::kGone:
      return "gone";
    case Verdict::kNew:
      return "new";
  }
  return "";
}

CompareRow compare_samples(const std::vector<double>& before, const std::vector<double>& after,
                           double threshold) {
  CompareRow row;
  row.before = median_interval(before);
  row.after = median_interval(after);
  const auto over = [](double a, double b) { return b > 0 ? a / b : 0; };
  row.ratio = over(row.after.median, row.before.median);
  row.ratio_low = over(row.after.low, row.before.high);
  row.ratio_high = over(row.after.high, row.before.low);
  const bool slower = row.after.median > row.before.median * (1 + threshold);
  const bool faster = row.before.median > row.after.median * (1 + threshold);
  if (!slower && !faster) {
    row.verdict = Verdict::kSame;
  } else if (std::min(before.size(), after.size()) < kFewestRuns) {
    row.verdict = Verdict::kTooFew;
  } else {
    // Half the threshold between the intervals: a clock that starts to drift between two captures is no
    // change.
    const double apart = 1 + threshold / 2;
    if (slower) {
      row.verdict = row.after.low > row.before.high * apart ? Verdict::kSlower : Verdict::kNoise;
    } else {
      row.verdict = row.before.low > row.after.high * apart ? Verdict::kFaster : Verdict::kNoise;
    }
  }
  return row;
}

Comparison compare(const Capture& before, const Capture& after, double threshold) {
  if (!(threshold >= 0) || !std::isfinite(threshold))
    throw Error(ErrorKind::kUsage,
                "compare: found a threshold of " + std::to_string(threshold) + ", wanted 0 or more");
  Comparison result;
  result.threshold = threshold;
  Comparer comparer(before, after, result);
  const auto old_entries = by_key(before);
  auto new_entries = by_key(after);
  bool any = false;
  for (const auto& [key, olds] : old_entries) {
    const std::vector<std::size_t> news =
        new_entries.contains(key) ? new_entries.at(key) : std::vector<std::size_t>{};
    for (std::size_t i = 0; i < std::max(olds.size(), news.size()); ++i) {
      if (i < olds.size() && i < news.size()) {
        comparer.both(olds[i], news[i]);
        any = true;
      } else if (i < olds.size()) {
        comparer.gone(olds[i], "not in the second capture");
      } else {
        comparer.fresh(news[i]);
      }
    }
    new_entries.erase(key);
  }
  if (!any) throw Error(ErrorKind::kUsage, "compare: the captures have no configuration in common");
  for (const auto& [key, news] : new_entries) {
    for (const std::size_t entry : news) comparer.fresh(entry);
  }
  std::ranges::stable_sort(result.rows, [](const CompareRow& a, const CompareRow& b) {
    return std::pair(rank(a.verdict), -a.ratio) < std::pair(rank(b.verdict), -b.ratio);
  });
  return result;
}

int exit_code(const Comparison& comparison) {
  return std::ranges::any_of(comparison.rows, [](const CompareRow& row) {
    return row.verdict == Verdict::kSlower || row.verdict == Verdict::kGone;
  });
}

}  // namespace statescope
