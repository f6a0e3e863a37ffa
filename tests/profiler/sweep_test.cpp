// What a sweep makes of cells that cannot be measured.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <new>

#include "profiler/sweep.h"
#include "tests/temporary_directory.h"

#include <statescope/error.h>

namespace statescope {
namespace {

/// The cpu, on a host whose memory ends at a given E.
class SmallHost : public Device {
 public:
  explicit SmallHost(std::int64_t most) : most_(most) { info_.description = "cpu of a small host"; }
  const DeviceInfo& info() const override { return info_; }
  Plan plan(const Problem& problem) override { return cpu_->plan(problem); }
  std::unique_ptr<Execution> prepare(const Plan& plan, int input_sets) override {
    if (plan.problem.expansion > most_) throw std::bad_alloc();
    return cpu_->prepare(plan, input_sets);
  }
  Ceilings measure_ceilings() override { return {1e9, 1e9, 0}; }

 private:
  std::int64_t most_;
  std::shared_ptr<Device> cpu_ = open_device(discover(), "cpu");
  DeviceInfo info_ = cpu_->info();
};

SweepOptions small_sweep(std::vector<std::int64_t> expansions) {
  SweepOptions options;
  options.expansions = std::move(expansions);
  options.series = {SweepSeries::kProduction};
  options.seq_len = 16;
  options.heads = 1;
  options.seconds_per_cell = 0.001;
  return options;
}

TEST(Sweep, OutOfHostMemoryFailsACellAndKeepsTheOthers) {
  const TemporaryDirectory cache;  // of ceilings
  setenv("XDG_CACHE_HOME", cache.path().c_str(), 1);
  const SweepResult result = sweep({std::make_shared<SmallHost>(2)}, small_sweep({1, 4, 2}));
  ASSERT_EQ(result.rows.size(), 3u);  // by E
  EXPECT_EQ(result.rows[0].status, SweepStatus::kMeasured);
  EXPECT_EQ(result.rows[1].status, SweepStatus::kMeasured) << result.rows[1].reason;
  EXPECT_EQ(result.rows[2].status, SweepStatus::kFailed);
  EXPECT_NE(result.rows[2].reason.find("out of memory"), std::string::npos) << result.rows[2].reason;
  EXPECT_FALSE(result.rows[2].measurement);
  EXPECT_EQ(exit_code(result), 4);
}

/// Sizes that no machine has are refused as sizes: neither made nor listed launch by launch first.
TEST(Sweep, SizesBeyondEveryMemoryAreRefusedAtOnce) {
  Problem problem;
  problem.seq_len = 256;
  problem.heads = problem.qk_heads = 2;
  problem.expansion = 8'000'000;  // 2.4e12 B
  const DeviceList list = discover();
  for (const DeviceEntry& entry : list.devices) {
    const std::shared_ptr<Device> device = entry.open();
    const auto start = std::chrono::steady_clock::now();
    try {
      device->plan(problem);
      ADD_FAILURE() << device->info().name << " planned " << describe(problem);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kRefused) << e.what();
      EXPECT_NE(std::string(e.what()).find(" B > "), std::string::npos) << e.what();
    }
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5)) << device->info().name;
    EXPECT_THROW(make_oracle(problem, 1), Error);
  }
}

}  // namespace
}  // namespace statescope
