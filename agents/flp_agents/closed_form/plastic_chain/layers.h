// The layers of an inner step, before feedback, and their backward pass.

#pragma once

#include "member.h"

namespace {

// x_0: own units of the features (B, in), as (in, wide B) and as (B, wide in).
template <class T>
inline void Member<T>::load_features(const Step<T>& step) const {
  const StepBuffers<T>& to = buffers(step);
  const long width = chain.layer[0].in;
  const T* features = in(chain.features) + (step.lifetime * chain.steps + step.time) * chain.batch * width;
  const auto [first, last] = share(width);
  transpose(features + first, width, chain.batch, last - first, to.features + first * layout.batch_stride,
            layout.batch_stride);
  for (long n = 0; n < chain.batch; ++n)
    std::memcpy(to.inputs_by_sample[0] + n * layout.weight_stride[0] + first, features + n * width + first,
                (last - first) * sizeof(T));
}

// x_i = relu(W_i x_{i-1} + c_i), the output layer without relu: (rows, in) (in, B) -> (rows, B).
template <class T>
inline void Member<T>::layer_forward(const Step<T>& step, long i, const T* weights, T* activity) const {
  const long batch_stride = layout.batch_stride, weight_stride = layout.weight_stride[i];
  const T* bias = in(chain.layer[i].biases) + step.lifetime * chain.layer[i].out + first_row[i];
  T* x = activity + own_activity(i);
  const bool hidden = i + 1 < chain.layers;
  product<T>(rows[i], layout.batch_vectors(), chain.layer[i].in, {weights + own_weights(i), weight_stride, 1},
             {input(step, i), batch_stride}, [=](long r, long j, Vector<T> sum) FLP_INLINE {
               sum += bias[r];
               if (hidden) sum = relu<T>(sum);
               store(x + r * batch_stride + j * kLanes<T>, sum);
             });
}

// x_i^T (B, rows), for products over the minibatch in the layer above.
template <class T>
inline void Member<T>::share_activity(const Step<T>& step, long i) const {
  transpose(step.activity + own_activity(i), layout.batch_stride, rows[i], chain.batch,
            buffers(step).inputs_by_sample[i + 1] + first_row[i], layout.weight_stride[i + 1]);
}

// From d x_N, and what of d x_i the feedback and the rule left, to d W_i, d c_i and d x_0, layer by layer from the
// output down. With z_i = W_i x_{i-1} + c_i:
//     d z_i = d x_i where x_i > 0;   d c_i += sum_n d z_i;   d W_i += d z_i x_{i-1}^T;   d x_{i-1} += W_i^T d z_i
template <class T>
inline void Member<T>::layers_backward(const Step<T>& step, T* grad, const T* weights) {
  for (long i = chain.layers - 1; i >= 0; --i) {
    relu_backward(step, i);
    weights_backward(step, i, grad);
    input_backward(i, weights);
    team.barrier.wait();
    if (i > 0) add_shares(i, grad_activity[i - 1].data());
  }
  features_backward(step);
}

// d z_i = d x_i where x_i > 0 (rows, B), in place; the output layer has no relu. d c_i += sum_n d z_i (rows).
template <class T>
inline void Member<T>::relu_backward(const Step<T>& step, long i) {
  const long batch_stride = layout.batch_stride;
  const bool hidden = i + 1 < chain.layers;
  const T* x = step.activity + own_activity(i);
  T* grad = grad_activity[i].data();
  T* grad_biases = out(chain.layer[i].grad_biases) + step.lifetime * chain.layer[i].out + first_row[i];
  for (long r = 0; r < rows[i]; ++r) {
    const long row = r * batch_stride;
    for (long n = row; hidden && n < row + batch_stride; n += kLanes<T>)
      store(grad + n, load(x + n) > 0 ? load(grad + n) : Vector<T>{});
    grad_biases[r] += sum_over<T>(chain.batch, [&](auto at_n) { return at_n(grad + row); });
  }
}

// d W_i += d z_i x_{i-1}^T: (rows, B) (B, in) -> (rows, in).
template <class T>
inline void Member<T>::weights_backward(const Step<T>& step, long i, T* grad) const {
  const long weight_stride = layout.weight_stride[i];
  T* grad_weights = grad + own_weights(i);
  product<T>(rows[i], weight_stride / kLanes<T>, chain.batch, {grad_activity[i].data(), layout.batch_stride, 1},
             {buffers(step).inputs_by_sample[i], weight_stride}, [=](long r, long j, Vector<T> sum) FLP_INLINE {
               T* to = grad_weights + r * weight_stride + j * kLanes<T>;
               store(to, load(to) + sum);
             });
}

// Own share of d x_{i-1} += W_i^T d z_i: (in, rows) (rows, B) -> (in, B).
template <class T>
inline void Member<T>::input_backward(long i, const T* weights) const {
  const long batch_stride = layout.batch_stride;
  T* grad_input = team.grad_inputs[i * layout.members_per_team() + number];
  // What the rule left there is of d b_{i-1}, where plasticity sees that, and was added to it before.
  const bool overwrite = sees_feedback(i);
  product<T>(chain.layer[i].in, layout.batch_vectors(), rows[i],
             {weights + own_weights(i), 1, layout.weight_stride[i]}, {grad_activity[i].data(), batch_stride},
             [=](long r, long j, Vector<T> sum) FLP_INLINE {
               T* to = grad_input + r * batch_stride + j * kLanes<T>;
               store(to, overwrite ? sum : load(to) + sum);
             });
}

// d features (B, own units): the sum of all members' shares of d x_0.
template <class T>
inline void Member<T>::features_backward(const Step<T>& step) {
  const long batch_stride = layout.batch_stride, width = chain.layer[0].in;
  const auto [first, last] = share(width);
  std::fill_n(grad_features.data(), (last - first) * batch_stride, T(0));
  for (long m = 0; m < layout.members_per_team(); ++m) {
    const T* of_member = team.grad_inputs[m] + first * batch_stride;
    for (long k = 0; k < (last - first) * batch_stride; ++k) grad_features[k] += of_member[k];
  }
  transpose(grad_features.data(), batch_stride, last - first, chain.batch,
            out(chain.grad_features) + (step.lifetime * chain.steps + step.time) * chain.batch * width + first, width);
}

// to += the sum of all members' shares of the gradient of layer i's input, in own rows of the layer below (rows, B).
template <class T>
inline void Member<T>::add_shares(long i, T* to) const {
  const long offset = first_row[i - 1] * layout.batch_stride, size = rows[i - 1] * layout.batch_stride;
  for (long m = 0; m < layout.members_per_team(); ++m) {
    const T* of_member = team.grad_inputs[i * layout.members_per_team() + m] + offset;
    for (long k = 0; k < size; ++k) to[k] += of_member[k];
  }
}

}  // namespace
