// Runs of elements moved between two orders of memory.
#pragma once
#include <stdint.h>
#include <string.h>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace slaf {

inline void transpose_four(const float* from, int64_t from_row, float* to, int64_t to_column) {
#if defined(__SSE__)
  __m128 a = _mm_loadu_ps(from), b = _mm_loadu_ps(from + from_row), c = _mm_loadu_ps(from + 2 * from_row), d = _mm_loadu_ps(from + 3 * from_row);
  _MM_TRANSPOSE4_PS(a, b, c, d);
  _mm_storeu_ps(to, a), _mm_storeu_ps(to + to_column, b), _mm_storeu_ps(to + 2 * to_column, c), _mm_storeu_ps(to + 3 * to_column, d);
#else
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) to[j * to_column + i] = from[i * from_row + j];
#endif
}

// Run (i, k) of ``length`` elements, i < rows, k < columns, from i·from_row + k·from_column to i·to_row + k·to_column.
inline void move_runs(const float* from, int64_t from_row, int64_t from_column, float* to, int64_t to_row, int64_t to_column, int64_t rows,
                      int64_t columns, int64_t length) {
  if (length == 1 && rows == 4) {
    int64_t k = 0;
    for (; k + 4 <= columns; k += 4) {
      if (from_column == 1) transpose_four(from + k, from_row, to + k * to_column, to_column);
      else transpose_four(from + k * from_column, from_column, to + k, to_row);
    }
    for (; k < columns; ++k)
      for (int64_t i = 0; i < 4; ++i) to[i * to_row + k * to_column] = from[i * from_row + k * from_column];
    return;
  }
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t k = 0; k < columns; ++k) memcpy(to + i * to_row + k * to_column, from + i * from_row + k * from_column, 4 * length);
}

}  // namespace slaf
