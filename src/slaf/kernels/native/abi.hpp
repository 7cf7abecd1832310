// What the files of the C interface share: arguments are checked as far as integers can be, nothing is thrown across it.
// Every exported function returns 0, or 1 for an argument out of range, or 2 where memory is short.
#pragma once
#include <new>
#include <type_traits>

#include "drive.hpp"

#if defined(_WIN32)
#define SLAF_EXPORT extern "C" __declspec(dllexport)
#else
#define SLAF_EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace slaf {

enum Status { OK = 0, BAD_ARGUMENT = 1, NO_MEMORY = 2 };

// The kernels of the chosen instruction set.
const Kernels& kernels();

inline bool good_shape(const void* x, int dtype, int64_t n, int64_t c, int64_t s, int threads) {
  return x && dtype >= 0 && dtype <= 2 && n > 0 && c > 0 && s > 0 && threads > 0;
}

template <class P>
void describe(P& p, const void* x, const void* g, void* out, int dtype, int64_t n, int64_t c, int64_t s, int threads, int width) {
  p.x = x, p.g = g, p.out = out, p.dtype = dtype, p.n = n, p.c = c, p.s = s, p.threads = threads, p.width = width;
  p.rows.resize(c * width);
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
