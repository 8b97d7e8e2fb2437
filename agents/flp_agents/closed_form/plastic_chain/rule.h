// The plasticity rules, Oja's and Hebb's, as a step, undone, and backwards. Hebb's rule has q = 0.

#pragma once

#include <cmath>

#include "member.h"

namespace {

// W += alpha * (b a^T - q W), own rows: (rows, B) (B, in) -> (rows, in).
template <class T>
inline void Member<T>::rule_step(const Step<T>& step, long i, T* weights) const {
  const long weight_stride = layout.weight_stride[i];
  T* w = weights + own_weights(i);
  const T* alpha = in(chain.layer[i].coefficients) + first_row[i] * weight_stride;
  const T* q = square_sums[i].data();
  product<T>(rows[i], weight_stride / kLanes<T>, chain.batch,
             {own_after_feedback(step, i), layout.batch_stride, 1}, {presynaptic_by_sample(step, i), weight_stride},
             [=](long r, long j, Vector<T> hebb) FLP_INLINE {
               const long k = r * weight_stride + j * kLanes<T>;
               const Vector<T> before = load(w + k);
               store(w + k, before + load(alpha + k) * (hebb - q[r] * before));
             });
}

// max(0, -log |1 - alpha q|) over own synapses: undoing a step divides errors by |1 - alpha q|. Infinite if a synapse
// cannot be undone.
template <class T>
inline double Member<T>::log_error_growth(long i) const {
  if (!chain.decay) return 0;
  const T* min_alpha = in(chain.layer[i].min_coefficients) + first_row[i];
  const T* max_alpha = in(chain.layer[i].max_coefficients) + first_row[i];
  const T* q = square_sums[i].data();
  double least = 1;
  for (long r = 0; r < rows[i]; ++r) {
    const double low = 1 - double(max_alpha[r]) * q[r];
    const double high = 1 - double(min_alpha[r]) * q[r];
    least = std::min(least, low > 0 ? low : high < 0 ? -high : 0.0);
  }
  return least > 0 ? -std::log(least) : HUGE_VAL;
}

// From d W after the rule's step to d W before it, d alpha, d b and own share of d a, own rows. Block by block: one
// sweep over the matrices, then two products while the block is still in the cache.
template <class T>
inline void Member<T>::rule_backward(const Step<T>& step, long i, T* grad, T* weights, bool undo) {
  if (rows[i] == 0)
    std::fill_n(team.grad_inputs[i * layout.members_per_team() + number], chain.layer[i].in * layout.batch_stride,
                T(0));
  for (long first = 0; first < rows[i]; first += kBlockRows) {
    const RuleBlock<T> block = rule_block(step, i, first, grad, weights);
    rule_backward_weights(step, i, block, undo);
    if (!clamped(i)) rule_backward_post(step, i, block);
    rule_backward_pre(i, block);
  }
}

template <class T>
inline RuleBlock<T> Member<T>::rule_block(const Step<T>& step, long i, long first, T* grad, T* weights) {
  const long row = first_row[i] + first, stride = layout.weight_stride[i];
  const long offset = layout.weight_offset[i] + row * stride;
  return {first,
          std::min(kBlockRows, rows[i] - first),
          weights + offset,
          grad + offset,
          out(chain.grad_coefficients) + team_number * layout.weight_size + offset,
          in(chain.layer[i].coefficients) + row * stride,
          square_sums[i].data() + first,
          own_after_feedback(step, i) + first * layout.batch_stride};
}

// With G the gradient of the weights after the step, all of (rows, in) but for the sums:
//     W = (W - alpha * b a^T) / (1 - alpha q)     if the step is to be undone, else W is that before it
//     d alpha += G * (b a^T - q W)
//     G = G - G * alpha * q
// Kept for the products that follow: G * alpha, and of each row's sum of G * alpha * W a vector of partial sums.
template <class T>
inline void Member<T>::rule_backward_weights(const Step<T>& step, long i, const RuleBlock<T>& block, bool undo) {
  const long stride = layout.weight_stride[i];
  T *w = block.weights, *g = block.grad, *grad_alpha = block.grad_coefficients;
  const T *alpha_at = block.coefficients, *q = block.square_sums;
  T *scaled = scaled_grad.data(), *sums = row_sums.data();
  std::fill_n(sums, block.rows * kLanes<T>, T(0));
  product<T>(block.rows, stride / kLanes<T>, chain.batch, {block.after_feedback, layout.batch_stride, 1},
             {presynaptic_by_sample(step, i), stride}, [=](long r, long j, Vector<T> hebb) FLP_INLINE {
               const long k = r * stride + j * kLanes<T>;
               const Vector<T> alpha = load(alpha_at + k), after = load(g + k), through = after * alpha;
               Vector<T> before = load(w + k);
               if (undo) {
                 before = (before - alpha * hebb) / (1 - alpha * q[r]);
                 store(w + k, before);
               }
               store(grad_alpha + k, load(grad_alpha + k) + after * (hebb - q[r] * before));
               store(scaled + k, through);
               store(g + k, after - through * q[r]);
               T* sum = sums + r * kLanes<T>;
               store(sum, load(sum) + through * before);
             });
}

// d b = (G * alpha) a - 2 b * rowsum(G * alpha * W), without the second term for Hebb's rule:
// (rows, in) (in, B) -> (rows, B).
template <class T>
inline void Member<T>::rule_backward_post(const Step<T>& step, long i, const RuleBlock<T>& block) {
  const long batch_stride = layout.batch_stride;
  T* factor = row_sums.data();  // each in the place of the first of its row's partial sums, or before
  for (long r = 0; r < block.rows; ++r)
    factor[r] = chain.decay ? -2 * sum_of<T>(load(row_sums.data() + r * kLanes<T>)) : T(0);
  const T* b = block.after_feedback;
  T* grad_b = grad_after_feedback[i].data() + block.first * batch_stride;
  product<T>(block.rows, layout.batch_vectors(), chain.layer[i].in, {scaled_grad.data(), layout.weight_stride[i], 1},
             {presynaptic(step, i), batch_stride}, [=](long r, long j, Vector<T> sum) FLP_INLINE {
               const long k = r * batch_stride + j * kLanes<T>;
               store(grad_b + k, sum + factor[r] * load(b + k));
             });
}

// Own share of d a = (G * alpha)^T b, summed over blocks: (in, rows) (rows, B) -> (in, B).
template <class T>
inline void Member<T>::rule_backward_pre(long i, const RuleBlock<T>& block) const {
  const long batch_stride = layout.batch_stride;
  T* grad_a = team.grad_inputs[i * layout.members_per_team() + number];
  const bool add = block.first > 0;
  product<T>(chain.layer[i].in, layout.batch_vectors(), block.rows,
             {scaled_grad.data(), 1, layout.weight_stride[i]}, {block.after_feedback, batch_stride},
             [=](long r, long j, Vector<T> sum) FLP_INLINE {
               T* to = grad_a + r * batch_stride + j * kLanes<T>;
               store(to, add ? load(to) + sum : sum);
             });
}

}  // namespace
