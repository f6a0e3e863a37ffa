// Work on every core whose results are added up in a fixed order.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace statescope::cpu {

/// Calls work(0) .. work(count - 1) on threads, and add(i, result) in the order of i, one at a time: sums
/// come out the same whatever the number of threads.
template <typename Work, typename Add>
void work_in_parallel_add_in_order(std::int64_t count, Work work, Add add) {
  std::atomic<std::int64_t> next = 0;
  std::int64_t added = 0;
  std::exception_ptr error;
  std::mutex mutex;
  std::condition_variable turn;
  const auto worker = [&] {
    try {
      for (std::int64_t i = next++; i < count; i = next++) {
        const auto result = work(i);
        std::unique_lock lock(mutex);
        turn.wait(lock, [&] { return added == i || error; });
        if (error) return;
        add(i, result);
        ++added;
        turn.notify_all();
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      error = std::current_exception();
      turn.notify_all();
    }
  };
  const auto threads = std::min<std::int64_t>(count, std::max(1u, std::thread::hardware_concurrency()));
  std::vector<std::jthread> workers;
  try {
    for (std::int64_t i = 1; i < threads; ++i) workers.emplace_back(worker);
  } catch (const std::system_error&) {  // no memory for another thread: fewer do the same
  }
  worker();
  workers.clear();
  if (error) std::rethrow_exception(error);
}

}  // namespace statescope::cpu
