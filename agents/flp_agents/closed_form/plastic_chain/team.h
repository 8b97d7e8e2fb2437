// A team of threads that share a lifetime: each member computes rows of its own of every layer, and waits at a barrier
// where a row needs all of the layer below. Teams run through different lifetimes and never wait for each other.

#pragma once

#include <atomic>
#include <thread>
#include <vector>

#include "layout.h"

namespace {

class Barrier {
 public:
  explicit Barrier(int members) : members_(members) {}

  // Returns when all members are here.
  void wait() {
    if (members_ == 1) return;
    const unsigned round = round_.load(std::memory_order_relaxed);
    if (waiting_.fetch_add(1, std::memory_order_acq_rel) + 1 == members_) {
      waiting_.store(0, std::memory_order_relaxed);
      round_.store(round + 1, std::memory_order_release);
      return;
    }
    for (long spin = 0; round_.load(std::memory_order_acquire) == round; ++spin)
      if (spin > 4000) std::this_thread::yield();  // another process may have this core
  }

 private:
  const int members_;
  std::atomic<int> waiting_{0};
  std::atomic<unsigned> round_{0};
};

// What the members of a team share of an inner step. There are two of it, for even and odd steps, so that a member that
// is a step ahead does not overwrite what others still read.
template <class T>
struct StepBuffers {
  T* features = nullptr;           // (in, wide B)
  T* activity = nullptr;           // of all layers, where no history keeps it
  std::vector<T*> inputs_by_sample;          // what a layer multiplies by its weights, (B, wide in)
  std::vector<T*> after_feedback;            // a layer's activity after feedback, (out, wide B)
  std::vector<T*> after_feedback_by_sample;  // of the layer below, (B, wide in)
};

template <class T>
struct Team {
  Barrier barrier;
  StepBuffers<T> buffers[2];
  // Each member's share of the sums over a layer's rows, and so over all members:
  std::vector<T*> grad_inputs;  // (layers, members) pointers to (in, wide B)
  std::vector<T*> grad_signal;  // (members) pointers to (n_y, wide B)

  explicit Team(const Layout<T>& layout) : barrier(static_cast<int>(layout.members_per_team())) {
    storage_.assign(hand_out(layout, nullptr), T(0));
    hand_out(layout, storage_.data());
  }

 private:
  std::vector<T> storage_;

  // Makes all pointers point into `storage`; returns how many values that takes.
  long hand_out(const Layout<T>& layout, T* storage) {
    long used = 0;
    const auto take = [&](long count) {
      T* taken = storage ? storage + used : nullptr;
      used += padded<T>(count);
      return taken;
    };
    const FlpChain& c = layout.chain;
    const long members = layout.members_per_team();
    for (StepBuffers<T>& of : buffers) {
      of = StepBuffers<T>{};
      of.features = take(c.layer[0].in * layout.batch_stride);
      of.activity = take(layout.activity_size);
      for (long i = 0; i < c.layers; ++i) {
        const long by_sample = c.batch * layout.weight_stride[i];
        of.inputs_by_sample.push_back(take(by_sample));
        of.after_feedback.push_back(take(c.layer[i].out * layout.batch_stride));
        of.after_feedback_by_sample.push_back(c.presynaptic_after_feedback && i > 0 ? take(by_sample) : nullptr);
      }
    }
    grad_inputs.clear();
    grad_signal.clear();
    for (long i = 0; i < c.layers * members; ++i)
      grad_inputs.push_back(take(c.layer[i / members].in * layout.batch_stride));
    for (long m = 0; m < members; ++m) grad_signal.push_back(take(c.outputs * layout.batch_stride));
    return used;
  }
};

}  // namespace
