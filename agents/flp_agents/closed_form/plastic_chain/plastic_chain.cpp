// The plastic chain on a CPU: forward, replay and backward as in torch_engine.py, without an allocation or a Python
// call between one inner step and the next. description.py has the mathematics; here is only how it is made fast.
//
// Bottom up: vectors.h and matrices.h (the processor), interface.h (the library's functions), layout.h and team.h
// (memory and threads), member.h (what one thread knows), layers.h, feedback.h and rule.h (the parts of an inner step,
// forward and backward), rollout.h (steps one after the other), threads.h (all lifetimes), self_test.h. This is the one
// file that is compiled; it includes the others.

#include <algorithm>

#include "interface.h"
#include "self_test.h"
#include "threads.h"

extern "C" {

int flp_forward(const FlpChain* chain, FLP_VALUE* weights, long start, long stop, FLP_VALUE* activity_history,
                FLP_VALUE* weight_history, double* log_error_growth) {
  using T = FLP_VALUE;
  return for_each_lifetime<T>(*chain, [=](const Layout<T>& layout, Member<T>& member, long e, long thread) {
    const double growth =
        member.forward(e, weights + e * layout.weight_size, start, stop, activity_history, weight_history);
    log_error_growth[thread] = std::max(log_error_growth[thread], growth);
  });
}

int flp_replay(const FlpChain* chain, FLP_VALUE* weights, long start, long stop, const FLP_VALUE* activity_history,
               FLP_VALUE* weight_history) {
  using T = FLP_VALUE;
  return for_each_lifetime<T>(*chain, [=](const Layout<T>& layout, Member<T>& member, long e, long) {
    member.replay(e, weights + e * layout.weight_size, start, stop, activity_history, weight_history);
  });
}

int flp_backward(const FlpChain* chain, FLP_VALUE* grad, FLP_VALUE* weights, long start, long stop,
                 const FLP_VALUE* activity_history, FLP_VALUE* weight_history) {
  using T = FLP_VALUE;
  return for_each_lifetime<T>(*chain, [=](const Layout<T>& layout, Member<T>& member, long e, long) {
    T* own = weights ? weights + e * layout.weight_size : nullptr;
    member.backward(e, grad + e * layout.weight_size, own, start, stop, activity_history, weight_history);
  });
}

long flp_teams(const FlpChain* chain) { return Layout<FLP_VALUE>(*chain).teams(); }

long flp_lanes() { return kLanes<FLP_VALUE>; }

int flp_self_test() {
  const bool replayed = SelfTest({2, 2, 13, 1, 1, 1, 0, 1, true, false}).passes();
  return replayed && SelfTest({1, 2, 30, 1, 0, 0, 1, 0, false, true}).passes() ? 0 : 1;
}

}  // extern "C"
