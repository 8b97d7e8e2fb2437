// The plastic chain on a CPU: the same three walks as in torch_engine.py, without an allocation or a Python call between one
// inner step and the next. description.py has the mathematics; here is only how it is made fast.
//
// Layout. Activities are held "upright", (units, lanes): one row a unit, the minibatch along the vector lanes, padded to
// whole vectors. What a padded lane holds is arbitrary; no sum over the minibatch reads it. Weights are (out, stride)
// with the columns padded to whole vectors, of arbitrary content; coefficients are padded with zeros.
//
// Threads. A team of threads shares one lifetime, every member with rows of its own of every layer, and meets at
// barriers where a row needs all of the layer below. Teams live through different lifetimes and never meet.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <memory>
#include <new>
#include <thread>
#include <utility>
#include <vector>

namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64, kTileRows = 12;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32, kTileRows = 6;
#else
constexpr int kVectorBytes = 16, kTileRows = 6;
#endif

// What a core's own cache holds, or about that.
constexpr unsigned long kCacheBytes = 1 << 20;
// Rows that the backward pass takes at once.
constexpr long kBlockRows = 3 * kTileRows;

template <class T>
struct Lanes {
  static constexpr long count = kVectorBytes / sizeof(T);
  typedef T type __attribute__((vector_size(kVectorBytes), aligned(sizeof(T)), may_alias));
};
template <class T>
using V = typename Lanes<T>::type;

template <class T>
inline V<T> load(const T* p) { return *reinterpret_cast<const V<T>*>(p); }
template <class T>
inline void store(T* p, V<T> v) { *reinterpret_cast<V<T>*>(p) = v; }
template <class T>
inline long padded(long n) { return (n + Lanes<T>::count - 1) / Lanes<T>::count * Lanes<T>::count; }

// One tile of a product A B, kept in registers; `done(row, vector, values)` takes it from there.
template <class T, int Rows, int Vectors, class Done>
inline __attribute__((always_inline)) void tile(long depth, const T* a, long a_row, long a_depth, const T* b,
                                                long b_depth, long row, long vector, Done& done) {
  V<T> sum[Rows][Vectors];
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < Vectors; ++j) sum[i][j] = V<T>{};
  for (long k = 0; k < depth; ++k) {
    V<T> right[Vectors];
#pragma GCC unroll 2
    for (int j = 0; j < Vectors; ++j) right[j] = load(b + k * b_depth + j * Lanes<T>::count);
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
      const T left = a[i * a_row + k * a_depth];
#pragma GCC unroll 2
      for (int j = 0; j < Vectors; ++j) sum[i][j] += left * right[j];
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < Vectors; ++j) done(row + i, vector + j, sum[i][j]);
}

template <class T, int Rows, class Done>
void row_of_tiles(long rows, long vectors, long depth, const T* a, long a_row, long a_depth, const T* b, long b_depth,
                  long row, Done& done) {
  if constexpr (Rows > 1) {
    if (rows < Rows) return row_of_tiles<T, Rows - 1>(rows, vectors, depth, a, a_row, a_depth, b, b_depth, row, done);
  }
  long j = 0;
  for (; j + 2 <= vectors; j += 2)
    tile<T, Rows, 2>(depth, a, a_row, a_depth, b + j * Lanes<T>::count, b_depth, row, j, done);
  if (j < vectors) tile<T, Rows, 1>(depth, a, a_row, a_depth, b + j * Lanes<T>::count, b_depth, row, j, done);
}

// A (rows, depth), of any strides, times B (depth, vectors).
template <class T, class Done>
void product(long rows, long vectors, long depth, const T* a, long a_row, long a_depth, const T* b, long b_depth,
             Done done) {
  for (long i = 0; i < rows; i += kTileRows)
    row_of_tiles<T, kTileRows>(std::min<long>(kTileRows, rows - i), vectors, depth, a + i * a_row, a_row, a_depth, b,
                               b_depth, i, done);
}

// (rows, columns) of row stride `from_stride` into (columns, rows) of row stride `to_stride`.
template <class T>
void transpose(const T* from, long from_stride, long rows, long columns, T* to, long to_stride) {
  constexpr long block = 16;
  for (long i = 0; i < rows; i += block)
    for (long j = 0; j < columns; j += block) {
      const long last_i = std::min(rows, i + block), last_j = std::min(columns, j + block);
      for (long c = j; c < last_j; ++c)
        for (long r = i; r < last_i; ++r) to[c * to_stride + r] = from[r * from_stride + c];
    }
}

template <class T>
inline T sum_of(V<T> v) {
  T lanes[Lanes<T>::count];
  store(lanes, v);
  for (long half = Lanes<T>::count / 2; half; half /= 2)
    for (long k = 0; k < half; ++k) lanes[k] += lanes[k + half];
  return lanes[0];
}

// The sum of f(n) over a minibatch; `f` takes the place of a vector, or of a single lane.
template <class T, class F>
inline T sum_over(long batch, F f) {
  V<T> sum{};
  long n = 0;
  for (; n + Lanes<T>::count <= batch; n += Lanes<T>::count) sum += f([n](const T* p) { return load(p + n); });
  T total = sum_of<T>(sum);
  for (; n < batch; ++n) total += f([n](const T* p) { return p[n]; });
  return total;
}

class Barrier {
 public:
  explicit Barrier(int members) : members_(members) {}
  void meet() {
    if (members_ == 1) return;
    const unsigned round = round_.load(std::memory_order_relaxed);
    if (waiting_.fetch_add(1, std::memory_order_acq_rel) + 1 == members_) {
      waiting_.store(0, std::memory_order_relaxed);
      round_.store(round + 1, std::memory_order_release);
      return;
    }
    for (long spin = 0; round_.load(std::memory_order_acquire) == round; ++spin)
      if (spin > 4000) std::this_thread::yield();  // somebody else has our core
  }

 private:
  const int members_;
  std::atomic<int> waiting_{0};
  std::atomic<unsigned> round_{0};
};

}  // namespace

extern "C" {

// Mirrored by native_engine.py. Pointers are to T, float or double, unless they say otherwise.
struct FlpLayer {
  long out, in;
  const void* coefficients;     // (out, stride), unit included
  const void* smallest;         // (out) of a row's coefficients
  const void* largest;          // (out)
  const void* biases;           // (E, out)
  const void* feedback_weights; // (out, padded outputs)
  const void* feedback_biases;  // (out)
  double strength;
  void* grad_feedback_weights;  // (teams, out, padded outputs)
  void* grad_feedback_biases;   // (teams, out)
  void* grad_biases;            // (E, out)
};

struct FlpChain {
  long layers, lifetimes, steps, batch, outputs, threads;
  int decay, error_signal, rectified, clamped, after;
  const FlpLayer* layer;
  const void* features;    // (E, steps, B, in)
  const void* targets;     // (E, steps, B, outputs)
  void* grad_features;     // (E, steps, B, in)
  void* grad_coefficients; // (teams, weight size)
  double* grad_strengths;  // (threads, layers)
  void* predictions;       // (E, steps, B, outputs) or none: where forward() puts them
  const void* grad_predictions; // (E, steps, B, outputs) or none: what backward() adds
};

}  // extern "C"

namespace {

template <class T>
struct Shape {
  const FlpChain& chain;
  long lanes, weight_size = 0, activity_size = 0, output_stride;
  std::vector<long> weight_at, activity_at, stride;

  explicit Shape(const FlpChain& c) : chain(c), lanes(padded<T>(c.batch)), output_stride(padded<T>(c.outputs)) {
    for (long i = 0; i < c.layers; ++i) {
      stride.push_back(padded<T>(c.layer[i].in));
      weight_at.push_back(weight_size);
      activity_at.push_back(activity_size);
      weight_size += c.layer[i].out * stride[i];
      activity_size += c.layer[i].out * lanes;
    }
  }
  // One team for each lifetime, or one for all where two lifetimes' matrices would not fit the cache together.
  long teams() const {
    return weight_size * sizeof(T) > kCacheBytes ? 1 : std::min(chain.lifetimes, chain.threads);
  }
  long members() const { return std::max<long>(1, chain.threads / teams()); }
};

// What the members of a team share. By parity of the step, so that a member that is a step ahead disturbs nobody.
template <class T>
struct Team {
  Barrier barrier;
  std::vector<T> storage;
  std::vector<T*> input[2];      // what a layer sees, upright: (in, lanes); for all but the first layer, kept elsewhere
  std::vector<T*> flat[2];       // the same as (B, stride)
  std::vector<T*> post[2];       // a layer's activity after feedback, upright
  std::vector<T*> flat_post[2];  // the activity below, after feedback, as (B, stride)
  T* activity[2];                // where it is not kept
  std::vector<T*> below;         // (layers, members) a member's share of the gradient of a layer's input, upright
  std::vector<T*> signal;        // (members) and of the signal

  explicit Team(const Shape<T>& s) : barrier(static_cast<int>(s.members())) {
    for (int pass = 0; pass < 2; ++pass) {  // measure, then hand out
      long used = 0;
      auto take = [&](long n) {
        T* p = pass ? storage.data() + used : nullptr;
        used += padded<T>(n);
        return p;
      };
      const FlpChain& c = s.chain;
      for (int parity = 0; parity < 2; ++parity) {
        for (auto* list : {&input[parity], &flat[parity], &post[parity], &flat_post[parity]}) list->assign(c.layers, nullptr);
        input[parity][0] = take(c.layer[0].in * s.lanes);
        activity[parity] = take(s.activity_size);
        for (long i = 0; i < c.layers; ++i) {
          flat[parity][i] = take(c.batch * s.stride[i]);
          post[parity][i] = take(c.layer[i].out * s.lanes);
          if (c.after && i > 0) flat_post[parity][i] = take(c.batch * s.stride[i]);
        }
      }
      below.clear();
      signal.clear();
      for (long i = 0; i < c.layers * s.members(); ++i) below.push_back(take(c.layer[i / s.members()].in * s.lanes));
      for (long m = 0; m < s.members(); ++m) signal.push_back(take(c.outputs * s.lanes));
      if (!pass) storage.assign(used, T(0));
    }
  }
};

template <class T>
class Member {
 public:
  Member(const Shape<T>& shape, Team<T>& its_team, long its_team_number, long its_number)
      : s(shape), c(shape.chain), team(its_team), team_number(its_team_number), number(its_number) {
    long most_stride = 0;
    for (long i = 0; i < c.layers; ++i) {
      const auto [first, last] = share(c.layer[i].out);
      first_row.push_back(first);
      rows.push_back(last - first);
      most_stride = std::max(most_stride, s.stride[i]);
      fed.emplace_back(rows[i] * s.lanes, T(0));
      grad_post.emplace_back(rows[i] * s.lanes, T(0));
      grad_activity.emplace_back(rows[i] * s.lanes, T(0));
      square.emplace_back(rows[i], T(0));
    }
    signal.assign(c.outputs * s.lanes, T(0));
    target.assign(c.outputs * s.lanes, T(0));
    flat_signal.assign(c.batch * s.output_stride, T(0));
    row_sum.assign(kBlockRows * Lanes<T>::count, T(0));
    scaled.assign(kBlockRows * most_stride, T(0));
    grad_input.assign(c.layer[0].in * s.lanes, T(0));
  }

  // Inner steps start..stop of lifetime e; the weights change in place. Returns the logarithm of how much walking back
  // may magnify an error.
  double forward(long e, T* weights, long start, long stop, T* kept_activity, T* kept_weights) {
    double magnified = 0;
    team.barrier.meet();  // nobody is in the lifetime before
    for (long t = start; t < stop; ++t) {
      const int parity = t & 1;
      const long slot = (t - start) * c.lifetimes + e;
      T* activity = kept_activity ? kept_activity + slot * s.activity_size : team.activity[parity];
      if (kept_weights) keep(weights, kept_weights + slot * s.weight_size);
      see_features(e, t, parity);
      team.barrier.meet();
      for (long i = 0; i < c.layers; ++i) {
        answer(e, i, weights, activity, parity);
        if (i + 1 < c.layers) flatten(i, activity, parity);
        team.barrier.meet();
      }
      if (c.predictions) write_predictions(e, t, activity);
      see_signal(e, t, activity);
      feed_back(activity, parity);
      double most = 0;
      for (long i = 0; i < c.layers; ++i) most = std::max(most, learn(i, weights, parity));
      magnified += most;
    }
    return magnified;
  }

  // The weights before each of the steps, from kept activities alone.
  void replay(long e, T* weights, long start, long stop, const T* kept_activity, T* kept_weights) {
    team.barrier.meet();
    for (long t = start; t < stop; ++t) {
      const long slot = (t - start) * c.lifetimes + e;
      keep(weights, kept_weights + slot * s.weight_size);
      recall(e, t, kept_activity + slot * s.activity_size, t & 1);
      for (long i = 0; i < c.layers; ++i) learn(i, weights, t & 1);
    }
  }

  // Carries the gradient of the weights after step stop - 1 back to those before step start. Without kept weights it
  // walks the rule's steps back, in place.
  void backward(long e, T* grad, T* weights, long start, long stop, const T* kept_activity, T* kept_weights) {
    team.barrier.meet();
    for (long t = stop - 1; t >= start; --t) {
      const int parity = t & 1;
      const long slot = (t - start) * c.lifetimes + e;
      const T* activity = kept_activity + slot * s.activity_size;
      T* before = kept_weights ? kept_weights + slot * s.weight_size : weights;
      recall(e, t, activity, parity);
      for (long i = 0; i < c.layers; ++i) unlearn(i, grad, before, !kept_weights, activity, parity);
      if (c.after) {
        team.barrier.meet();
        for (long i = 1; i < c.layers; ++i) gather(i, grad_post[i - 1].data());
      }
      unfeed(activity);
      team.barrier.meet();
      unsignal();
      if (c.grad_predictions) add_prediction_gradients(e, t);
      unanswer(e, t, grad, before, activity, parity);
    }
  }

 private:
  const Shape<T>& s;
  const FlpChain& c;
  Team<T>& team;
  const long team_number, number;
  std::vector<long> first_row, rows;
  std::vector<T> signal, target, flat_signal, row_sum, scaled, grad_input;
  std::vector<std::vector<T>> fed, grad_post, grad_activity, square;

  static const T* in(const void* p) { return static_cast<const T*>(p); }
  static T* out(void* p) { return static_cast<T*>(p); }
  long vectors() const { return s.lanes / Lanes<T>::count; }
  bool clamped(long i) const { return c.clamped && i + 1 == c.layers; }
  T* own_post(long i, int parity) const { return team.post[parity][i] + first_row[i] * s.lanes; }

  // Whole tiles for everybody; the first member has all of a layer that is narrower than that.
  std::pair<long, long> share(long units) const {
    const long members = s.members(), tiles = (units + kTileRows - 1) / kTileRows;
    if (tiles < members) return number == 0 ? std::pair<long, long>{0, units} : std::pair<long, long>{units, units};
    return {std::min(units, tiles * number / members * kTileRows),
            std::min(units, tiles * (number + 1) / members * kTileRows)};
  }

  void keep(const T* weights, T* kept) const {
    for (long i = 0; i < c.layers; ++i) {
      const long at = s.weight_at[i] + first_row[i] * s.stride[i];
      std::memcpy(kept + at, weights + at, rows[i] * s.stride[i] * sizeof(T));
    }
  }

  // What layer i sees, upright.
  const T* input(long i, const T* activity, int parity) const {
    return i == 0 ? team.input[parity][0] : activity + s.activity_at[i - 1];
  }
  // What its plasticity sees: the same, or the layer below after feedback.
  const T* presynaptic(long i, const T* activity, int parity) const {
    return c.after && i > 0 ? team.post[parity][i - 1] : input(i, activity, parity);
  }
  const T* flat_presynaptic(long i, int parity) const {
    return c.after && i > 0 ? team.flat_post[parity][i] : team.flat[parity][i];
  }

  void see_features(long e, long t, int parity) const {
    const long width = c.layer[0].in;
    const T* features = in(c.features) + (e * c.steps + t) * c.batch * width;
    const auto [first, last] = share(width);
    transpose(features + first, width, c.batch, last - first, team.input[parity][0] + first * s.lanes, s.lanes);
    for (long n = 0; n < c.batch; ++n)
      std::memcpy(team.flat[parity][0] + n * s.stride[0] + first, features + n * width + first,
                  (last - first) * sizeof(T));
  }

  void answer(long e, long i, const T* weights, T* activity, int parity) const {
    const long at = first_row[i], lanes = s.lanes;
    const T* bias = in(c.layer[i].biases) + e * c.layer[i].out + at;
    T* to = activity + s.activity_at[i] + at * lanes;
    const bool hidden = i + 1 < c.layers;
    product<T>(rows[i], vectors(), c.layer[i].in, weights + s.weight_at[i] + at * s.stride[i], s.stride[i], 1,
               input(i, activity, parity), lanes, [=](long r, long j, V<T> v) {
                 v += bias[r];
                 if (hidden) v = v < 0 ? V<T>{} : v;  // not a number stays that
                 store(to + r * lanes + j * Lanes<T>::count, v);
               });
  }

  void flatten(long i, const T* activity, int parity) const {
    transpose(activity + s.activity_at[i] + first_row[i] * s.lanes, s.lanes, rows[i], c.batch,
              team.flat[parity][i + 1] + first_row[i], s.stride[i + 1]);
  }

  void see_signal(long e, long t, const T* activity) {
    const T* y = in(c.targets) + (e * c.steps + t) * c.batch * c.outputs;
    transpose(y, c.outputs, c.batch, c.outputs, target.data(), s.lanes);
    const T* answers = activity + s.activity_at[c.layers - 1];
    for (long k = 0; k < c.outputs * s.lanes; ++k) signal[k] = c.error_signal ? target[k] - answers[k] : target[k];
  }

  void feed_back(const T* activity, int parity) {
    const long lanes = s.lanes;
    for (long i = 0; i < c.layers; ++i) {
      const FlpLayer& layer = c.layer[i];
      const long at = first_row[i];
      T* to = own_post(i, parity);
      if (clamped(i)) {
        std::memcpy(to, target.data() + at * lanes, rows[i] * lanes * sizeof(T));
      } else {
        const T* bias = in(layer.feedback_biases) + at;
        const T* x = activity + s.activity_at[i] + at * lanes;
        T* through = fed[i].data();
        const T strength = T(layer.strength);
        const bool rectified = c.rectified;
        product<T>(rows[i], vectors(), c.outputs, in(layer.feedback_weights) + at * s.output_stride, s.output_stride, 1,
                   signal.data(), lanes, [=](long r, long j, V<T> v) {
                     const long k = r * lanes + j * Lanes<T>::count;
                     v += bias[r];
                     if (rectified) v = v < 0 ? V<T>{} : v;
                     store(through + k, v);
                     const V<T> own = load(x + k);
                     store(to + k, own + strength * (v - own));
                   });
      }
      for (long r = 0; c.decay && r < rows[i]; ++r)
        square[i][r] = sum_over<T>(c.batch, [&](auto at_n) { return at_n(to + r * lanes) * at_n(to + r * lanes); });
      if (c.after && i + 1 < c.layers)
        transpose(to, lanes, rows[i], c.batch, team.flat_post[parity][i + 1] + at, s.stride[i + 1]);
    }
    if (c.after) team.barrier.meet();
  }

  // What forward() saw and made in a step, from the activity that it kept.
  void recall(long e, long t, const T* activity, int parity) {
    see_features(e, t, parity);
    for (long i = 0; i + 1 < c.layers; ++i) flatten(i, activity, parity);
    see_signal(e, t, activity);
    transpose(signal.data(), s.lanes, c.outputs, c.batch, flat_signal.data(), s.output_stride);
    feed_back(activity, parity);
    team.barrier.meet();
  }

  // One step of the rule on own rows.
  double learn(long i, T* weights, int parity) const {
    const FlpLayer& layer = c.layer[i];
    const long at = first_row[i], stride = s.stride[i];
    T* w = weights + s.weight_at[i] + at * stride;
    const T* coefficients = in(layer.coefficients) + at * stride;
    const T* decay = square[i].data();
    product<T>(rows[i], stride / Lanes<T>::count, c.batch, own_post(i, parity), s.lanes, 1, flat_presynaptic(i, parity),
               stride, [=](long r, long j, V<T> hebb) {
                 const long k = r * stride + j * Lanes<T>::count;
                 const V<T> old = load(w + k);
                 store(w + k, old + load(coefficients + k) * (hebb - decay[r] * old));
               });
    if (!c.decay) return 0;
    double least = 1;
    for (long r = 0; r < rows[i]; ++r) {
      const double low = 1 - double(in(layer.largest)[at + r]) * decay[r];
      const double high = 1 - double(in(layer.smallest)[at + r]) * decay[r];
      least = std::min(least, low > 0 ? low : high < 0 ? -high : 0.0);
    }
    return least > 0 ? -std::log(least) : HUGE_VAL;
  }

  // The rule's step backwards on own rows, block by block: one sweep over the matrices, then two products while the
  // block is still in the cache.
  void unlearn(long i, T* grad, T* weights, bool walk_back, const T* activity, int parity) {
    const FlpLayer& layer = c.layer[i];
    const long stride = s.stride[i], lanes = s.lanes;
    T* below = team.below[i * s.members() + number];
    if (rows[i] == 0) std::fill_n(below, layer.in * lanes, T(0));
    for (long first = 0; first < rows[i]; first += kBlockRows) {
      const long count = std::min(kBlockRows, rows[i] - first), at = first_row[i] + first;
      const long offset = s.weight_at[i] + at * stride;
      T* w = weights + offset;
      T* g = grad + offset;
      T* grad_coefficients = out(c.grad_coefficients) + team_number * s.weight_size + offset;
      T* sums = row_sum.data();
      T* scaled_grad = scaled.data();
      const T* post = own_post(i, parity) + first * lanes;
      const T* coefficients = in(layer.coefficients) + at * stride;
      const T* decay = square[i].data() + first;
      std::fill_n(sums, count * Lanes<T>::count, T(0));
      product<T>(count, stride / Lanes<T>::count, c.batch, post, lanes, 1, flat_presynaptic(i, parity), stride,
                 [=](long r, long j, V<T> hebb) {
                   const long k = r * stride + j * Lanes<T>::count;
                   const V<T> alpha = load(coefficients + k), after = load(g + k), through = after * alpha;
                   V<T> before = load(w + k);
                   if (walk_back) {
                     before = (before - alpha * hebb) / (1 - alpha * decay[r]);
                     store(w + k, before);
                   }
                   store(grad_coefficients + k, load(grad_coefficients + k) + after * (hebb - decay[r] * before));
                   store(scaled_grad + k, through);
                   store(g + k, after - through * decay[r]);
                   T* sum = sums + r * Lanes<T>::count;
                   store(sum, load(sum) + through * before);
                 });
      if (!clamped(i)) {
        for (long r = 0; r < count; ++r) sums[r] = c.decay ? -2 * sum_of<T>(load(sums + r * Lanes<T>::count)) : T(0);
        T* to = grad_post[i].data() + first * lanes;
        product<T>(count, vectors(), layer.in, scaled_grad, stride, 1, presynaptic(i, activity, parity), lanes,
                   [=](long r, long j, V<T> v) {
                     const long k = r * lanes + j * Lanes<T>::count;
                     store(to + k, v + sums[r] * load(post + k));
                   });
      }
      product<T>(layer.in, vectors(), count, scaled_grad, 1, stride, post, lanes, [=](long r, long j, V<T> v) {
        T* here = below + r * lanes + j * Lanes<T>::count;
        store(here, first ? load(here) + v : v);
      });
    }
  }

  // Adds what all members found for the input of layer i to own rows of the layer below.
  void gather(long i, T* to) const {
    const long from = first_row[i - 1] * s.lanes, size = rows[i - 1] * s.lanes;
    for (long m = 0; m < s.members(); ++m) {
      const T* share = team.below[i * s.members() + m] + from;
      for (long k = 0; k < size; ++k) to[k] += share[k];
    }
  }

  void unfeed(const T* activity) {
    const long lanes = s.lanes;
    T* signal_share = team.signal[number];
    std::fill_n(signal_share, c.outputs * lanes, T(0));
    for (long i = 0; i < c.layers; ++i) {
      T* to = grad_activity[i].data();
      if (clamped(i)) {
        std::fill_n(to, rows[i] * lanes, T(0));
        continue;
      }
      const FlpLayer& layer = c.layer[i];
      const long at = first_row[i];
      const T strength = T(layer.strength);
      const T* x = activity + s.activity_at[i] + at * lanes;
      const T* through = fed[i].data();
      T* g = grad_post[i].data();
      T* biases = out(layer.grad_feedback_biases) + team_number * layer.out + at;
      double strengths = 0;
      for (long r = 0; r < rows[i]; ++r) {
        const long row = r * lanes;
        strengths += sum_over<T>(c.batch, [&](auto at_n) {
          return at_n(g + row) * (at_n(through + row) - at_n(x + row));
        });
        for (long n = row; n < row + lanes; n += Lanes<T>::count) {
          const V<T> post_grad = load(g + n);
          store(to + n, (1 - strength) * post_grad);
          V<T> fed_grad = strength * post_grad;
          if (c.rectified) fed_grad = load(through + n) > 0 ? fed_grad : V<T>{};
          store(g + n, fed_grad);
        }
        biases[r] += sum_over<T>(c.batch, [&](auto at_n) { return at_n(g + row); });
      }
      c.grad_strengths[(team_number * s.members() + number) * c.layers + i] += strengths;
      const long stride = s.output_stride;
      T* feedback_weights = out(layer.grad_feedback_weights) + (team_number * layer.out + at) * stride;
      product<T>(rows[i], stride / Lanes<T>::count, c.batch, g, lanes, 1, flat_signal.data(), stride,
                 [=](long r, long j, V<T> v) {
                   T* to = feedback_weights + r * stride + j * Lanes<T>::count;
                   store(to, load(to) + v);
                 });
      if (c.error_signal)
        product<T>(c.outputs, vectors(), rows[i], in(layer.feedback_weights) + at * stride, 1, stride, g, lanes,
                   [=](long r, long j, V<T> v) {
                     T* to = signal_share + r * lanes + j * Lanes<T>::count;
                     store(to, load(to) + v);
                   });
    }
  }

  // Through s = y - x_N, of which all members found a share: d x_N -= d s.
  void unsignal() {
    const long lanes = s.lanes, top = c.layers - 1;
    for (long m = 0; c.error_signal && m < s.members(); ++m) {
      const T* share = team.signal[m] + first_row[top] * lanes;
      for (long k = 0; k < rows[top] * lanes; ++k) grad_activity[top][k] -= share[k];
    }
  }

  // The same place in what has the shape of the targets, from the first of own rows of the output.
  long at_output(long e, long t) const { return (e * c.steps + t) * c.batch * c.outputs + first_row[c.layers - 1]; }

  // prediction = x_N, own rows.
  void write_predictions(long e, long t, const T* activity) const {
    const long top = c.layers - 1;
    transpose(activity + s.activity_at[top] + first_row[top] * s.lanes, s.lanes, rows[top], c.batch,
              out(c.predictions) + at_output(e, t), c.outputs);
  }

  // d x_N += d loss / d prediction, own rows.
  void add_prediction_gradients(long e, long t) {
    const T* grad = in(c.grad_predictions) + at_output(e, t);
    std::vector<T>& to = grad_activity[c.layers - 1];
    for (long n = 0; n < c.batch; ++n)
      for (long r = 0; r < rows[c.layers - 1]; ++r) to[r * s.lanes + n] += grad[n * c.outputs + r];
  }

  // Through the answer, from the output down to the features.
  void unanswer(long e, long t, T* grad, const T* weights, const T* activity, int parity) {
    const long lanes = s.lanes, top = c.layers - 1;
    for (long i = top; i >= 0; --i) {
      const FlpLayer& layer = c.layer[i];
      const long at = first_row[i], stride = s.stride[i], offset = s.weight_at[i] + at * stride;
      T* g = grad_activity[i].data();
      const T* x = activity + s.activity_at[i] + at * lanes;
      T* biases = out(layer.grad_biases) + e * layer.out + at;
      for (long r = 0; r < rows[i]; ++r) {
        const long row = r * lanes;
        for (long n = row; i < top && n < row + lanes; n += Lanes<T>::count)
          store(g + n, load(x + n) > 0 ? load(g + n) : V<T>{});
        biases[r] += sum_over<T>(c.batch, [&](auto at_n) { return at_n(g + row); });
      }
      T* grad_weights = grad + offset;
      product<T>(rows[i], stride / Lanes<T>::count, c.batch, g, lanes, 1, team.flat[parity][i], stride,
                 [=](long r, long j, V<T> v) {
                   T* to = grad_weights + r * stride + j * Lanes<T>::count;
                   store(to, load(to) + v);
                 });
      T* to = team.below[i * s.members() + number];
      const bool anew = c.after && i > 0;  // what was there is part of the gradient after feedback
      product<T>(layer.in, vectors(), rows[i], weights + offset, 1, stride, g, lanes, [=](long r, long j, V<T> v) {
        T* here = to + r * lanes + j * Lanes<T>::count;
        store(here, anew ? v : load(here) + v);
      });
      team.barrier.meet();
      if (i > 0) gather(i, grad_activity[i - 1].data());
    }
    const long width = c.layer[0].in;
    const auto [first, last] = share(width);
    std::fill_n(grad_input.data(), (last - first) * lanes, T(0));
    for (long m = 0; m < s.members(); ++m) {
      const T* share = team.below[m] + first * lanes;
      for (long k = 0; k < (last - first) * lanes; ++k) grad_input[k] += share[k];
    }
    transpose(grad_input.data(), lanes, last - first, c.batch,
              out(c.grad_features) + (e * c.steps + t) * c.batch * width + first, width);
  }
};

// Runs `work(member, lifetime, thread)` for every member of every team and each of its lifetimes, on a thread of its own.
template <class T, class Work>
int run(const FlpChain& chain, Work work) {
  try {
    const Shape<T> shape(chain);
    const long teams = shape.teams(), members = shape.members(), threads = teams * members;
    std::vector<std::unique_ptr<Team<T>>> all_teams;
    std::vector<std::unique_ptr<Member<T>>> everybody;
    for (long k = 0; k < threads; ++k) {
      if (k % members == 0) all_teams.push_back(std::make_unique<Team<T>>(shape));
      everybody.push_back(std::make_unique<Member<T>>(shape, *all_teams.back(), k / members, k % members));
    }
    std::atomic<int> go{0};
    auto live = [&](long k) {
      for (long e = k / members; e < chain.lifetimes; e += teams) work(shape, *everybody[k], e, k);
    };
    std::vector<std::thread> started;
    try {
      for (long k = 1; k < threads; ++k)
        started.emplace_back([&, k] {
          int what;
          while (!(what = go.load(std::memory_order_acquire))) std::this_thread::yield();
          if (what > 0) live(k);
        });
    } catch (...) {
      go.store(-1, std::memory_order_release);
      for (auto& thread : started) thread.join();
      return 2;
    }
    go.store(1, std::memory_order_release);
    live(0);
    for (auto& thread : started) thread.join();
    return 0;
  } catch (const std::bad_alloc&) {
    return 1;
  }
}

}  // namespace

#ifndef FLP_VALUE
#error "compile with -DFLP_VALUE=float or -DFLP_VALUE=double"
#endif

extern "C" {

// Each returns 0 when done, 1 without memory, 2 without threads. Arguments as in description.py.

int flp_forward(const FlpChain* c, FLP_VALUE* weights, long start, long stop, FLP_VALUE* activity, FLP_VALUE* history,
                double* magnified) {
  using T = FLP_VALUE;
  return run<T>(*c, [=](const Shape<T>& s, Member<T>& member, long e, long thread) {
    const double here = member.forward(e, weights + e * s.weight_size, start, stop, activity, history);
    magnified[thread] = std::max(magnified[thread], here);
  });
}

int flp_replay(const FlpChain* c, FLP_VALUE* weights, long start, long stop, const FLP_VALUE* activity,
               FLP_VALUE* history) {
  using T = FLP_VALUE;
  return run<T>(*c, [=](const Shape<T>& s, Member<T>& member, long e, long) {
    member.replay(e, weights + e * s.weight_size, start, stop, activity, history);
  });
}

int flp_backward(const FlpChain* c, FLP_VALUE* grad, FLP_VALUE* weights, long start, long stop,
                 const FLP_VALUE* activity, FLP_VALUE* history) {
  using T = FLP_VALUE;
  return run<T>(*c, [=](const Shape<T>& s, Member<T>& member, long e, long) {
    T* own = weights ? weights + e * s.weight_size : nullptr;
    member.backward(e, grad + e * s.weight_size, own, start, stop, activity, history);
  });
}

// How many sets of gradients there are to sum.
long flp_teams(const FlpChain* c) { return Shape<FLP_VALUE>(*c).teams(); }

// How many values a vector holds, by which everything is padded.
long flp_lanes() { return Lanes<FLP_VALUE>::count; }

}  // extern "C"

namespace {

struct Trial {
  long lifetimes, threads, width;
  int decay, error_signal, rectified, clamped, after;
  bool replayed, walked_back;
};

// Walks a small chain there and back, with a gradient of its predictions too; whether all gradients are finite, and not
// all 0.
bool walks(const Trial& trial) {
  using T = FLP_VALUE;
  constexpr long layers = 2, steps = 4, batch = 5, inputs = 3, outputs = 2;
  const long lanes = Lanes<T>::count, E = trial.lifetimes, wide = padded<T>(outputs);
  const long out[layers] = {trial.width, outputs}, in[layers] = {inputs, trial.width};
  std::vector<std::vector<T>> held;
  const auto filled = [&](long size, double value) {
    held.emplace_back(size, T(value));
    for (long k = 0; k < size; ++k) held.back()[k] *= T(1 + 0.1 * (k % 7));
    return held.back().data();
  };
  FlpLayer layer[layers];
  for (long i = 0; i < layers; ++i)
    layer[i] = {out[i], in[i], filled(out[i] * padded<T>(in[i]), 1e-3), filled(out[i], 1e-3), filled(out[i], 2e-3),
                filled(E * out[i], 0.1), filled(out[i] * wide, 0.1), filled(out[i], 0.1), 0.5,
                filled(trial.threads * out[i] * wide, 0), filled(trial.threads * out[i], 0), filled(E * out[i], 0)};
  std::vector<double> strengths(trial.threads * layers), magnified(trial.threads);
  FlpChain chain = {layers, E, steps, batch, outputs, trial.threads, trial.decay, trial.error_signal, trial.rectified,
                    trial.clamped, trial.after, layer, filled(E * steps * batch * inputs, 0.3),
                    filled(E * steps * batch * outputs, 0.7), filled(E * steps * batch * inputs, 0), nullptr,
                    strengths.data(), filled(E * steps * batch * outputs, 0), filled(E * steps * batch * outputs, 0.4)};
  const Shape<T> shape(chain);
  chain.grad_coefficients = filled(trial.threads * shape.weight_size, 0);
  T* weights = filled(E * shape.weight_size, 0.2);
  T* start = filled(E * shape.weight_size, 0.2);
  T* grad = filled(E * shape.weight_size, 1);
  T* activity = filled(steps * E * shape.activity_size, 0);
  T* history = filled(steps * E * shape.weight_size, 0);
  if (flp_forward(&chain, weights, 0, steps, activity, trial.replayed ? nullptr : history, magnified.data())) return false;
  if (trial.replayed && flp_replay(&chain, start, 0, steps, activity, history)) return false;
  if (flp_backward(&chain, grad, trial.walked_back ? weights : nullptr, 0, steps, activity,
                   trial.walked_back ? nullptr : history))
    return false;
  double sum = 0;
  for (long k = 0; k < E * steps * batch * inputs; ++k) sum += std::abs(double(static_cast<T*>(chain.grad_features)[k]));
  return lanes > 0 && std::isfinite(sum) && sum > 0;
}

}  // namespace

extern "C" {

// 0 if this machine can run what was compiled.
int flp_try() { return walks({2, 2, 13, 1, 1, 1, 0, 1, true, false}) && walks({1, 2, 30, 1, 0, 0, 1, 0, false, true}) ? 0 : 1; }

}  // extern "C"
