// y = height + slope·(x - place) + Σ_s a_s max(b_s - x, 0), slope = right where x > place, else left. S: how many hinges, or ANY.
// left = -0 means that there is no line on the left, also at -∞.
// Parameters: place, left, right, height, a_0, b_0, …. Sums: of g·(x - place) on the left and on the right, of g on the left and on
// the right, then for every hinge Σ g·max(b_s - x, 0) and Σ g where b_s > x.
#pragma once
#include <float.h>
#include <math.h>

#include "series.hpp"

namespace {

SLAF_INLINE vf where(vi mask, vf v) { return (vf)((vi)v & mask); }

template <int S, class F>
SLAF_INLINE void each_hinge(int count, F f) {
  if constexpr (S == ANY)
    for (int s = 0; s < count; ++s) f(s);
}

template <int S, int U, class P>
SLAF_INLINE void hinged(int count, P p, const vf (&x)[U], vf (&y)[U]) {
  for (int v = 0; v < U; ++v) {
    const vf d = x[v] - p(0, v), least = (vi)p(1, v) == INT32_MIN ? all(-FLT_MAX) : all(-INFINITY);
    y[v] = (x[v] > p(0, v) ? p(2, v) : p(1, v)) * (d < least ? least : d) + p(3, v);
  }
  each_hinge<S>(count, [&](int s) {
    for (int v = 0; v < U; ++v) {
      const vf d = p(5 + 2 * s, v) - x[v];
      y[v] += p(4 + 2 * s, v) * where(~(vi)(d <= 0.0f), d);  // keeps NaN
    }
  });
}

template <int S, bool M, int U, class P, class A>
SLAF_INLINE void hinged_gradients(int count, P p, const vf (&x)[U], const vf (&g)[U], vf (&gx)[U], vi mask, A add) {
  vi right[U];
  vf slope[U], gz[U];
  for (int v = 0; v < U; ++v) {
    right[v] = (vi)(x[v] > p(0, v));
    slope[v] = right[v] ? p(2, v) : p(1, v);
    gz[v] = g[v] * (x[v] - p(0, v));
    if (M) gz[v] = keep(gz[v], mask);
  }
  for (int v = 0; v < U; ++v) add(0, v, where(~right[v], gz[v]));
  for (int v = 0; v < U; ++v) add(1, v, where(right[v], gz[v]));
  for (int v = 0; v < U; ++v) add(2, v, where(~right[v], g[v]));
  for (int v = 0; v < U; ++v) add(3, v, where(right[v], g[v]));
  each_hinge<S>(count, [&](int s) {
    vf d[U], below[U];
    for (int v = 0; v < U; ++v) {
      d[v] = p(5 + 2 * s, v) - x[v];
      const vi left = ~(vi)(d[v] <= 0.0f);
      slope[v] -= where(left, p(4 + 2 * s, v));
      below[v] = where(left, g[v]);
      d[v] = g[v] * where(left, d[v]);
      if (M) d[v] = keep(d[v], mask);
    }
    for (int v = 0; v < U; ++v) add(4 + 2 * s, v, d[v]);
    for (int v = 0; v < U; ++v) add(5 + 2 * s, v, below[v]);
  });
  for (int v = 0; v < U; ++v) gx[v] = g[v] * slope[v];
}

constexpr int HINGE_TERMS = 4 + 2 * slaf::MAX_HINGES;

template <int S, class T>
void hinges_row_forward(const void* from, void* to, int64_t n, const float* parameters, int count, bool past) {
  const T* x = static_cast<const T*>(from);
  T* y = static_cast<T*>(to);
  const Constants<S == ANY ? HINGE_TERMS : 4> c(parameters, 4 + 2 * count);
  auto p = [&c](int j, int) { return c.c[j]; };
  int64_t i = 0;
  for (; i + AHEAD * W <= n; i += AHEAD * W) {
    vf u[AHEAD], out[AHEAD];
    load_all(x + i, u);
    hinged<S>(count, p, u, out);
    put_all(y + i, out, past);
  }
  for (; i < n; i += W) {
    const int lanes = n - i < W ? (int)(n - i) : W;
    vf u[1] = {load_part(x + i, lanes)}, out[1];
    hinged<S>(count, p, u, out);
    store_part(y + i, out[0], lanes);
  }
}

template <int S, class T>
void hinges_row_backward(const void* from, const void* by, void* to, int64_t n, const float* parameters, int count, double* sums,
                         bool past) {
  const T *x = static_cast<const T*>(from), *g = static_cast<const T*>(by);
  T* gx = static_cast<T*>(to);
  const Constants<S == ANY ? HINGE_TERMS : 4> c(parameters, 4 + 2 * count);
  auto p = [&c](int j, int) { return c.c[j]; };
  for (int64_t start = 0; start < n; start += RUN) {
    const int64_t end = n - start < RUN ? n : start + RUN;
    vf s[S == ANY ? HINGE_TERMS : 4];
    for (int j = 0; j < 4 + 2 * count; ++j) s[j] = vf{};
    auto add = [&s](int j, int, vf t) { s[j] += t; };
    int64_t i = start;
    for (; i + AHEAD * W <= end; i += AHEAD * W) {
      vf u[AHEAD], gv[AHEAD], out[AHEAD];
      load_all(x + i, u), load_all(g + i, gv);
      hinged_gradients<S, false>(count, p, u, gv, out, vi{}, add);
      put_all(gx + i, out, past);
    }
    for (; i < end; i += W) {
      const int lanes = end - i < W ? (int)(end - i) : W;
      vf u[1] = {load_part(x + i, lanes)}, gv[1] = {load_part(g + i, lanes)}, out[1];
      hinged_gradients<S, true>(count, p, u, gv, out, first(lanes), add);
      store_part(gx + i, out[0], lanes);
    }
    for (int j = 0; j < 4 + 2 * count; ++j) sums[j] += total(s[j]);
  }
}

template <int S, class T>
void hinges_column_forward(const void* from, void* to, int64_t rows, int64_t ld, int64_t groups, int count, const float* table, bool past) {
  const T* x = static_cast<const T*>(from);
  T* y = static_cast<T*>(to);
  auto step = [=](auto block, int64_t i, int64_t at, int64_t) {
    using B = decltype(block);
    vf u[B::size], out[B::size];
    gather<B>(x + i, ld, u);
    hinged<S>(count, Table<B>{table + at}, u, out);
    scatter<B>(y + i, ld, out, past);
  };
  sweep(Streams<T>{x, nullptr, y, past}, rows, ld, groups, 4 + 2 * count, 0, step);
}

template <int S, class T>
void hinges_column_backward(const void* from, const void* by, void* to, int64_t rows, int64_t ld, int64_t groups, int count,
                            const float* table, float* sums, bool past) {
  const T *x = static_cast<const T*>(from), *g = static_cast<const T*>(by);
  T* gx = static_cast<T*>(to);
  auto step = [=](auto block, int64_t i, int64_t at, int64_t sum) {
    using B = decltype(block);
    vf u[B::size], gv[B::size], out[B::size];
    gather<B>(x + i, ld, u);
    gather<B>(g + i, ld, gv);
    hinged_gradients<S, false>(count, Table<B>{table + at}, u, gv, out, vi{}, Adder<B>(sums + sum));
    scatter<B>(gx + i, ld, out, past);
  };
  sweep(Streams<T>{x, g, gx, past}, rows, ld, groups, 4 + 2 * count, 4 + 2 * count, step);
}

}  // namespace
