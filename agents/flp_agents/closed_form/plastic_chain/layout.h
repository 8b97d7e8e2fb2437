// Where the matrices of a chain lie in memory, and how threads share the work.
//
// Activities are held units first, (units, wide B): a row for each unit, the minibatch along the vectors. What a padded
// sample holds is arbitrary; no sum over the minibatch reads it. Where a product runs over the minibatch, they are held
// samples first as well, (B, wide units). Weights are (out, wide in), of arbitrary content in the padding, which no
// activity depends on: coefficients are padded with zeros.

#pragma once

#include <algorithm>
#include <vector>

#include "interface.h"
#include "vectors.h"

namespace {

// What a core's own cache holds, or about that.
constexpr unsigned long kCacheBytes = 1 << 20;

template <class T>
struct Layout {
  const FlpChain& chain;
  long batch_stride, output_stride;        // wide B, wide n_y
  long weight_size = 0, activity_size = 0;  // of all layers of one lifetime
  std::vector<long> weight_offset, activity_offset, weight_stride;  // of each layer; the stride is wide in

  explicit Layout(const FlpChain& c)
      : chain(c), batch_stride(padded<T>(c.batch)), output_stride(padded<T>(c.outputs)) {
    for (long i = 0; i < c.layers; ++i) {
      weight_stride.push_back(padded<T>(c.layer[i].in));
      weight_offset.push_back(weight_size);
      activity_offset.push_back(activity_size);
      weight_size += c.layer[i].out * weight_stride[i];
      activity_size += c.layer[i].out * batch_stride;
    }
  }

  // Vectors in a row of activities.
  long batch_vectors() const { return batch_stride / kLanes<T>; }

  // One team for each lifetime, or one for all where two lifetimes' matrices would not fit the cache together.
  long teams() const {
    return weight_size * sizeof(T) > kCacheBytes ? 1 : std::min(chain.lifetimes, chain.threads);
  }

  long members_per_team() const { return std::max<long>(1, chain.threads / teams()); }
};

}  // namespace
