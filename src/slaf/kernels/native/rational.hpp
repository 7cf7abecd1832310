// P(x)/Q(x) and its gradients. FORM: 0 Q = 1 + Σ|b_k|x^2k, 1 Q = 1 + Σ|b_k||x|^k, 2 Q = 1 + |Σ b_k x^k|, 3 Q = 1 + (Σ b_k x^k)²; in the
// first two the caller passes |b_k|. M, K: degree of P and number of b, or ANY.
//
// Beyond ``limit`` powers of x could overflow where the quotient does not: those elements are left out, then done one by one.
#pragma once
#include "series.hpp"

namespace {

SLAF_INLINE vf absolute(vf v) { return (vf)((vi)v & 0x7fffffff); }
SLAF_INLINE vi sign_of(vf v) { return (vi)v & ((vi)v != INT32_MIN) & INT32_MIN; }  // none for -0
SLAF_INLINE vf turn(vf v, vi sign) { return (vf)((vi)v ^ sign); }

SLAF_INLINE bool any(vi mask) {
#if SLAF_LANES == 16 && defined(__AVX512F__)
  return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#elif SLAF_LANES == 8 && defined(__AVX__)
  return _mm256_movemask_ps((__m256)mask) != 0;
#else
  int64_t words[W / 2], out = 0;
  memcpy(words, &mask, sizeof words);
  for (int i = 0; i < W / 2; ++i) out |= words[i];
  return out != 0;
#endif
}

template <int D, class S>
SLAF_INLINE void downwards(int top, S step) {
  if constexpr (D == ANY) {
    for (int j = top; j >= 0; --j) step(j);
  } else {
    SLAF_UNROLL for (int j = D; j >= 0; --j) step(j);
  }
}

template <int D, class S>
SLAF_INLINE void upwards(int count, S step) {
  if constexpr (D == ANY) {
    for (int j = 0; j < count; ++j) step(j);
  } else {
    SLAF_UNROLL for (int j = 0; j < D; ++j) step(j);
  }
}

template <int FORM>
SLAF_INLINE vf base_of(vf x) {
  return FORM == 0 ? x * x : FORM == 1 ? absolute(x) : x;
}

template <int FORM>
SLAF_INLINE vf outer(vf s) {
  return 1.0f + (FORM == 2 ? absolute(s) : FORM == 3 ? s * s : s);
}

constexpr int below(int count) { return count == ANY ? ANY : count - 1; }

// a(j, v), b(k, v), k from 0 on, are the coefficients.
template <int FORM, int M, int K, int U, class A, class B>
SLAF_INLINE void quotient(int m, int count, A a, B b, const vf (&x)[U], vf (&y)[U]) {
  vf q[U];
  for (int v = 0; v < U; ++v) q[v] = count ? b(count - 1, v) : vf{};
  downwards<below(below(K))>(count - 2, [&](int k) {
    for (int v = 0; v < U; ++v) q[v] = q[v] * base_of<FORM>(x[v]) + b(k, v);
  });
  for (int v = 0; v < U; ++v) q[v] *= base_of<FORM>(x[v]);
  evaluate<0, M>(m, a, x, y);
  for (int v = 0; v < U; ++v) y[v] = y[v] / outer<FORM>(q[v]);
}

// gx, and s(j, v, term) for j of the numerator, then of the denominator.
template <int FORM, int M, int K, bool MASKED, int U, class A, class B, class S>
SLAF_INLINE void gradients(int m, int count, A a, B b, const vf (&x)[U], const vf (&g)[U], vf (&gx)[U], vi mask, S s) {
  vf p[U], dp[U], q[U], dq[U], weight[U], t[U];
  for (int v = 0; v < U; ++v) p[v] = a(m, v), q[v] = count ? b(count - 1, v) : vf{}, dp[v] = dq[v] = vf{};
  downwards<below(M)>(m - 1, [&](int j) {
    for (int v = 0; v < U; ++v) dp[v] = j == M - 1 ? p[v] : dp[v] * x[v] + p[v], p[v] = p[v] * x[v] + a(j, v);
  });
  downwards<below(below(K))>(count - 2, [&](int k) {
    for (int v = 0; v < U; ++v) {
      const vf z = base_of<FORM>(x[v]);
      dq[v] = k == K - 2 ? q[v] : dq[v] * z + q[v];
      q[v] = q[v] * z + b(k, v);
    }
  });
  for (int v = 0; v < U; ++v) {
    const vf z = base_of<FORM>(x[v]);
    dq[v] = dq[v] * z + q[v], q[v] *= z;
    const vf r = 1.0f / outer<FORM>(q[v]), y = p[v] * r;
    t[v] = g[v] * r;
    weight[v] = -t[v] * y;
    vf slope = dq[v];
    if (FORM == 0) slope *= x[v] + x[v];
    if (FORM == 1) slope = (vf)((vi)turn(slope, sign_of(x[v])) & (vi)(x[v] != 0.0f));
    if (FORM == 2) slope = turn(slope, sign_of(q[v])), weight[v] = turn(weight[v], sign_of(q[v]));
    if (FORM == 3) slope *= q[v] + q[v], weight[v] *= q[v] + q[v];
    gx[v] = t[v] * (dp[v] - y * slope);
  }
  upwards<M == ANY ? ANY : M + 1>(m + 1, [&](int j) {
    for (int v = 0; v < U; ++v) {
      s(j, v, MASKED ? keep(t[v], mask) : t[v]);
      t[v] *= x[v];
    }
  });
  upwards<K>(count, [&](int k) {
    for (int v = 0; v < U; ++v) {
      weight[v] *= base_of<FORM>(x[v]);
      s(m + 1 + k, v, MASKED ? keep(weight[v], mask) : weight[v]);
    }
  });
}

// -- far elements ----------------------------------------------------------------------------------------------------------------

typedef long double wide;  // where it is no wider than double, degrees 9 and 10 overflow beyond |x| = 1e30

struct Far {
  const float *a, *b;
  int64_t step;  // between coefficients
  int form, m, count;

  wide inside(wide z, wide* slope) const {
    wide s = 0, d = 0;
    for (int k = count - 1; k >= 0; --k) {
      const wide inner = s + (wide)b[k * step];
      d = d * z + inner;
      s = inner * z;
    }
    *slope = d;
    return s;
  }

  // y, and where sums is not null the gradients: their terms are added to sums[0], sums[stride], ….
  template <class T>
  __attribute__((noinline)) float at(float element, float g, float* gx, T* sums, int64_t stride) const {
    const wide x = __builtin_isinf(element) ? (wide)__builtin_nanf("") : (wide)element;
    const wide z = form == 0 ? x * x : form == 1 && x < 0 ? -x : x;
    wide d, s = inside(z, &d), p = 0, dp = 0;
    for (int j = m; j >= 0; --j) dp = dp * x + p, p = p * x + (wide)a[j * step];
    const wide q = 1 + (form == 2 && s < 0 ? -s : form == 3 ? s * s : s), y = p / q;
    if (sums == nullptr) return (float)y;
    const wide factor = form == 2 ? (s < 0 ? -1 : 1) : form == 3 ? 2 * s : 1;
    const wide slope = d * factor * (form == 0 ? 2 * x : form == 1 && x < 0 ? -1 : 1);
    wide t = (wide)g / q, weight = -t * y * factor;
    *gx = (float)(t * (dp - y * slope));
    for (int j = 0; j <= m; ++j, t *= x) sums[j * stride] += (T)t;
    for (int k = 0; k < count; ++k) sums[(m + 1 + k) * stride] += (T)(weight *= z);
    return (float)y;
  }
};

SLAF_INLINE bool is_far(float x, float limit) { return __builtin_fabsf(x) > limit; }

// Zero in far lanes, which are noted.
SLAF_INLINE vf near(vf x, vf limit, vi* far) {
  const vi beyond = (vi)(absolute(x) > limit);
  *far |= beyond;
  return (vf)((vi)x & ~beyond);
}

// -- rows ------------------------------------------------------------------------------------------------------------------------

template <int FORM, int M, int K, class T>
void rational_row_forward(const void* from, void* to, int64_t n, const float* coef, int m, int count, float limit, bool past) {
  const T* x = static_cast<const T*>(from);
  T* y = static_cast<T*>(to);
  if constexpr (M != ANY) m = M, count = K;
  const Constants<slaf::MAX_RATIONAL> c(coef, m + 1 + count);
  auto a = [&c](int j, int) { return c.c[j]; };
  auto b = [&c, m](int k, int) { return c.c[m + 1 + k]; };
  const vf most = all(limit);
  vi far = {};
  int64_t i = 0;
  for (; i + AHEAD * W <= n; i += AHEAD * W) {
    vf near_x[AHEAD], out[AHEAD];
    load_all(x + i, near_x);
    for (int v = 0; v < AHEAD; ++v) near_x[v] = near(near_x[v], most, &far);
    quotient<FORM, M, K>(m, count, a, b, near_x, out);
    put_all(y + i, out, past);
  }
  for (; i < n; i += W) {
    const int lanes = n - i < W ? (int)(n - i) : W;
    vf near_x[1] = {near(load_part(x + i, lanes), most, &far)}, out[1];
    quotient<FORM, M, K>(m, count, a, b, near_x, out);
    store_part(y + i, out[0], lanes);
  }
  if (!any(far)) return;
  const Far exact{coef, coef + m + 1, 1, FORM, m, count};
  for (i = 0; i < n; ++i)
    if (const float element = widened(x[i]); is_far(element, limit)) narrowed(exact.at<double>(element, 0, nullptr, nullptr, 1), y + i);
}

template <int FORM, int M, int K, class T>
void rational_row_backward(const void* from, const void* by, void* to, int64_t n, const float* coef, int m, int count, float limit,
                           double* sums, bool past) {
  const T *x = static_cast<const T*>(from), *g = static_cast<const T*>(by);
  T* gx = static_cast<T*>(to);
  if constexpr (M != ANY) m = M, count = K;
  const Constants<slaf::MAX_RATIONAL> c(coef, m + 1 + count);
  auto a = [&c](int j, int) { return c.c[j]; };
  auto b = [&c, m](int k, int) { return c.c[m + 1 + k]; };
  const vf most = all(limit);
  vi far = {};
  for (int64_t start = 0; start < n; start += RUN) {
    const int64_t end = n - start < RUN ? n : start + RUN;
    vf s[M == ANY ? slaf::MAX_RATIONAL : M + 1 + K] = {};
    auto add = [&s](int j, int, vf t) { s[j] += t; };
    int64_t i = start;
    for (; i + AHEAD * W <= end; i += AHEAD * W) {
      vf near_x[AHEAD], near_g[AHEAD], out[AHEAD];
      load_all(x + i, near_x), load_all(g + i, near_g);
      for (int v = 0; v < AHEAD; ++v) {
        vi beyond = {};
        near_x[v] = near(near_x[v], most, &beyond);
        near_g[v] = (vf)((vi)near_g[v] & ~beyond);
        far |= beyond;
      }
      gradients<FORM, M, K, false>(m, count, a, b, near_x, near_g, out, vi{}, add);
      put_all(gx + i, out, past);
    }
    for (; i < end; i += W) {
      const int lanes = end - i < W ? (int)(end - i) : W;
      vi beyond = {};
      vf near_x[1] = {near(load_part(x + i, lanes), most, &beyond)}, out[1];
      vf near_g[1] = {(vf)((vi)load_part(g + i, lanes) & ~beyond)};
      far |= beyond;
      gradients<FORM, M, K, true>(m, count, a, b, near_x, near_g, out, first(lanes), add);
      store_part(gx + i, out[0], lanes);
    }
    for (int j = 0; j < m + 1 + count; ++j) sums[j] += total(s[j]);
  }
  if (!any(far)) return;
  const Far exact{coef, coef + m + 1, 1, FORM, m, count};
  for (int64_t i = 0; i < n; ++i)
    if (const float element = widened(x[i]); is_far(element, limit)) {
      float slope;
      exact.at(element, widened(g[i]), &slope, sums, 1);
      narrowed(slope, gx + i);
    }
}

// -- columns ---------------------------------------------------------------------------------------------------------------------

template <int FORM, int M, int K, class T>
void rational_column_forward(const void* from, void* to, int64_t rows, int64_t ld, int64_t groups, int m, int count, float limit,
                             const float* table, bool past) {
  const T* x = static_cast<const T*>(from);
  T* y = static_cast<T*>(to);
  if constexpr (M != ANY) m = M, count = K;
  vi far = {};
  const int terms = m + 1 + count;
  auto step = [=, &far](auto block, int64_t i, int64_t at, int64_t) {
    using B = decltype(block);
    vf near_x[B::size], out[B::size];
    gather<B>(x + i, ld, near_x);
    for (int n = 0; n < B::size; ++n) near_x[n] = near(near_x[n], all(limit), &far);
    quotient<FORM, M, K>(m, count, Table<B>{table + at}, Table<B>{table + at + (m + 1) * LINE}, near_x, out);
    scatter<B>(y + i, ld, out, past);
  };
  sweep(Streams<T>{x, nullptr, y, past}, rows, ld, groups, terms, 0, step);
  if (!any(far)) return;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t q = 0; q < groups * LINE; ++q) {
      const float* c = table + q / LINE * terms * LINE + q % LINE;
      if (const float element = widened(x[r * ld + q]); is_far(element, limit))
        narrowed(Far{c, c + (m + 1) * LINE, LINE, FORM, m, count}.template at<float>(element, 0, nullptr, nullptr, 1), y + r * ld + q);
    }
}

template <int FORM, int M, int K, class T>
void rational_column_backward(const void* from, const void* by, void* to, int64_t rows, int64_t ld, int64_t groups, int m, int count,
                              float limit, const float* table, float* sums, bool past) {
  const T *x = static_cast<const T*>(from), *g = static_cast<const T*>(by);
  T* gx = static_cast<T*>(to);
  if constexpr (M != ANY) m = M, count = K;
  vi far = {};
  const int terms = m + 1 + count;
  auto step = [=, &far](auto block, int64_t i, int64_t at, int64_t sum) {
    using B = decltype(block);
    vf near_x[B::size], near_g[B::size], out[B::size];
    gather<B>(x + i, ld, near_x);
    gather<B>(g + i, ld, near_g);
    for (int n = 0; n < B::size; ++n) {
      vi beyond = {};
      near_x[n] = near(near_x[n], all(limit), &beyond);
      near_g[n] = (vf)((vi)near_g[n] & ~beyond);
      far |= beyond;
    }
    gradients<FORM, M, K, false>(m, count, Table<B>{table + at}, Table<B>{table + at + (m + 1) * LINE}, near_x, near_g, out, vi{},
                                 Adder<B>(sums + sum));
    scatter<B>(gx + i, ld, out, past);
  };
  sweep(Streams<T>{x, g, gx, past}, rows, ld, groups, terms, terms, step);
  if (!any(far)) return;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t q = 0; q < groups * LINE; ++q) {
      const float* c = table + q / LINE * terms * LINE + q % LINE;
      if (const float element = widened(x[r * ld + q]); is_far(element, limit)) {
        const Far exact{c, c + (m + 1) * LINE, LINE, FORM, m, count};
        float slope;
        exact.at(element, widened(g[r * ld + q]), &slope, sums + q / LINE * terms * LINE + q % LINE, LINE);
        narrowed(slope, gx + r * ld + q);
      }
    }
}

}  // namespace
