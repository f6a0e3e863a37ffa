#include "app/gui/worker.h"

#include <chrono>
#include <future>
#include <stdexcept>

#include <gtest/gtest.h>

namespace statescope::gui {
namespace {

using namespace std::chrono_literals;

void wait_until_idle(const Worker& worker) {
  const auto deadline = std::chrono::steady_clock::now() + 10s;
  while (worker.state().busy && std::chrono::steady_clock::now() < deadline) std::this_thread::sleep_for(1ms);
  ASSERT_FALSE(worker.state().busy);
}

/// Runs until it is told to stop.
void endless(const Watch& watch, std::atomic<int>& starts) {
  ++starts;
  while (true) {
    watch.check();
    std::this_thread::sleep_for(1ms);
  }
}

void wait_for(const std::atomic<int>& counter, int value) {
  const auto deadline = std::chrono::steady_clock::now() + 10s;
  while (counter < value && std::chrono::steady_clock::now() < deadline) std::this_thread::sleep_for(1ms);
  ASSERT_GE(counter, value);
}

TEST(Worker, ANewJobOfTheSameNameReplacesTheOld) {
  std::atomic<int> starts = 0;
  std::string order;
  Worker worker([] {});
  worker.post("a", 1, [&](const Watch& watch) { endless(watch, starts); });
  wait_for(starts, 1);
  worker.post("b", 1, [&](const Watch&) { order += "old "; });
  worker.post("b", 1, [&](const Watch&) { order += "new "; });
  worker.post("a", 1, [&](const Watch&) { order += "a "; });
  wait_until_idle(worker);
  EXPECT_EQ(order, "new a ");
  EXPECT_EQ(starts, 1);
}

TEST(Worker, UrgentWorkInterruptsAndTheInterruptedComesBack) {
  std::atomic<int> starts = 0, urgent = 0;
  Worker worker([] {});
  worker.post("slow", 2, [&](const Watch& watch) {
    if (starts == 0) endless(watch, starts);
    ++starts;
  });
  wait_for(starts, 1);
  worker.post("fast", 1, [&](const Watch&) {
    EXPECT_EQ(starts, 1);
    ++urgent;
  });
  wait_until_idle(worker);
  EXPECT_EQ(urgent, 1);
  EXPECT_EQ(starts, 2);
}

TEST(Worker, CancelStopsAndDropsEverything) {
  std::atomic<int> starts = 0;
  bool ran = false;
  Worker worker([] {});
  worker.post("endless", 1, [&](const Watch& watch) { endless(watch, starts); });
  wait_for(starts, 1);
  worker.post("later", 1, [&](const Watch&) { ran = true; });
  worker.cancel();
  wait_until_idle(worker);
  EXPECT_FALSE(ran);
  EXPECT_TRUE(worker.state().error.empty());
}

TEST(Worker, AFailureIsSaidUntilTheJobSucceeds) {
  Worker worker([] {});
  worker.post("job", 1, [](const Watch&) { throw std::runtime_error("device lost"); });
  wait_until_idle(worker);
  EXPECT_EQ(worker.state().error, "job: device lost");
  worker.post("other", 1, [](const Watch&) {});
  wait_until_idle(worker);
  EXPECT_EQ(worker.state().error, "job: device lost");
  worker.post("job", 1, [](const Watch&) {});
  wait_until_idle(worker);
  EXPECT_TRUE(worker.state().error.empty());
}

TEST(Worker, ProgressIsSeenWhileItRuns) {
  std::promise<void> seen;
  std::atomic<int> wakes = 0;
  Worker worker([&] { ++wakes; });
  worker.post("job", 1, [&](const Watch& watch) {
    watch.say("E 4 naive");
    seen.get_future().wait();
  });
  while (worker.state().step.empty()) std::this_thread::sleep_for(1ms);
  EXPECT_EQ(worker.state().job, "job");
  EXPECT_EQ(worker.state().step, "E 4 naive");
  EXPECT_GE(wakes, 1);
  seen.set_value();
  wait_until_idle(worker);
}

TEST(Worker, DestructionStopsARunningJob) {
  std::atomic<int> starts = 0;
  {
    Worker worker([] {});
    worker.post("endless", 1, [&](const Watch& watch) { endless(watch, starts); });
    wait_for(starts, 1);
  }
  EXPECT_EQ(starts, 1);
}

}  // namespace
}  // namespace statescope::gui
