// What the files with entries share: arguments are checked as far as integers can be, and nothing is thrown out of an entry.
#pragma once
#include <new>
#include <type_traits>

#include "drive.hpp"
#include "entry.hpp"
#include "past.hpp"

namespace slaf {

// The kernels of the chosen instruction set.
const Kernels& kernels();

inline bool good_shape(const void* x, int dtype, int64_t n, int64_t c, int64_t s, int threads) {
  return x && dtype >= 0 && dtype <= 2 && n > 0 && c > 0 && s > 0 && threads > 0;
}

template <class P>
void describe(P& p, const void* x, const void* g, void* out, int dtype, int64_t n, int64_t c, int64_t s, int threads, int width) {
  p.x = x, p.g = g, p.out = out, p.dtype = dtype, p.n = n, p.c = c, p.s = s, p.threads = threads, p.width = width;
  p.rows.resize(c * width);
  const int64_t size = dtype == FLOAT32 ? 4 : 2;
  const bool columns = s < SHORT_ROW, whole_lines = (uintptr_t)out % 64 == 0 && (columns ? c * s : s) * size % 64 == 0;
  const bool by_lines = dtype == FLOAT32 || (dtype == BFLOAT16 && !columns);  // whose vectors are whole ones
  p.past = by_lines && whole_lines && goes_past(out, n * c * s * size);
}

// The status that ``body`` returns, or OK if it returns none.
template <class F>
int guarded(F body) {
  try {
    const Kernels& set = kernels();  // one for the whole call
    if constexpr (std::is_void_v<decltype(body(set))>) return body(set), OK;
    else return body(set);
  } catch (const std::bad_alloc&) {
    return NO_MEMORY;
  }
}

}  // namespace slaf
