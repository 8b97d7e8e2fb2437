// Small chains that are run forward and backward, to see whether this machine can run what was compiled.

#pragma once

#include <cmath>
#include <vector>

#include "layout.h"

namespace {

struct SelfTestCase {
  long lifetimes, threads, width;
  int decay, error_signal, rectified, clamped_output, presynaptic_after_feedback;
  bool replay, undo;
};

class SelfTest : SelfTestCase {
  using T = FLP_VALUE;
  static constexpr long kLayers = 2, kSteps = 4, kBatch = 5, kInputs = 3, kOutputs = 2;

 public:
  explicit SelfTest(const SelfTestCase& test) : SelfTestCase(test) {}

  // Whether all calls succeed, with a gradient of the predictions too, and the gradient of the features is finite and
  // not 0.
  bool passes() {
    FlpLayer layers[kLayers];
    FlpChain chain = make_chain(layers);
    const Layout<T> layout(chain);
    chain.grad_coefficients = filled(threads * layout.weight_size, 0);
    T* weights = filled(lifetimes * layout.weight_size, 0.2);
    T* initial = filled(lifetimes * layout.weight_size, 0.2);
    T* grad = filled(lifetimes * layout.weight_size, 1);
    T* activities = filled(kSteps * lifetimes * layout.activity_size, 0);
    T* history = filled(kSteps * lifetimes * layout.weight_size, 0);
    std::vector<double> growth(threads);
    return !flp_forward(&chain, weights, 0, kSteps, activities, replay ? nullptr : history, growth.data()) &&
           !(replay && flp_replay(&chain, initial, 0, kSteps, activities, history)) &&
           !flp_backward(&chain, grad, undo ? weights : nullptr, 0, kSteps, activities, undo ? nullptr : history) &&
           is_gradient(static_cast<T*>(chain.grad_features));
  }

 private:
  std::vector<std::vector<T>> held_;
  std::vector<double> strengths_;

  // Values around `value`, not all the same.
  T* filled(long size, double value) {
    held_.emplace_back(size, T(value));
    for (long k = 0; k < size; ++k) held_.back()[k] *= T(1 + 0.1 * (k % 7));
    return held_.back().data();
  }

  FlpChain make_chain(FlpLayer* layers) {
    const long out[kLayers] = {width, kOutputs}, in[kLayers] = {kInputs, width}, wide = padded<T>(kOutputs);
    for (long i = 0; i < kLayers; ++i)
      layers[i] = {out[i], in[i], filled(out[i] * padded<T>(in[i]), 1e-3), filled(out[i], 1e-3), filled(out[i], 2e-3),
                   filled(lifetimes * out[i], 0.1), filled(out[i] * wide, 0.1), filled(out[i], 0.1), 0.5,
                   filled(threads * out[i] * wide, 0), filled(threads * out[i], 0), filled(lifetimes * out[i], 0)};
    strengths_.resize(threads * kLayers);
    const long samples = lifetimes * kSteps * kBatch;
    return {kLayers, lifetimes, kSteps, kBatch, kOutputs, threads, decay, error_signal, rectified, clamped_output,
            presynaptic_after_feedback, layers, filled(samples * kInputs, 0.3), filled(samples * kOutputs, 0.7),
            filled(samples * kInputs, 0), nullptr, strengths_.data(), filled(samples * kOutputs, 0),
            filled(samples * kOutputs, 0.4)};
  }

  bool is_gradient(const T* grad_features) const {
    double sum = 0;
    for (long k = 0; k < lifetimes * kSteps * kBatch * kInputs; ++k) sum += std::abs(double(grad_features[k]));
    return std::isfinite(sum) && sum > 0;
  }
};

}  // namespace
