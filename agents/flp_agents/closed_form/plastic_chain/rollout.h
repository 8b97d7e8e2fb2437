// Inner steps one after the other: forward, restored from their activities, and backward.

#pragma once

#include "feedback.h"
#include "layers.h"
#include "rule.h"

namespace {

// Runs through the steps; the weights change in place. Returns the logarithm of how much undoing the steps may magnify
// an error: the sum over steps of the largest log_error_growth of the layers.
template <class T>
inline double Member<T>::forward(long e, T* weights, long start, long stop, T* activity_history, T* weight_history) {
  double growth = 0;
  team.barrier.wait();  // until nobody is in the lifetime before
  for (long t = start; t < stop; ++t) {
    const long slot = history_slot(e, t - start);
    T* activity = activity_history ? activity_history + slot * layout.activity_size : team.buffers[t & 1].activity;
    if (weight_history) store_weights(weights, weight_history + slot * layout.weight_size);
    growth += forward_step({e, t, activity}, weights, activity);
  }
  return growth;
}

// The weights before each of the steps, from stored activities alone.
template <class T>
inline void Member<T>::replay(long e, T* weights, long start, long stop, const T* activity_history, T* weight_history) {
  team.barrier.wait();
  for (long t = start; t < stop; ++t) {
    const long slot = history_slot(e, t - start);
    const Step<T> step = {e, t, activity_history + slot * layout.activity_size};
    store_weights(weights, weight_history + slot * layout.weight_size);
    restore_step(step);
    for (long i = 0; i < chain.layers; ++i) rule_step(step, i, weights);
  }
}

// From the gradient of the weights after step stop - 1 to that of those before step start, in place. Without a history
// of the weights, the rule's steps are undone, in place.
template <class T>
inline void Member<T>::backward(long e, T* grad, T* weights, long start, long stop, const T* activity_history,
                         T* weight_history) {
  team.barrier.wait();
  for (long t = stop - 1; t >= start; --t) {
    const long slot = history_slot(e, t - start);
    const Step<T> step = {e, t, activity_history + slot * layout.activity_size};
    restore_step(step);
    backward_step(step, grad, weight_history ? weight_history + slot * layout.weight_size : weights, !weight_history);
  }
}

// One inner step: layers, feedback, rule; `activity` is the step's, to be written.
template <class T>
inline double Member<T>::forward_step(const Step<T>& step, T* weights, T* activity) {
  load_features(step);
  team.barrier.wait();
  for (long i = 0; i < chain.layers; ++i) {
    layer_forward(step, i, weights, activity);
    if (i + 1 < chain.layers) share_activity(step, i);
    team.barrier.wait();
  }
  if (chain.predictions) write_predictions(step);
  compute_signal(step);
  feedback_forward(step);
  double growth = 0;
  for (long i = 0; i < chain.layers; ++i) {
    rule_step(step, i, weights);
    growth = std::max(growth, log_error_growth(i));
  }
  return growth;
}

// What forward_step computed before the rule's step, from the activities that it stored.
template <class T>
inline void Member<T>::restore_step(const Step<T>& step) {
  load_features(step);
  for (long i = 0; i + 1 < chain.layers; ++i) share_activity(step, i);
  compute_signal(step);
  transpose(signal.data(), layout.batch_stride, chain.outputs, chain.batch, signal_by_sample.data(),
            layout.output_stride);
  feedback_forward(step);
  team.barrier.wait();
}

// One inner step backwards, after restore_step: rule, feedback, layers. `weights` are those after the step, if it is to
// be undone, else before it.
template <class T>
inline void Member<T>::backward_step(const Step<T>& step, T* grad, T* weights, bool undo) {
  for (long i = 0; i < chain.layers; ++i) rule_backward(step, i, grad, weights, undo);
  if (chain.presynaptic_after_feedback) {
    team.barrier.wait();
    for (long i = 1; i < chain.layers; ++i) add_shares(i, grad_after_feedback[i - 1].data());
  }
  feedback_backward(step);
  team.barrier.wait();
  signal_backward();
  if (chain.grad_predictions) add_prediction_gradients(step);
  layers_backward(step, grad, weights);
}

// stored = W, own rows of all layers.
template <class T>
inline void Member<T>::store_weights(const T* weights, T* stored) const {
  for (long i = 0; i < chain.layers; ++i)
    std::memcpy(stored + own_weights(i), weights + own_weights(i), rows[i] * layout.weight_stride[i] * sizeof(T));
}

// Where own outputs of a step begin in what has the shape of the targets.
template <class T>
inline long Member<T>::output_offset(const Step<T>& step) const {
  return (step.lifetime * chain.steps + step.time) * chain.batch * chain.outputs + first_row[chain.layers - 1];
}

// prediction = x_N: (B, rows).
template <class T>
inline void Member<T>::write_predictions(const Step<T>& step) const {
  const long top = chain.layers - 1;
  transpose(step.activity + own_activity(top), layout.batch_stride, rows[top], chain.batch,
            out(chain.predictions) + output_offset(step), chain.outputs);
}

// d x_N += d prediction (rows, B).
template <class T>
inline void Member<T>::add_prediction_gradients(const Step<T>& step) {
  const T* grad = in(chain.grad_predictions) + output_offset(step);
  std::vector<T>& to = grad_activity[chain.layers - 1];
  for (long n = 0; n < chain.batch; ++n)
    for (long r = 0; r < rows[chain.layers - 1]; ++r) to[r * layout.batch_stride + n] += grad[n * chain.outputs + r];
}

}  // namespace
