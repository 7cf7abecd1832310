// Σ φ_j(u), j = 1 … N, N even, or ANY. F: 0 powers, 1 Chebyshev.
#pragma once
#include "series.hpp"

namespace {

// Two chains, odd and even terms, each stepping by φ_2: half the latency of one. s(j - 1, v, φ_j).
template <int F, int N, bool M, int U, class S>
SLAF_INLINE void terms(int count, const vf (&u)[U], vi mask, S s) {
  vf odd[U], even[U], before_odd[U], before_even[U], step[U];
  for (int v = 0; v < U; ++v) {
    const vf square = u[v] * u[v];
    odd[v] = u[v];
    before_odd[v] = u[v];  // T_-1 = T_1
    before_even[v] = all(1.0f);
    even[v] = F == 0 ? square : square + (square - 1.0f);
    step[v] = F == 0 ? square : even[v] + even[v];
  }
  auto next = [&](int j) {
    for (int v = 0; v < U; ++v) s(j, v, M ? keep(odd[v], mask) : odd[v]);
    for (int v = 0; v < U; ++v) s(j + 1, v, M ? keep(even[v], mask) : even[v]);
    for (int v = 0; v < U; ++v) {
      if (F == 0) {
        odd[v] *= step[v];
        even[v] *= step[v];
      } else {
        vf a = odd[v] * step[v] - before_odd[v], b = even[v] * step[v] - before_even[v];
        before_odd[v] = odd[v];
        before_even[v] = even[v];
        odd[v] = a;
        even[v] = b;
      }
    }
  };
  if constexpr (N == ANY) {
    for (int j = 0; j < count; j += 2) next(j);
  } else {
    SLAF_UNROLL for (int j = 0; j < N; j += 2) next(j);
  }
}

// Powers: u^(b + i) = u^b·u^i, i = 1 … 4, so that most are only ever summed: a multiplication and an addition in one.
template <int N, int U>
SLAF_INLINE void powers(const vf (&u)[U], vf (&s)[N]) {
  vf low[4][U], base[U];
  auto each = [](auto f) { SLAF_UNROLL for (int v = 0; v < U; ++v) f(v); };
  each([&](int v) { low[0][v] = u[v], s[0] += u[v]; });
  each([&](int v) { base[v] = low[1][v] = u[v] * u[v], s[1] += low[1][v]; });
  if constexpr (N > 2) {
    each([&](int v) { base[v] = low[3][v] = low[1][v] * low[1][v], s[3] += base[v]; });
    each([&](int v) { low[2][v] = low[1][v] * u[v], s[2] += low[2][v]; });
  }
  SLAF_UNROLL for (int j = 4; j < N; j += 4) {
    SLAF_UNROLL for (int i = 0; i < 3; ++i)
      if (j + i < N) each([&](int v) { s[j + i] += base[v] * low[i][v]; });
    if (j + 3 < N) each([&](int v) { base[v] *= low[3][v], s[j + 3] += base[v]; });
  }
}

// One vector at a time leaves room for as many sums in registers; more sums stay in memory, and three vectors hide its latency.
constexpr int IN_REGISTERS = 10;

template <int F, int N, class T>
void row_moments(const void* from, int64_t n, int count, float center, float rscale, double* sums) {
  const T* x = static_cast<const T*>(from);
  if constexpr (N != ANY) count = N;
  const vf mid = all(center), scale = all(rscale);
  for (int64_t start = 0; start < n; start += RUN) {
    const int64_t end = n - start < RUN ? n : start + RUN;
    vf s[N == ANY ? slaf::MAX_MOMENTS : N] = {};
    auto add = [&s](int j, int, vf t) { s[j] += t; };
    constexpr bool PRODUCTS = F == 0 && N != ANY;
    constexpr int U = !PRODUCTS ? AHEAD : N <= IN_REGISTERS ? 1 : 3;
    int64_t i = start;
    for (; i + U * W <= end; i += U * W) {
      vf u[U];
      load_all(x + i, u);
      for (int v = 0; v < U; ++v) u[v] = (u[v] - mid) * scale;
      if constexpr (PRODUCTS) powers<N>(u, s);
      else terms<F, N, false>(count, u, vi{}, add);
    }
    for (; i < end; i += W) {
      const int lanes = end - i < W ? (int)(end - i) : W;
      vf u[1] = {(load_part(x + i, lanes) - mid) * scale};
      terms<F, N, true>(count, u, first(lanes), add);
    }
    for (int j = 0; j < count; ++j) sums[j] += total(s[j]);
  }
}

template <int F, int N, class T>
void column_moments(const void* from, int64_t rows, int64_t ld, int64_t groups, int count, const float* table, float* sums) {
  const T* x = static_cast<const T*>(from);
  if constexpr (N != ANY) count = N;
  auto step = [=](auto block, int64_t i, int64_t at, int64_t to) {
    using B = decltype(block);
    vf u[B::size];
    gather<B>(x + i, ld, u);
    standardise(Table<B>{table + at}, 0, u);
    terms<F, N, false>(count, u, vi{}, Adder<B>(sums + to));
  };
  sweep(Streams<T>{x, nullptr, nullptr}, rows, ld, groups, 2, count, step);
}

}  // namespace
