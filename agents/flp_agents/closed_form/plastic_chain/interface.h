// What the library takes and offers. native_engine.py mirrors the structures, field by field.

#pragma once

#ifndef FLP_VALUE
#error "compile with -DFLP_VALUE=float or -DFLP_VALUE=double"
#endif

extern "C" {

// Pointers are to FLP_VALUE unless they say otherwise. A "wide" axis is padded to whole vectors, with zeros in what is
// read; E lifetimes, T inner steps, B samples in a minibatch, n_y outputs.
struct FlpLayer {
  long out, in;
  const void* coefficients;      // (out, wide in), unit included
  const void* min_coefficients;  // (out) the smallest of each row
  const void* max_coefficients;  // (out) the largest
  const void* biases;            // (E, out)
  const void* feedback_weights;  // (out, wide n_y)
  const void* feedback_biases;   // (out)
  double strength;
  void* grad_feedback_weights;   // (teams, out, wide n_y)
  void* grad_feedback_biases;    // (teams, out)
  void* grad_biases;             // (E, out)
};

struct FlpChain {
  long layers, lifetimes, steps, batch, outputs, threads;
  int decay, error_signal, rectified, clamped_output, presynaptic_after_feedback;
  const FlpLayer* layer;
  const void* features;          // (E, T, B, in)
  const void* targets;           // (E, T, B, n_y)
  void* grad_features;           // (E, T, B, in)
  void* grad_coefficients;       // (teams, weight size)
  double* grad_strengths;        // (threads, layers)
  void* predictions;             // (E, T, B, n_y) or null: where flp_forward writes them
  const void* grad_predictions;  // (E, T, B, n_y) or null: what flp_backward adds
};

// Each returns 0 when done, 1 without memory, 2 without threads. They take inner steps start..stop of all lifetimes;
// ChainEngine in description.py says what the arguments are.

int flp_forward(const FlpChain* chain, FLP_VALUE* weights, long start, long stop, FLP_VALUE* activity_history,
                FLP_VALUE* weight_history, double* log_error_growth);

int flp_replay(const FlpChain* chain, FLP_VALUE* weights, long start, long stop, const FLP_VALUE* activity_history,
               FLP_VALUE* weight_history);

int flp_backward(const FlpChain* chain, FLP_VALUE* grad, FLP_VALUE* weights, long start, long stop,
                 const FLP_VALUE* activity_history, FLP_VALUE* weight_history);

// How many sets of gradients there are to sum.
long flp_teams(const FlpChain* chain);

// How many values a vector holds, to a multiple of which everything is padded.
long flp_lanes();

// 0 if this machine can run what was compiled.
int flp_self_test();

}  // extern "C"
