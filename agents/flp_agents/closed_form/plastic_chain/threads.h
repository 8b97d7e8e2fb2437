// Runs teams of threads through all lifetimes.

#pragma once

#include <atomic>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#include "rollout.h"

namespace {

// Calls `run(thread)` for 0..threads, each on a thread of its own, the first on the caller's. Whether there were enough
// threads: if not, none of them has run.
template <class Run>
bool on_threads(long threads, Run run) {
  enum { kWait, kRun, kEnd };
  std::atomic<int> order{kWait};
  std::vector<std::thread> started;
  const auto give = [&](int what) { order.store(what, std::memory_order_release); };
  bool enough = true;
  try {
    for (long k = 1; k < threads; ++k)
      started.emplace_back([&, k] {
        int what;
        while ((what = order.load(std::memory_order_acquire)) == kWait) std::this_thread::yield();
        if (what == kRun) run(k);
      });
  } catch (...) {
    enough = false;
  }
  give(enough ? kRun : kEnd);
  if (enough) run(0);
  for (auto& thread : started) thread.join();
  return enough;
}

// Calls `work(layout, member, lifetime, thread)` for every member of every team and each of the team's lifetimes.
// Returns what the functions of the interface return.
template <class T, class Work>
int for_each_lifetime(const FlpChain& chain, Work work) {
  try {
    const Layout<T> layout(chain);
    const long teams = layout.teams(), team_size = layout.members_per_team(), threads = teams * team_size;
    std::vector<std::unique_ptr<Team<T>>> all_teams;
    std::vector<std::unique_ptr<Member<T>>> members;
    for (long k = 0; k < threads; ++k) {
      if (k % team_size == 0) all_teams.push_back(std::make_unique<Team<T>>(layout));
      members.push_back(std::make_unique<Member<T>>(layout, *all_teams.back(), k / team_size, k % team_size));
    }
    const bool done = on_threads(threads, [&](long k) {
      for (long e = k / team_size; e < chain.lifetimes; e += teams) work(layout, *members[k], e, k);
    });
    return done ? 0 : 2;
  } catch (const std::bad_alloc&) {
    return 1;
  }
}

}  // namespace
