#include "app/gui/worker.h"

#include <algorithm>
#include <exception>
#include <utility>

namespace statescope::gui {

Worker::Worker(std::function<void()> wake) : wake_(std::move(wake)), thread_([this] { loop(); }) {}

Worker::~Worker() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    queue_.clear();
    requeue_ = false;
    interrupt_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Worker::post(const std::string& name, int priority, Job job) {
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(queue_, [&](const Entry& entry) { return entry.name == name; });
    const auto later = std::find_if(queue_.begin(), queue_.end(),
                                    [&](const Entry& entry) { return entry.priority > priority; });
    queue_.insert(later, {name, priority, std::move(job)});
    if (busy_ && running_.name == name) {
      interrupt_ = true;
      requeue_ = false;
    } else if (busy_ && running_.priority > priority && !interrupt_) {
      interrupt_ = true;
      requeue_ = true;
    }
  }
  changed_.notify_all();
}

void Worker::cancel() {
  const std::lock_guard lock(mutex_);
  queue_.clear();
  requeue_ = false;
  if (busy_) interrupt_ = true;
}

Worker::State Worker::state() const {
  const std::lock_guard lock(mutex_);
  return {busy_ || !queue_.empty(), running_.name, step_, queue_.size(), error_};
}

void Worker::loop() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stop_ || !queue_.empty(); });
    if (stop_) return;
    running_ = std::move(queue_.front());
    queue_.pop_front();
    busy_ = true;
    interrupt_ = false;
    requeue_ = false;
    step_.clear();
    const Job job = running_.job;
    const Watch watch{[this](const std::string& line) {
                        {
                          const std::lock_guard inner(mutex_);
                          step_ = line;
                        }
                        wake_();
                      },
                      [this] { return interrupt_.load(); }};
    lock.unlock();
    std::string error;
    bool cancelled = false;
    try {
      job(watch);
    } catch (const Cancelled&) {
      cancelled = true;
    } catch (const std::exception& e) {
      error = e.what();
    }
    lock.lock();
    busy_ = false;
    step_.clear();
    if (!error.empty()) {
      error_ = running_.name + ": " + error;
      failed_ = running_.name;
    } else if (!cancelled && failed_ == running_.name) {
      error_.clear();
      failed_.clear();
    }
    if (cancelled && requeue_) {
      const bool replaced = std::any_of(queue_.begin(), queue_.end(),
                                        [&](const Entry& entry) { return entry.name == running_.name; });
      const auto later = std::find_if(queue_.begin(), queue_.end(),
                                      [&](const Entry& entry) { return entry.priority > running_.priority; });
      if (!replaced) queue_.insert(later, std::move(running_));
    }
    running_ = {};
    lock.unlock();
    wake_();
    lock.lock();
  }
}

}  // namespace statescope::gui
