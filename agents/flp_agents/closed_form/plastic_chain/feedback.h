// The feedback of an inner step, and its backward pass.

#pragma once

#include "member.h"

namespace {

// s = y - x_N, or y: (n_y, B).
template <class T>
inline void Member<T>::compute_signal(const Step<T>& step) {
  const T* y = in(chain.targets) + (step.lifetime * chain.steps + step.time) * chain.batch * chain.outputs;
  transpose(y, chain.outputs, chain.batch, chain.outputs, target.data(), layout.batch_stride);
  const T* prediction = step.activity + layout.activity_offset[chain.layers - 1];
  for (long k = 0; k < chain.outputs * layout.batch_stride; ++k)
    signal[k] = chain.error_signal ? target[k] - prediction[k] : target[k];
}

// b_i and what the rule needs of it, in own rows of all layers.
template <class T>
inline void Member<T>::feedback_forward(const Step<T>& step) {
  const long batch_stride = layout.batch_stride;
  for (long i = 0; i < chain.layers; ++i) {
    T* b = own_after_feedback(step, i);
    if (clamped(i))
      std::memcpy(b, target.data() + first_row[i] * batch_stride, rows[i] * batch_stride * sizeof(T));
    else
      layer_feedback(step, i);
    if (chain.decay) compute_square_sums(step, i);
    if (chain.presynaptic_after_feedback && i + 1 < chain.layers)
      transpose(b, batch_stride, rows[i], chain.batch, buffers(step).after_feedback_by_sample[i + 1] + first_row[i],
                layout.weight_stride[i + 1]);
  }
  if (chain.presynaptic_after_feedback) team.barrier.wait();
}

// f_i = relu(B_i s + d_i), or without relu: (rows, n_y) (n_y, B) -> (rows, B).
// b_i = x_i + beta_i (f_i - x_i): (rows, B).
template <class T>
inline void Member<T>::layer_feedback(const Step<T>& step, long i) {
  const FlpLayer& layer = chain.layer[i];
  const long batch_stride = layout.batch_stride, output_stride = layout.output_stride;
  const T* bias = in(layer.feedback_biases) + first_row[i];
  const T* x = step.activity + own_activity(i);
  T* f = feedback[i].data();
  T* b = own_after_feedback(step, i);
  const T strength = T(layer.strength);
  const bool rectified = chain.rectified;
  product<T>(rows[i], layout.batch_vectors(), chain.outputs,
             {in(layer.feedback_weights) + first_row[i] * output_stride, output_stride, 1},
             {signal.data(), batch_stride}, [=](long r, long j, Vector<T> sum) FLP_INLINE {
               const long k = r * batch_stride + j * kLanes<T>;
               sum += bias[r];
               if (rectified) sum = relu<T>(sum);
               store(f + k, sum);
               const Vector<T> own = load(x + k);
               store(b + k, own + strength * (sum - own));
             });
}

// q_i = sum_n b_i^2 (rows).
template <class T>
inline void Member<T>::compute_square_sums(const Step<T>& step, long i) {
  const T* b = own_after_feedback(step, i);
  for (long r = 0; r < rows[i]; ++r) {
    const T* row = b + r * layout.batch_stride;
    square_sums[i][r] = sum_over<T>(chain.batch, [&](auto at_n) { return at_n(row) * at_n(row); });
  }
}

// From d b_i of all layers to d x_i, d beta_i, d B_i, d d_i, and own share of d s; a clamped output passes nothing on.
template <class T>
inline void Member<T>::feedback_backward(const Step<T>& step) {
  std::fill_n(team.grad_signal[number], chain.outputs * layout.batch_stride, T(0));
  for (long i = 0; i < chain.layers; ++i)
    if (clamped(i)) {
      std::fill_n(grad_activity[i].data(), rows[i] * layout.batch_stride, T(0));
    } else {
      mixing_backward(step, i);
      pathway_backward(i);
    }
}

// Through b_i = (1 - beta_i) x_i + beta_i f_i and the pathway's relu, all of (rows, B) but for the sums:
//     d beta_i += sum d b_i * (f_i - x_i);   d x_i = (1 - beta_i) d b_i;   d f_i = beta_i d b_i where f_i > 0;
//     d d_i += sum_n d f_i
// d f_i takes the place of d b_i.
template <class T>
inline void Member<T>::mixing_backward(const Step<T>& step, long i) {
  const FlpLayer& layer = chain.layer[i];
  const long batch_stride = layout.batch_stride;
  const T strength = T(layer.strength);
  const T* x = step.activity + own_activity(i);
  const T* f = feedback[i].data();
  T* grad_x = grad_activity[i].data();
  T* grad = grad_after_feedback[i].data();
  T* grad_biases = out(layer.grad_feedback_biases) + team_number * layer.out + first_row[i];
  double grad_strength = 0;
  for (long r = 0; r < rows[i]; ++r) {
    const long row = r * batch_stride;
    grad_strength += sum_over<T>(chain.batch, [&](auto at_n) {
      return at_n(grad + row) * (at_n(f + row) - at_n(x + row));
    });
    for (long n = row; n < row + batch_stride; n += kLanes<T>) {
      const Vector<T> grad_b = load(grad + n);
      store(grad_x + n, (1 - strength) * grad_b);
      Vector<T> grad_f = strength * grad_b;
      if (chain.rectified) grad_f = load(f + n) > 0 ? grad_f : Vector<T>{};
      store(grad + n, grad_f);
    }
    grad_biases[r] += sum_over<T>(chain.batch, [&](auto at_n) { return at_n(grad + row); });
  }
  chain.grad_strengths[(team_number * layout.members_per_team() + number) * chain.layers + i] += grad_strength;
}

// d B_i += d f_i s^T: (rows, B) (B, n_y) -> (rows, n_y).
// Own share of d s += B_i^T d f_i: (n_y, rows) (rows, B) -> (n_y, B).
template <class T>
inline void Member<T>::pathway_backward(long i) {
  const FlpLayer& layer = chain.layer[i];
  const long batch_stride = layout.batch_stride, output_stride = layout.output_stride;
  const T* grad_f = grad_after_feedback[i].data();
  T* grad_weights = out(layer.grad_feedback_weights) + (team_number * layer.out + first_row[i]) * output_stride;
  product<T>(rows[i], output_stride / kLanes<T>, chain.batch, {grad_f, batch_stride, 1},
             {signal_by_sample.data(), output_stride}, [=](long r, long j, Vector<T> sum) FLP_INLINE {
               T* to = grad_weights + r * output_stride + j * kLanes<T>;
               store(to, load(to) + sum);
             });
  if (!chain.error_signal) return;
  T* grad_signal = team.grad_signal[number];
  product<T>(chain.outputs, layout.batch_vectors(), rows[i],
             {in(layer.feedback_weights) + first_row[i] * output_stride, 1, output_stride}, {grad_f, batch_stride},
             [=](long r, long j, Vector<T> sum) FLP_INLINE {
               T* to = grad_signal + r * batch_stride + j * kLanes<T>;
               store(to, load(to) + sum);
             });
}

// Through s = y - x_N: d x_N -= d s (rows, B), the sum of all members' shares.
template <class T>
inline void Member<T>::signal_backward() {
  const long batch_stride = layout.batch_stride, top = chain.layers - 1;
  for (long m = 0; chain.error_signal && m < layout.members_per_team(); ++m) {
    const T* of_member = team.grad_signal[m] + first_row[top] * batch_stride;
    for (long k = 0; k < rows[top] * batch_stride; ++k) grad_activity[top][k] -= of_member[k];
  }
}

}  // namespace
