// Matrix products in tiles that stay in registers, and transposes.

#pragma once

#include <algorithm>

#include "vectors.h"

namespace {

// Rows of a tile: with two vectors a row, about as many sums as there are registers.
#if defined(__AVX512F__)
constexpr int kTileRows = 12;
#else
constexpr int kTileRows = 6;
#endif

// A product is inlined where it is used, and what takes its vectors in the product, whatever the compiler estimates.
// Were that its choice, so would be the last bits: where it inlines decides whether it rounds a * b + c once or twice.
#define FLP_INLINE __attribute__((always_inline))

// C[i, j] = sum_k A[i, k] B[k, j] for one tile (Rows, Vectors), then `done(row, vector, C[i, j])` for all of its
// vectors.
template <class T, int Rows, int Vectors, class Done>
inline FLP_INLINE void tile(long depth, const T* a, long a_row, long a_depth, const T* b, long b_depth, long row,
                            long vector, Done& done) {
  Vector<T> sum[Rows][Vectors];
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < Vectors; ++j) sum[i][j] = Vector<T>{};
  for (long k = 0; k < depth; ++k) {
    Vector<T> right[Vectors];
#pragma GCC unroll 2
    for (int j = 0; j < Vectors; ++j) right[j] = load(b + k * b_depth + j * kLanes<T>);
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

// The tiles of at most `Rows` rows from `row` on; of fewer, the same for the next smaller tile.
template <class T, int Rows, class Done>
inline FLP_INLINE void row_of_tiles(long rows, long vectors, long depth, const T* a, long a_row, long a_depth,
                                    const T* b, long b_depth, long row, Done& done) {
  if constexpr (Rows > 1) {
    if (rows < Rows) return row_of_tiles<T, Rows - 1>(rows, vectors, depth, a, a_row, a_depth, b, b_depth, row, done);
  }
  long j = 0;
  for (; j + 2 <= vectors; j += 2)
    tile<T, Rows, 2>(depth, a, a_row, a_depth, b + j * kLanes<T>, b_depth, row, j, done);
  if (j < vectors) tile<T, Rows, 1>(depth, a, a_row, a_depth, b + j * kLanes<T>, b_depth, row, j, done);
}

// The left factor of a product, of any strides: a matrix, or its transpose.
template <class T>
struct Left {
  const T* data;
  long row_stride, column_stride;
};

// The right factor of a product: its rows are whole vectors.
template <class T>
struct Right {
  const T* data;
  long row_stride;
};

// C = A B of A (rows, depth) and B (depth, vectors); `done(row, vector, values)` takes each vector of C from there.
template <class T, class Done>
inline FLP_INLINE void product(long rows, long vectors, long depth, Left<T> a, Right<T> b, Done done) {
  for (long i = 0; i < rows; i += kTileRows)
    row_of_tiles<T, kTileRows>(std::min<long>(kTileRows, rows - i), vectors, depth, a.data + i * a.row_stride,
                               a.row_stride, a.column_stride, b.data, b.row_stride, i, done);
}

// to[c, r] = from[r, c]: (rows, columns) of row stride `from_stride` into (columns, rows) of row stride `to_stride`.
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

}  // namespace
