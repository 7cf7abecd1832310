// Σ_j c_j φ_j(u), u = (x - center)·rscale, and its gradients. F: 0 powers, 1 Chebyshev; D: degree,
// ANY where it is known at run time only.
#pragma once
#include "kernels.hpp"
#include "simd.hpp"

namespace {

constexpr int ANY = -1;

// Step by step, so that a kernel can interleave the two: U independent vectors at a time alone do not hide the latency of either.

template <class C, int U>
SLAF_INLINE void coefficients(const C& c, int j, vf (&to)[U]) {
  for (int v = 0; v < U; ++v) to[v] = c(j, v);
}

// Those of a table of columns, read once for all rows of a block: left to the compiler each is an operand of as many instructions, and
// loads are what a block of two rows has too few of.
template <class B>
struct Once {
  const float* at;
};

template <class B, int U>
SLAF_INLINE void coefficients(const Once<B>& t, int j, vf (&to)[U]) {
  for (int n = 0; n < U; ++n) {
    to[n] = n % B::rows ? to[n - 1] : load(t.at + j * LINE + n / B::rows * W);
    if (B::vectors > 1 && n % B::rows == 0) SLAF_OPAQUE(to[n]);
  }
}

// Horner's rule, or Clenshaw's: Σ_j c_j φ_j(u) after step(j) for j = degree - 1 … 0.
template <int F, int U>
struct Horner {
  vf y[U], later[U];
  template <class C>
  SLAF_INLINE Horner(int degree, C c) {
    coefficients(c, degree, y);
    for (int v = 0; v < U; ++v) later[v] = vf{};
  }
  template <class C>
  SLAF_INLINE void step(int j, C c, const vf (&u)[U]) {
    vf a[U];
    coefficients(c, j, a);
    for (int v = 0; v < U; ++v) {
      const vf next = F == 0 ? y[v] * u[v] + a[v] : y[v] * (j ? u[v] + u[v] : u[v]) + (a[v] - later[v]);
      later[v] = y[v];
      y[v] = next;
    }
  }
};

// g·φ_j(u) after step(1) … step(j).
template <int F, int U>
struct Products {
  vf t[U], before[U];
  SLAF_INLINE explicit Products(const vf (&g)[U]) {
    for (int v = 0; v < U; ++v) t[v] = g[v], before[v] = vf{};
  }
  SLAF_INLINE void step(int j, const vf (&u)[U]) {
    for (int v = 0; v < U; ++v) {
      const vf next = F == 0 || j == 1 ? t[v] * u[v] : t[v] * (u[v] + u[v]) - before[v];
      before[v] = t[v];
      t[v] = next;
    }
  }
};

// step(0) … step(degree).
template <int D, class S>
SLAF_INLINE void ascending(int degree, S step) {
  if constexpr (D == ANY) {
    for (int j = 0; j <= degree; ++j) step(j);
  } else {
    SLAF_UNROLL for (int j = 0; j <= D; ++j) step(j);
  }
}

template <int F, int D, int U, class C>
SLAF_INLINE void evaluate(int degree, C c, const vf (&u)[U], vf (&y)[U]) {
  if constexpr (D != ANY) degree = D;
  Horner<F, U> sum(degree, c);
  ascending<D>(degree, [&](int j) {
    if (j < degree) sum.step(degree - 1 - j, c, u);
  });
  for (int v = 0; v < U; ++v) y[v] = sum.y[v];
}

// Two series of one u, side by side.
template <int F, int D, int E, int U, class C, class R>
SLAF_INLINE void evaluate_both(int degree, C c, int more, R rest, const vf (&u)[U], vf (&y)[U], vf (&z)[U]) {
  if constexpr (D != ANY) degree = D;
  if constexpr (E != ANY) more = E;
  Horner<F, U> a(degree, c), b(more, rest);
  constexpr int LAST = D == ANY || E == ANY ? ANY : D > E ? D : E;
  ascending<LAST>(degree > more ? degree : more, [&](int j) {
    if (j < degree) a.step(degree - 1 - j, c, u);
    if (j < more) b.step(more - 1 - j, rest, u);
  });
  for (int v = 0; v < U; ++v) y[v] = a.y[v], z[v] = b.y[v];
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
  Products<F, U> product(g);
  ascending<D>(degree, [&](int j) {
    if (j) product.step(j, u);
    for (int v = 0; v < U; ++v) s(j, v, M ? keep(product.t[v], mask) : product.t[v]);
  });
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

template <int F, int D, class T>
void row_forward(const void* from, void* to, int64_t n, const float* coef, int degree, float center, float rscale, bool past) {
  const T* x = static_cast<const T*>(from);
  T* y = static_cast<T*>(to);
  if constexpr (D != ANY) degree = D;
  const Constants<most(D) + 1> c(coef, degree + 1);
  const vf mid = all(center), scale = all(rscale);
  auto at = [&c](int j, int) { return c.c[j]; };
  int64_t i = 0;
  for (; i + AHEAD * W <= n; i += AHEAD * W) {
    vf u[AHEAD], out[AHEAD];
    load_all(x + i, u);
    for (int v = 0; v < AHEAD; ++v) u[v] = (u[v] - mid) * scale;
    value<F, D>(degree, at, u, out);
    put_all(y + i, out, past);
  }
  for (; i < n; i += W) {
    const int count = n - i < W ? (int)(n - i) : W;
    vf u[1] = {(load_part(x + i, count) - mid) * scale}, out[1];
    value<F, D>(degree, at, u, out);
    store_part(y + i, out[0], count);
  }
}

// The sums, and beside them the slope as Σ_j c_j (g·φ_j(u)): it has no chain of its own. Where u is infinite its sign can be lost, which
// then the last sum shows, being no number or infinite itself.
template <int F, int U>
struct Gradients {
  Products<F, U> product;
  vf input[U];
  SLAF_INLINE explicit Gradients(const vf (&g)[U]) : product(g) {
    for (int v = 0; v < U; ++v) input[v] = vf{};
  }
  // INPUT: gx is wanted.
  template <bool INPUT, class C, class S>
  SLAF_INLINE void step(int j, int slope_degree, C c, const vf (&u)[U], S s) {
    if (j) product.step(j, u);
    for (int v = 0; v < U; ++v) s(j, v, product.t[v]);
    if (!INPUT || j > slope_degree) return;
    vf a[U];
    coefficients(c, j, a);
    for (int v = 0; v < U; ++v) input[v] += a[v] * product.t[v];
  }
};

// g·p'(u) as it is defined. Apart: what is rare is not inlined, or too much would be for the rest to be.
template <int F, class T>
__attribute__((noinline)) void row_defined_input(const T* x, const T* g, T* gx, int64_t n, const float* slope, int slope_degree,
                                                 float center, float rscale) {
  const Constants<most(ANY) + 1> c(slope, slope_degree + 1);
  for (int64_t i = 0; i < n; i += W) {
    const int count = n - i < W ? (int)(n - i) : W;
    const vf u[1] = {(load_part(x + i, count) - all(center)) * all(rscale)};
    vf out[1];
    evaluate<F, ANY>(slope_degree, [&c](int j, int) { return c.c[j]; }, u, out);
    store_part(gx + i, load_part(g + i, count) * out[0], count);
  }
}

// INPUT: gx is wanted; else it is not touched.
template <int F, int D, bool INPUT, class T>
void row_backward(const void* from, const void* by, void* to, int64_t n, const float* slope, int degree, float center, float rscale,
                  double* sums, bool past) {
  const T *x = static_cast<const T*>(from), *g = static_cast<const T*>(by);
  T* gx = static_cast<T*>(to);
  if constexpr (D != ANY) degree = D;
  constexpr int S = lower(D), U = W >= 8 ? F == 0 && D > 6 ? 4 : 2 : AHEAD;  // long chains: more of them
  const int slope_degree = lower(degree);
  const Constants<most(S) + 1> c(slope, slope_degree + 1);
  const vf mid = all(center), scale = all(rscale);
  auto at = [&c](int j, int) { return c.c[j]; };
  for (int64_t start = 0; start < n; start += RUN) {
    const int64_t end = n - start < RUN ? n : start + RUN;
    vf s[most(D) + 1] = {};
    int64_t i = start;
    for (; i + U * W <= end; i += U * W) {
      vf u[U], gv[U];
      load_all(x + i, u), load_all(g + i, gv);
      for (int v = 0; v < U; ++v) u[v] = (u[v] - mid) * scale;
      Gradients<F, U> found(gv);
      ascending<D>(degree, [&](int j) { found.template step<INPUT>(j, slope_degree, at, u, [&s](int k, int, vf t) { s[k] += t; }); });
      if constexpr (INPUT) put_all(gx + i, found.input, past);
    }
    for (; i < end; i += W) {
      const int count = end - i < W ? (int)(end - i) : W;
      const vi mask = first(count);
      const vf u[1] = {(load_part(x + i, count) - mid) * scale}, gv[1] = {load_part(g + i, count)};
      Gradients<F, 1> found(gv);
      ascending<D>(degree, [&](int j) {
        found.template step<INPUT>(j, slope_degree, at, u, [&](int k, int, vf t) { s[k] += keep(t, mask); });
      });
      if constexpr (INPUT) store_part(gx + i, found.input[0], count);
    }
    for (int j = 0; j <= degree; ++j) sums[j] += total(s[j]);
    if (INPUT && !__builtin_isfinite(total(s[degree])))
      row_defined_input<F>(x + start, g + start, gx + start, end - start, slope, slope_degree, center, rscale);
  }
}

template <int F, int D, int Q, class T>
void row_input(const void* from, const void* by, void* to, int64_t n, const float* slope, int degree, const float* q, int degree_q,
               float center, float rscale, bool past) {
  const T *x = static_cast<const T*>(from), *g = static_cast<const T*>(by);
  T* gx = static_cast<T*>(to);
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
  constexpr int U = W >= 8 ? 4 : AHEAD;  // no sums need registers
  for (; i + U * W <= n; i += U * W) {
    vf u[U], gv[U], out[U], other[U];
    load_all(x + i, u);
    for (int v = 0; v < U; ++v) u[v] = (u[v] - mid) * scale;
    evaluate_both<F, S, Q>(slope_degree, at, degree_q, rest, u, out, other);
    load_all(g + i, gv);
    for (int v = 0; v < U; ++v) out[v] = gv[v] * out[v] + other[v];
    put_all(gx + i, out, past);
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

// A few rows at a time, so that coefficients and sums are loaded once for all of them; along the rows accesses stay sequential.

// So many rows of so many vectors; vector n lies in row n % ROWS.
template <int ROWS, int VECTORS>
struct Block {
  static constexpr int rows = ROWS, vectors = VECTORS, size = ROWS * VECTORS;
};

template <class B>
struct Table {
  const float* at;
  SLAF_INLINE vf operator()(int j, int n) const { return load(at + j * LINE + n / B::rows * W); }
};

// Rows that lie whole pages apart share one set of a cache, whose eight ways are too few for three streams of four rows: lines were lost
// between their halves.
template <class T>
constexpr int64_t PAGE = 4096 / sizeof(T);

// What a sweep reads and writes, asked for some cache lines ahead: hardware loses track of so many streams.
template <class T>
struct Streams {
  const T *x, *g;  // g and out: null where there is none
  T* out;
  bool past = false;
  SLAF_INLINE void prefetch(int64_t i) const {
    __builtin_prefetch(x + i);
    if (g) __builtin_prefetch(g + i);
    if (out && !past) __builtin_prefetch(out + i, 1);
  }
  // Whether no two are in the same place of a page, or nearly so: allocators put large tensors there.
  SLAF_INLINE bool apart() const { return far(x, g) && far(x, out) && far(g, out); }
  static SLAF_INLINE bool far(const T* a, const T* b) {
    constexpr int64_t two_lines = PAGE<T> / 32;
    const int64_t distance = (a - b) & (PAGE<T> - 1);
    return !a || !b || (distance >= two_lines && distance <= PAGE<T> - two_lines);
  }
};

constexpr int64_t LINES_AHEAD = PER_LINE > 1 ? 4 : 32;  // one vector takes a whole line: they pass quickly
constexpr int64_t NEAR = 1024;   // so few elements are a buffer in the first level of a cache
constexpr int64_t TALL = PER_LINE > 1 ? 8 : 16, BROAD = 8;  // rows and lines of a band, whose parameters and sums stay in the first level of a cache

// step(block, offset of its first vector in x, in the table, in the sums) for every block of a constant size, of 4 rows at most.
// LONG: what a column has takes so long to load that in a band, too, it is to serve four rows, if no lines are lost by that: none are
// where a vector is a whole line.
template <int ROWS = 4, bool LONG = false, class T, class S>
SLAF_INLINE void sweep(const Streams<T>& streams, int64_t rows, int64_t ld, int64_t groups, int width, int sums, S step) {
  if (groups == 0) return;
  const bool far = rows * ld > NEAR;
  auto line = [&](auto block, int64_t r, int64_t k) {
    for (int v = 0; v < PER_LINE; v += decltype(block)::vectors)
      step(block, r * ld + k * LINE + v * W, k * width * LINE + v * W, k * sums * LINE + v * W);
  };
  auto along = [&](auto block, int64_t r) {
    using B = decltype(block);
    const int64_t lines = LINES_AHEAD % groups, below = r + LINES_AHEAD / groups * B::rows;
    for (int64_t k = 0; k < groups; ++k) {
      const int64_t next = k + lines, ahead = next < groups ? below * ld + next * LINE : (below + B::rows) * ld + (next - groups) * LINE;
      for (int i = 0; far && i < B::rows; ++i) streams.prefetch(ahead + i * ld);
      line(block, r, k);
    }
  };
  auto band = [&](auto block, int64_t r) {
    using B = decltype(block);
    int64_t below = (r + TALL) * ld;  // the next band, asked for meanwhile as it lies in memory
    for (int64_t from = 0; from < groups; from += BROAD)
      for (int64_t i = r; i < r + TALL; i += B::rows)
        for (int64_t k = from; k < from + BROAD && k < groups; ++k) {
          for (int n = 0; far && n < B::rows; ++n, below += LINE) streams.prefetch(below);
          line(block, i, k);
        }
  };
  const bool crowded = ld % PAGE<T> == 0 && groups == ld / LINE && streams.out;
  using Banded = Block<(LONG && PER_LINE == 1 ? 4 : 2), (PER_LINE > 1 ? 2 : 1)>;
  int64_t r = 0;
  if constexpr (LONG && PER_LINE > 1)
    if (crowded && streams.apart())
      for (; r + TALL <= rows; r += TALL) band(Block<4, 1>{}, r);
  for (; crowded && r + TALL <= rows; r += TALL) band(Banded{}, r);
  for (; r + ROWS <= rows; r += ROWS) along(Block<ROWS, 1>{}, r);
  for (; r < rows; ++r) along(Block<1, 1>{}, r);
}

template <class B, class T>
SLAF_INLINE void gather(const T* p, int64_t ld, vf (&out)[B::size]) {
  for (int n = 0; n < B::size; ++n) out[n] = load(p + n % B::rows * ld + n / B::rows * W);
}

template <class B, class T>
SLAF_INLINE void scatter(T* p, int64_t ld, const vf (&v)[B::size], bool past = false) {
  for (int n = 0; n < B::size; ++n) put(p + n % B::rows * ld + n / B::rows * W, v[n], past);
}

template <int U, class T>
SLAF_INLINE void standardise(T t, int row, vf (&u)[U]) {
  vf a[U];
  coefficients(t, row, a);
  for (int n = 0; n < U; ++n) u[n] -= a[n];
  coefficients(t, row + 1, a);
  for (int n = 0; n < U; ++n) u[n] *= a[n];
}

// Adds the terms of a block's rows to each sum: two rows at a time, whatever the block, so that its shape does not change a bit.
template <class B>
struct Adder {
  float* sums;
  vf pair{}, sum{};
  SLAF_INLINE explicit Adder(float* sums) : sums(sums) {}
  SLAF_INLINE void operator()(int j, int n, vf term) {
    const int row = n % B::rows;
    float* to = sums + j * LINE + n / B::rows * W;
    pair = row % 2 ? pair + term : term;
    if (row % 2 || B::rows == 1) sum = (row < 2 ? load(to) : sum) + pair;
    if (row == B::rows - 1) store(to, sum);
  }
};

// Whether the last of so many sums is a finite number in every column.
SLAF_INLINE bool finite_columns(int64_t groups, int count, const float* sums) {
  bool finite = true;
  for (int64_t k = 0; k < groups; ++k)
    for (int i = 0; i < LINE; ++i) finite &= (bool)__builtin_isfinite(sums[((k + 1) * count - 1) * LINE + i]);
  return finite;
}

template <int F, int D, class T>
void column_forward(const void* from, void* to, int64_t rows, int64_t ld, int64_t groups, int degree, const float* table, bool past) {
  const T* x = static_cast<const T*>(from);
  T* y = static_cast<T*>(to);
  if constexpr (D != ANY) degree = D;
  auto step = [=](auto block, int64_t i, int64_t at, int64_t) {
    using B = decltype(block);
    const Once<B> t{table + at};
    vf u[B::size], out[B::size];
    gather<B>(x + i, ld, u);
    standardise(t, degree + 1, u);
    value<F, D>(degree, t, u, out);
    scatter<B>(y + i, ld, out, past);
  };
  sweep<4, PER_LINE == 1 && (D > 5)>(Streams<T>{x, nullptr, y, past}, rows, ld, groups, degree + 3, 0, step);
}

template <int F, class T>
__attribute__((noinline)) void column_defined_input(const T* x, const T* g, T* gx, int64_t rows, int64_t ld, int64_t groups,
                                                    int slope_degree, const float* table) {
  auto step = [=](auto block, int64_t i, int64_t at, int64_t) {
    using B = decltype(block);
    const Table<B> t{table + at};
    vf u[B::size], gv[B::size], slope[B::size];
    gather<B>(x + i, ld, u);
    gather<B>(g + i, ld, gv);
    standardise(t, slope_degree + 1, u);
    evaluate<F, ANY>(slope_degree, t, u, slope);
    for (int n = 0; n < B::size; ++n) gv[n] *= slope[n];
    scatter<B>(gx + i, ld, gv);
  };
  sweep(Streams<T>{x, g, gx}, rows, ld, groups, slope_degree + 3, 0, step);
}

template <int F, int D, bool INPUT, class T>
void column_backward(const void* from, const void* by, void* to, int64_t rows, int64_t ld, int64_t groups, int degree, const float* table,
                     float* sums, bool past) {
  const T *x = static_cast<const T*>(from), *g = static_cast<const T*>(by);
  T* gx = static_cast<T*>(to);
  if constexpr (D != ANY) degree = D;
  const int slope_degree = lower(degree);
  auto step = [=](auto block, int64_t i, int64_t at, int64_t sum) {
    using B = decltype(block);
    const Once<B> t{table + at};
    vf u[B::size], gv[B::size];
    gather<B>(x + i, ld, u);
    gather<B>(g + i, ld, gv);
    standardise(t, slope_degree + 1, u);
    Adder<B> add(sums + sum);
    Gradients<F, B::size> found(gv);
    ascending<D>(degree, [&](int j) {
      found.template step<INPUT>(j, slope_degree, t, u, [&add](int k, int n, vf term) { add(k, n, term); });
    });
    if constexpr (INPUT) scatter<B>(gx + i, ld, found.input, past);
  };
  sweep<F == 0 ? 4 : 2, F == 0 && (D > 5)>(Streams<T>{x, g, INPUT ? gx : nullptr, past}, rows, ld, groups, slope_degree + 3, degree + 1, step);
  if (INPUT && !finite_columns(groups, degree + 1, sums)) column_defined_input<F>(x, g, gx, rows, ld, groups, slope_degree, table);
}

template <int F, int D, int Q, class T>
void column_input(const void* from, const void* by, void* to, int64_t rows, int64_t ld, int64_t groups, int degree, int degree_q,
                  const float* table, bool past) {
  const T *x = static_cast<const T*>(from), *g = static_cast<const T*>(by);
  T* gx = static_cast<T*>(to);
  if constexpr (D != ANY) degree = D;
  if constexpr (Q != ANY) degree_q = Q;
  const int slope_degree = lower(degree);
  auto step = [=](auto block, int64_t i, int64_t at, int64_t) {
    using B = decltype(block);
    const Once<B> t{table + at}, rest{table + at + (slope_degree + 1) * LINE};
    vf u[B::size], gv[B::size], out[B::size], other[B::size];
    gather<B>(x + i, ld, u);
    gather<B>(g + i, ld, gv);
    standardise(t, slope_degree + degree_q + 2, u);
    evaluate_both<F, lower(D), Q>(slope_degree, t, degree_q, rest, u, out, other);
    for (int n = 0; n < B::size; ++n) out[n] = gv[n] * out[n] + other[n];
    scatter<B>(gx + i, ld, out, past);
  };
  sweep(Streams<T>{x, g, gx, past}, rows, ld, groups, slope_degree + degree_q + 4, 0, step);
}

}  // namespace
