// Vectors as wide as the processor's registers, and sums over a minibatch.

#pragma once

namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <class T>
struct VectorType {
  typedef T type __attribute__((vector_size(kVectorBytes), aligned(sizeof(T)), may_alias));
};

template <class T>
using Vector = typename VectorType<T>::type;

// Values in a vector.
template <class T>
constexpr long kLanes = kVectorBytes / sizeof(T);

template <class T>
inline Vector<T> load(const T* from) { return *reinterpret_cast<const Vector<T>*>(from); }

template <class T>
inline void store(T* to, Vector<T> values) { *reinterpret_cast<Vector<T>*>(to) = values; }

// The next multiple of kLanes.
template <class T>
inline long padded(long count) { return (count + kLanes<T> - 1) / kLanes<T> * kLanes<T>; }

// max(v, 0), lane by lane; propagates NaN.
template <class T>
inline Vector<T> relu(Vector<T> v) { return v < 0 ? Vector<T>{} : v; }

// sum_k v_k
template <class T>
inline T sum_of(Vector<T> v) {
  T lanes[kLanes<T>];
  store(lanes, v);
  for (long half = kLanes<T> / 2; half; half /= 2)
    for (long k = 0; k < half; ++k) lanes[k] += lanes[k + half];
  return lanes[0];
}

// sum_n term(n) for n < batch. `term(at_n)` is computed from `at_n(p)`, which stands for p[n]: a vector of the
// minibatch's samples, or a single one where less than a vector of them is left.
template <class T, class Term>
inline T sum_over(long batch, Term term) {
  Vector<T> sum{};
  long n = 0;
  for (; n + kLanes<T> <= batch; n += kLanes<T>) sum += term([n](const T* p) { return load(p + n); });
  T total = sum_of<T>(sum);
  for (; n < batch; ++n) total += term([n](const T* p) { return p[n]; });
  return total;
}

}  // namespace
