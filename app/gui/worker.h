// The one thread that runs device work, so that the interface never waits. Jobs are restartable: they keep
// what they have finished elsewhere, so a job that is interrupted for a more urgent one simply runs again.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "profiler/watch.h"

namespace statescope::gui {

class Worker {
 public:
  using Job = std::function<void(const Watch&)>;

  /// `wake` is called from the worker's thread when there is something new to show.
  explicit Worker(std::function<void()> wake);
  /// Cancels what runs and waits for it to notice.
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// Queues a job; one of the same name that waits is replaced, one that runs is cancelled first. A job of
  /// smaller `priority` goes first, and interrupts a running one of larger priority, which is queued again.
  void post(const std::string& name, int priority, Job job);
  /// Drops everything that waits and stops what runs at its next step.
  void cancel();
  /// Something new to show: jobs call it as results arrive.
  void wake() const { wake_(); }

  struct State {
    bool busy = false;
    std::string job, step;  ///< what runs, and what it says it does
    std::size_t waiting = 0;
    std::string error;  ///< of the last job that failed; empty after a job of that name succeeds
  };
  State state() const;

 private:
  struct Entry {
    std::string name;
    int priority = 0;
    Job job;
  };
  void loop();

  std::function<void()> wake_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Entry> queue_;
  Entry running_;
  bool busy_ = false, stop_ = false;
  /// Of the running job: to stop, and whether it comes back.
  std::atomic<bool> interrupt_ = false;
  bool requeue_ = false;
  std::string step_, error_, failed_;
  std::thread thread_;
};

}  // namespace statescope::gui
