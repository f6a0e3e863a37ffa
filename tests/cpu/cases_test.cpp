// The matrix of sizes holds what DESIGN section 4 lists.
#include "runtime/check/cases.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "tests/printers.h"

namespace statescope {
namespace {

using Values = std::vector<std::int64_t>;

std::int64_t work(const Problem& p) {
  return p.seq_len * p.expansion * p.key_dim * p.value_dim * p.heads * p.batch;
}

/// Every listed thing about a case, in one row: T, E, K, V, h0, packed, Hq < H, gates, dht.
Values traits(const Case& c) {
  const Problem& p = c.problem;
  return {p.seq_len,
          p.expansion,
          p.key_dim,
          p.value_dim,
          p.initial_state,
          p.packed,
          p.qk_heads < p.heads,
          static_cast<int>(c.gates),
          p.final_state_gradient};
}

std::vector<Values> listed(Rule rule, Pass pass) {
  std::vector<Values> lists = {{1, 15, 16, 17, 63, 64, 65, 127, 200, 1000},
                               {1, 2, 3, 8, 16},
                               {32, 64, 128, 256},
                               {32, 64, 128, 256},
                               {0, 1},
                               {0, 1},
                               {0, 1},
                               {0, 1, 2},
                               {0}};
  if (pass == Pass::kStep) {
    lists[0] = {1};
    lists[4] = {1};
    lists[5] = {0};
  }
  if (!has_gate(rule)) lists[7] = {static_cast<int>(Gates::kNone)};
  if (pass == Pass::kBackward) lists[8] = {0, 1};
  return lists;
}

class Matrix : public testing::TestWithParam<std::tuple<Rule, Pass, Form, DType>> {
 protected:
  std::vector<Case> all() const {
    const auto& [rule, pass, form, dtype] = GetParam();
    return cases(rule, pass, form, dtype);
  }
};

TEST_P(Matrix, HoldsEveryPairAndEveryValueTwice) {
  const auto& [rule, pass, form, dtype] = GetParam();
  const auto lists = listed(rule, pass);
  std::vector<Values> rows;
  for (const Case& c : all()) rows.push_back(traits(c));
  EXPECT_GE(rows.size(), 60u);
  EXPECT_LE(rows.size(), 66u);
  for (std::size_t a = 0; a < lists.size(); ++a) {
    for (std::int64_t x : lists[a]) {
      EXPECT_GE(std::ranges::count_if(rows, [&](const Values& row) { return row[a] == x; }), 2)
          << "factor " << a << " value " << x;
      for (std::size_t b = a + 1; b < lists.size(); ++b) {
        for (std::int64_t y : lists[b]) {
          EXPECT_TRUE(
              std::ranges::any_of(rows, [&](const Values& row) { return row[a] == x && row[b] == y; }))
              << "factors " << a << " and " << b << " values " << x << " and " << y;
        }
      }
    }
  }
}

TEST_P(Matrix, IsValidBoundedAndNamed) {
  const auto& [rule, pass, form, dtype] = GetParam();
  std::set<std::string> names;
  std::set<std::uint64_t> seeds;
  bool unequal_dims = false, empty_sequence = false;
  for (const Case& c : all()) {
    const Problem& p = c.problem;
    EXPECT_NO_THROW(check(p)) << c.name();
    EXPECT_EQ(p.rule, rule);
    EXPECT_EQ(p.pass, pass);
    EXPECT_EQ(p.form, form);
    EXPECT_EQ(p.dtype, dtype);
    EXPECT_LE(work(p), kCaseWork) << c.name();
    EXPECT_TRUE(std::ranges::all_of(c.name(), [](unsigned char x) { return std::isalnum(x) || x == '_'; }));
    names.insert(c.name());
    seeds.insert(c.seed);
    unequal_dims |= p.key_dim != p.value_dim;
    empty_sequence |= p.sequences > 3 && p.packed;  // generate_inputs leaves one of more than three empty
  }
  EXPECT_EQ(names.size(), all().size());
  EXPECT_EQ(seeds.size(), all().size());
  EXPECT_TRUE(unequal_dims);
  EXPECT_TRUE(empty_sequence || pass == Pass::kStep);
}

TEST_P(Matrix, IsTheSameEachTime) {
  const auto a = all(), b = all();
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].problem, b[i].problem);
    EXPECT_EQ(a[i].seed, b[i].seed);
  }
}

TEST_P(Matrix, FullStartsWithTheDefaultAndGoesFurther) {
  const auto& [rule, pass, form, dtype] = GetParam();
  const auto some = all();
  const auto full = cases(rule, pass, form, dtype, Series::kProduction, Division::kSubheads, true);
  ASSERT_GE(full.size(), 2 * some.size() - 6);
  for (std::size_t i = 0; i < some.size(); ++i) EXPECT_EQ(full[i].problem, some[i].problem);
  std::int64_t longest = 0;
  for (const Case& c : full) {
    EXPECT_NO_THROW(check(c.problem)) << c.name();
    EXPECT_LE(work(c.problem), 4 * kCaseWork);
    longest = std::max(longest, c.problem.seq_len);
  }
  EXPECT_EQ(longest, pass == Pass::kStep ? 1 : 4096);
}

std::vector<std::tuple<Rule, Pass, Form, DType>> combinations() {
  std::vector<std::tuple<Rule, Pass, Form, DType>> all;
  for (Rule rule : kRules) {
    for (Pass pass : kPasses) {
      for (Form form : {Form::kRecurrent, Form::kChunked}) {
        if (pass == Pass::kStep && form == Form::kChunked) continue;
        for (DType dtype : kRunTypes) all.emplace_back(rule, pass, form, dtype);
      }
    }
  }
  return all;
}

std::string name_of(const testing::TestParamInfo<std::tuple<Rule, Pass, Form, DType>>& combination) {
  const auto& [rule, pass, form, dtype] = combination.param;
  return std::string(name(rule)) + "_" + std::string(name(pass)) + "_" + std::string(name(form)) + "_" +
         std::string(name(dtype));
}
INSTANTIATE_TEST_SUITE_P(Every, Matrix, testing::ValuesIn(combinations()), name_of);

TEST(Cases, StepHasNoChunkedSizes) {
  EXPECT_TRUE(cases(Rule::kSsd, Pass::kStep, Form::kChunked, DType::kF32).empty());
}

TEST(Cases, ComparisonSizesFitALongKey) {
  for (Division division : {Division::kSubheads, Division::kNaive}) {
    for (Pass pass : kPasses) {
      const auto all = cases(Rule::kGla, pass, Form::kRecurrent, DType::kF32, Series::kComparison, division);
      EXPECT_GE(all.size(), 20u);
      EXPECT_LE(all.size(), 30u);
      for (const Case& c : all) {
        EXPECT_NO_THROW(check(c.problem)) << c.name();
        EXPECT_EQ(c.problem.series, Series::kComparison);
        EXPECT_EQ(c.problem.division, division);
        EXPECT_LE(c.problem.expansion * c.problem.key_dim, 512);
      }
    }
  }
}

}  // namespace
}  // namespace statescope
