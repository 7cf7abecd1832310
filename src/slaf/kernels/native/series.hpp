// Σ_j c_j φ_j(u), u = (x - center)·rscale, and its gradients. F: 0 powers, 1 Chebyshev; D: degree,
// ANY where it is known at run time only.
#pragma once
#include "kernels.hpp"
#include "simd.hpp"

namespace {

constexpr int ANY = -1;

// U independent vectors at a time hide the latency of Horner's rule.
template <int F, int D, int U, class C>
SLAF_INLINE void evaluate(int degree, C c, const vf (&u)[U], vf (&y)[U]) {
  if constexpr (D != ANY) degree = D;
  for (int v = 0; v < U; ++v) y[v] = c(degree, v);
  if (degree == 0) return;
  vf later[U], twice[U];
  for (int v = 0; v < U; ++v) twice[v] = u[v] + u[v], later[v] = vf{};
  auto step = [&](int j) {
    for (int v = 0; v < U; ++v) {
      const vf next = F == 0 ? y[v] * u[v] + c(j, v) : y[v] * (j ? twice[v] : u[v]) + (c(j, v) - later[v]);
      later[v] = y[v];
      y[v] = next;
    }
  };
  if constexpr (D == ANY) {
    for (int j = degree - 1; j >= 0; --j) step(j);
  } else {
    SLAF_UNROLL for (int j = D - 1; j >= 0; --j) step(j);
  }
}

// The value of a series of degree 0 is NaN where u is not finite, as by its definition c + 0·u; its slope, which is constant, is not.
template <int F, int D, int U, class C>
SLAF_INLINE void value(int degree, C c, const vf (&u)[U], vf (&y)[U]) {
  evaluate<F, D>(degree, c, u, y);
  if (degree == 0)
    for (int v = 0; v < U; ++v) y[v] += u[v] - u[v];
}

// s(j, v, g·φ_j(u)) for j from 0 on. Where M, lanes outside the mask are zero.
template <int F, int D, bool M, int U, class S>
SLAF_INLINE void project(int degree, const vf (&g)[U], const vf (&u)[U], vi mask, S s) {
  vf t[U], before[U], twice[U];
  for (int v = 0; v < U; ++v) {
    before[v] = vf{};
    t[v] = g[v];
    twice[v] = u[v] + u[v];
    s(0, v, M ? keep(t[v], mask) : t[v]);
  }
  auto step = [&](int j) {
    for (int v = 0; v < U; ++v) {
      const vf next = F == 0 || j == 1 ? t[v] * u[v] : t[v] * twice[v] - before[v];
      before[v] = t[v];
      t[v] = next;
      s(j, v, M ? keep(next, mask) : next);
    }
  };
  if constexpr (D == ANY) {
    for (int j = 1; j <= degree; ++j) step(j);
  } else {
    SLAF_UNROLL for (int j = 1; j <= D; ++j) step(j);
  }
}

// The most a kernel of degree D may be asked for, and the degree of the slope.
constexpr int most(int degree) { return degree == ANY ? slaf::MAX_DEGREE : degree; }
SLAF_INLINE constexpr int lower(int degree) { return degree == ANY ? ANY : degree > 1 ? degree - 1 : 0; }

// -- rows: one set of coefficients ---------------------------------------------------------------------------------------------

constexpr int AHEAD = W >= 8 ? 2 : 4;  // vectors per step along a row

template <int SIZE>
struct Constants {
  vf c[SIZE];
  SLAF_INLINE Constants(const float* from, int size) {
    for (int j = 0; j < size; ++j) c[j] = all(from[j]);
  }
};

template <int F, int D>
void row_forward(const float* x, float* y, int64_t n, const float* coef, int degree, float center, float rscale) {
  if constexpr (D != ANY) degree = D;
  const Constants<most(D) + 1> c(coef, degree + 1);
  const vf mid = all(center), scale = all(rscale);
  auto at = [&c](int j, int) { return c.c[j]; };
  int64_t i = 0;
  for (; i + AHEAD * W <= n; i += AHEAD * W) {
    vf u[AHEAD], out[AHEAD];
    for (int v = 0; v < AHEAD; ++v) u[v] = (load(x + i + v * W) - mid) * scale;
    value<F, D>(degree, at, u, out);
    for (int v = 0; v < AHEAD; ++v) store(y + i + v * W, out[v]);
  }
  for (; i < n; i += W) {
    const int count = n - i < W ? (int)(n - i) : W;
    vf u[1] = {(load_part(x + i, count) - mid) * scale}, out[1];
    value<F, D>(degree, at, u, out);
    store_part(y + i, out[0], count);
  }
}

// INPUT: gx is wanted; else it is not touched.
template <int F, int D, bool INPUT>
void row_backward(const float* x, const float* g, float* gx, int64_t n, const float* slope, int degree, float center, float rscale,
                  double* sums) {
  if constexpr (D != ANY) degree = D;
  constexpr int S = lower(D);
  const int slope_degree = lower(degree);
  const Constants<most(S) + 1> c(slope, slope_degree + 1);
  const vf mid = all(center), scale = all(rscale);
  auto at = [&c](int j, int) { return c.c[j]; };
  for (int64_t start = 0; start < n; start += RUN) {
    const int64_t end = n - start < RUN ? n : start + RUN;
    vf s[most(D) + 1] = {};
    auto add = [&s](int j, int, vf t) { s[j] += t; };
    int64_t i = start;
    for (; i + AHEAD * W <= end; i += AHEAD * W) {
      vf u[AHEAD], gv[AHEAD], out[AHEAD];
      for (int v = 0; v < AHEAD; ++v) u[v] = (load(x + i + v * W) - mid) * scale, gv[v] = load(g + i + v * W);
      if constexpr (INPUT) {
        evaluate<F, S>(slope_degree, at, u, out);
        for (int v = 0; v < AHEAD; ++v) store(gx + i + v * W, gv[v] * out[v]);
      }
      project<F, D, false>(degree, gv, u, vi{}, add);
    }
    for (; i < end; i += W) {
      const int count = end - i < W ? (int)(end - i) : W;
      vf u[1] = {(load_part(x + i, count) - mid) * scale}, gv[1] = {load_part(g + i, count)}, out[1];
      if constexpr (INPUT) {
        evaluate<F, S>(slope_degree, at, u, out);
        store_part(gx + i, gv[0] * out[0], count);
      }
      project<F, D, true>(degree, gv, u, first(count), add);
    }
    for (int j = 0; j <= degree; ++j) sums[j] += total(s[j]);
  }
}

template <int F, int D, int Q>
void row_input(const float* x, const float* g, float* gx, int64_t n, const float* slope, int degree, const float* q, int degree_q,
               float center, float rscale) {
  if constexpr (D != ANY) degree = D;
  if constexpr (Q != ANY) degree_q = Q;
  constexpr int S = lower(D);
  const int slope_degree = lower(degree);
  const Constants<most(S) + 1> c(slope, slope_degree + 1);
  const Constants<Q == ANY ? slaf::MAX_MOMENTS : Q + 1> more(q, degree_q + 1);
  const vf mid = all(center), scale = all(rscale);
  auto at = [&c](int j, int) { return c.c[j]; };
  auto rest = [&more](int j, int) { return more.c[j]; };
  int64_t i = 0;
  for (; i + AHEAD * W <= n; i += AHEAD * W) {
    vf u[AHEAD], out[AHEAD], other[AHEAD];
    for (int v = 0; v < AHEAD; ++v) u[v] = (load(x + i + v * W) - mid) * scale;
    evaluate<F, S>(slope_degree, at, u, out);
    evaluate<F, Q>(degree_q, rest, u, other);
    for (int v = 0; v < AHEAD; ++v) store(gx + i + v * W, load(g + i + v * W) * out[v] + other[v]);
  }
  for (; i < n; i += W) {
    const int count = n - i < W ? (int)(n - i) : W;
    vf u[1] = {(load_part(x + i, count) - mid) * scale}, out[1], other[1];
    evaluate<F, ANY>(slope_degree, at, u, out);
    evaluate<F, ANY>(degree_q, rest, u, other);
    store_part(gx + i, load_part(g + i, count) * out[0] + other[0], count);
  }
}

// -- columns: coefficients of their own in every lane --------------------------------------------------------------------------

// Four rows at a time, so that coefficients and sums are loaded once for all of them; along the rows accesses stay sequential.

struct Table {
  const float* at;
  SLAF_INLINE vf operator()(int j, int) const { return load(at + j * LINE); }
};

// step(rows, offset of the vector in x, in the table, in the sums) for every vector of the block; ``rows`` is a constant.
template <int N>
struct Count {
  static constexpr int value = N;
};

template <class S>
SLAF_INLINE void sweep(int64_t rows, int64_t ld, int64_t groups, int width, int sums, S step) {
  auto along = [&](auto together, int64_t r) {
    for (int64_t k = 0; k < groups; ++k)
      for (int v = 0; v < PER_LINE; ++v) step(together, r * ld + k * LINE + v * W, k * width * LINE + v * W, k * sums * LINE + v * W);
  };
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) along(Count<4>{}, r);
  for (; r < rows; ++r) along(Count<1>{}, r);
}

template <int R>
SLAF_INLINE void gather(const float* p, int64_t ld, vf (&out)[R]) {
  for (int r = 0; r < R; ++r) out[r] = load(p + r * ld);
}

template <int R>
SLAF_INLINE void scatter(float* p, int64_t ld, const vf (&v)[R]) {
  for (int r = 0; r < R; ++r) store(p + r * ld, v[r]);
}

template <int R>
SLAF_INLINE void standardise(const Table& t, int row, vf (&u)[R]) {
  const vf mid = t(row, 0), scale = t(row + 1, 0);
  for (int r = 0; r < R; ++r) u[r] = (u[r] - mid) * scale;
}

// Collects the R terms of each sum, then adds them to memory.
template <int R>
struct Adder {
  float* sums;
  vf sum;
  SLAF_INLINE void operator()(int j, int r, vf term) {
    sum = r ? sum + term : term;
    if (r == R - 1) store(sums + j * LINE, load(sums + j * LINE) + sum);
  }
};

template <int F, int D>
void column_forward(const float* x, float* y, int64_t rows, int64_t ld, int64_t groups, int degree, const float* table) {
  if constexpr (D != ANY) degree = D;
  auto step = [=](auto together, int64_t i, int64_t at, int64_t) {
    constexpr int R = decltype(together)::value;
    const Table t{table + at};
    vf u[R], out[R];
    gather(x + i, ld, u);
    standardise(t, degree + 1, u);
    value<F, D>(degree, t, u, out);
    scatter(y + i, ld, out);
  };
  sweep(rows, ld, groups, degree + 3, 0, step);
}

template <int F, int D, bool INPUT>
void column_backward(const float* x, const float* g, float* gx, int64_t rows, int64_t ld, int64_t groups, int degree, const float* table,
                     float* sums) {
  if constexpr (D != ANY) degree = D;
  const int slope_degree = lower(degree);
  auto step = [=](auto together, int64_t i, int64_t at, int64_t to) {
    constexpr int R = decltype(together)::value;
    const Table t{table + at};
    vf u[R], gv[R], out[R];
    gather(x + i, ld, u);
    gather(g + i, ld, gv);
    standardise(t, slope_degree + 1, u);
    if constexpr (INPUT) {
      evaluate<F, lower(D)>(slope_degree, t, u, out);
      for (int r = 0; r < R; ++r) out[r] *= gv[r];
      scatter(gx + i, ld, out);
    }
    project<F, D, false>(degree, gv, u, vi{}, Adder<R>{sums + to, vf{}});
  };
  sweep(rows, ld, groups, slope_degree + 3, degree + 1, step);
}

template <int F, int D, int Q>
void column_input(const float* x, const float* g, float* gx, int64_t rows, int64_t ld, int64_t groups, int degree, int degree_q,
                  const float* table) {
  if constexpr (D != ANY) degree = D;
  if constexpr (Q != ANY) degree_q = Q;
  const int slope_degree = lower(degree);
  auto step = [=](auto together, int64_t i, int64_t at, int64_t) {
    constexpr int R = decltype(together)::value;
    const Table t{table + at}, rest{table + at + (slope_degree + 1) * LINE};
    vf u[R], gv[R], out[R], other[R];
    gather(x + i, ld, u);
    gather(g + i, ld, gv);
    standardise(t, slope_degree + degree_q + 2, u);
    evaluate<F, lower(D)>(slope_degree, t, u, out);
    evaluate<F, Q>(degree_q, rest, u, other);
    for (int r = 0; r < R; ++r) out[r] = gv[r] * out[r] + other[r];
    scatter(gx + i, ld, out);
  };
  sweep(rows, ld, groups, slope_degree + degree_q + 4, 0, step);
}

}  // namespace
