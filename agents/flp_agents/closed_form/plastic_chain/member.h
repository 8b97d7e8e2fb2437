// A member of a team: one thread, with its rows of every layer and what it computes of them in an inner step.
//
// The mathematics of an inner step is in description.py; here, activities are (units, B), so that
//
//     layers.h    x_i = relu(W_i x_{i-1} + c_i)           x_0 the features; the output layer without relu
//     feedback.h  s   = y - x_N                           or y
//                 f_i = relu(B_i s + d_i)                 or without relu
//                 b_i = (1 - beta_i) x_i + beta_i f_i     the activity after feedback; the output's may be y
//     rule.h      W_i += alpha_i * (b_i a_i^T - q_i W_i)  a_i is x_{i-1} or b_{i-1}; q_i = sum_n b_i^2, Hebb's rule: 0
//
// and each of these files has its backward pass too. "d z" is the gradient of the outer loss with respect to z.

#pragma once

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "matrices.h"
#include "team.h"

namespace {

// Rows that the rule's backward pass takes at once.
constexpr long kBlockRows = 3 * kTileRows;

// An inner step of a lifetime.
template <class T>
struct Step {
  long lifetime, time;
  const T* activity;  // of all layers, before feedback

  int parity() const { return time & 1; }
};

// Rows of a layer, with all that the rule's backward pass reads and writes of them.
template <class T>
struct RuleBlock {
  long first, rows;             // from the first of own rows
  T* weights;                   // (rows, wide in)
  T* grad;                      // the same, of d W
  T* grad_coefficients;         // the same, of d alpha
  const T* coefficients;        // the same, of alpha
  const T* square_sums;         // (rows) q
  const T* after_feedback;      // (rows, wide B) b
};

template <class T>
class Member {
 public:
  Member(const Layout<T>& its_layout, Team<T>& its_team, long its_team_number, long its_number);

  // rollout.h: inner steps start..stop of lifetime e.
  double forward(long e, T* weights, long start, long stop, T* activity_history, T* weight_history);
  void replay(long e, T* weights, long start, long stop, const T* activity_history, T* weight_history);
  void backward(long e, T* grad, T* weights, long start, long stop, const T* activity_history, T* weight_history);

 private:
  // rollout.h
  double forward_step(const Step<T>& step, T* weights, T* activity);
  void restore_step(const Step<T>& step);
  void backward_step(const Step<T>& step, T* grad, T* weights, bool undo);
  long history_slot(long e, long steps_from_start) const { return steps_from_start * chain.lifetimes + e; }
  void store_weights(const T* weights, T* stored) const;
  void write_predictions(const Step<T>& step) const;
  void add_prediction_gradients(const Step<T>& step);
  long output_offset(const Step<T>& step) const;

  // layers.h
  void load_features(const Step<T>& step) const;
  void layer_forward(const Step<T>& step, long i, const T* weights, T* activity) const;
  void share_activity(const Step<T>& step, long i) const;
  void layers_backward(const Step<T>& step, T* grad, const T* weights);
  void relu_backward(const Step<T>& step, long i);
  void weights_backward(const Step<T>& step, long i, T* grad) const;
  void input_backward(long i, const T* weights) const;
  void features_backward(const Step<T>& step);
  void add_shares(long i, T* to) const;

  // feedback.h
  void compute_signal(const Step<T>& step);
  void feedback_forward(const Step<T>& step);
  void layer_feedback(const Step<T>& step, long i);
  void compute_square_sums(const Step<T>& step, long i);
  void feedback_backward(const Step<T>& step);
  void mixing_backward(const Step<T>& step, long i);
  void pathway_backward(long i);
  void signal_backward();

  // rule.h
  void rule_step(const Step<T>& step, long i, T* weights) const;
  double log_error_growth(long i) const;
  void rule_backward(const Step<T>& step, long i, T* grad, T* weights, bool undo);
  RuleBlock<T> rule_block(const Step<T>& step, long i, long first, T* grad, T* weights);
  void rule_backward_weights(const Step<T>& step, long i, const RuleBlock<T>& block, bool undo);
  void rule_backward_post(const Step<T>& step, long i, const RuleBlock<T>& block);
  void rule_backward_pre(long i, const RuleBlock<T>& block) const;

  static const T* in(const void* values) { return static_cast<const T*>(values); }
  static T* out(void* values) { return static_cast<T*>(values); }

  StepBuffers<T>& buffers(const Step<T>& step) const { return team.buffers[step.parity()]; }
  bool clamped(long i) const { return chain.clamped_output && i + 1 == chain.layers; }
  long own_weights(long i) const { return layout.weight_offset[i] + first_row[i] * layout.weight_stride[i]; }
  long own_activity(long i) const { return layout.activity_offset[i] + first_row[i] * layout.batch_stride; }
  T* own_after_feedback(const Step<T>& step, long i) const {
    return buffers(step).after_feedback[i] + first_row[i] * layout.batch_stride;
  }

  // x_{i-1} (in, wide B).
  const T* input(const Step<T>& step, long i) const {
    return i == 0 ? buffers(step).features : step.activity + layout.activity_offset[i - 1];
  }
  // a_i (in, wide B), and the same as (B, wide in).
  bool sees_feedback(long i) const { return chain.presynaptic_after_feedback && i > 0; }
  const T* presynaptic(const Step<T>& step, long i) const {
    return sees_feedback(i) ? buffers(step).after_feedback[i - 1] : input(step, i);
  }
  const T* presynaptic_by_sample(const Step<T>& step, long i) const {
    return sees_feedback(i) ? buffers(step).after_feedback_by_sample[i] : buffers(step).inputs_by_sample[i];
  }

  // Own units of so many, first and last: whole tiles for each member; the first member has all of a layer that is
  // narrower than that.
  std::pair<long, long> share(long units) const {
    const long members = layout.members_per_team(), tiles = (units + kTileRows - 1) / kTileRows;
    if (tiles < members) return number == 0 ? std::pair<long, long>{0, units} : std::pair<long, long>{units, units};
    return {std::min(units, tiles * number / members * kTileRows),
            std::min(units, tiles * (number + 1) / members * kTileRows)};
  }

  const Layout<T>& layout;
  const FlpChain& chain;
  Team<T>& team;
  const long team_number, number;
  std::vector<long> first_row, rows;                 // own ones of each layer
  std::vector<T> signal, target;                     // (n_y, wide B)
  std::vector<T> signal_by_sample;                   // (B, wide n_y)
  std::vector<std::vector<T>> feedback;              // f_i (rows, wide B)
  std::vector<std::vector<T>> square_sums;           // q_i (rows)
  std::vector<std::vector<T>> grad_after_feedback;   // d b_i, then d f_i (rows, wide B)
  std::vector<std::vector<T>> grad_activity;         // d x_i (rows, wide B)
  std::vector<T> grad_features;                      // (in, wide B)
  std::vector<T> scaled_grad;                        // (kBlockRows, wide in) d W * alpha
  std::vector<T> row_sums;                           // (kBlockRows, kLanes)
};

template <class T>
inline Member<T>::Member(const Layout<T>& its_layout, Team<T>& its_team, long its_team_number, long its_number)
    : layout(its_layout), chain(its_layout.chain), team(its_team), team_number(its_team_number), number(its_number) {
  const long batch_stride = layout.batch_stride;
  long widest = 0;
  for (long i = 0; i < chain.layers; ++i) {
    const auto [first, last] = share(chain.layer[i].out);
    first_row.push_back(first);
    rows.push_back(last - first);
    widest = std::max(widest, layout.weight_stride[i]);
    feedback.emplace_back(rows[i] * batch_stride, T(0));
    grad_after_feedback.emplace_back(rows[i] * batch_stride, T(0));
    grad_activity.emplace_back(rows[i] * batch_stride, T(0));
    square_sums.emplace_back(rows[i], T(0));
  }
  signal.assign(chain.outputs * batch_stride, T(0));
  target.assign(chain.outputs * batch_stride, T(0));
  signal_by_sample.assign(chain.batch * layout.output_stride, T(0));
  row_sums.assign(kBlockRows * kLanes<T>, T(0));
  scaled_grad.assign(kBlockRows * widest, T(0));
  grad_features.assign(chain.layer[0].in * batch_stride, T(0));
}

}  // namespace
