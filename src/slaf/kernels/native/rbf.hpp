// Gaussians of one width on a uniform grid, Σ_k a_k exp(-κ(s - j_k)²) with j_k = k - mid and s in spacings from the middle: on the side
// s <= 0 each is exp(-κτ²)·w_k·q^k, τ = s + mid, q = exp(2κs) <= 1, w_k = exp(κ k (2 mid - k)), so that any number of terms costs two
// exponentials and a polynomial in q. The other side is this one with the terms in reverse order.
//
// Parameters: center, rate, κ, reach, bias, the J of a_k w_k, and for the gradient of x two more. Beyond ``reach`` all terms are 0.
#pragma once
#include "elementwise.hpp"
#include "exponential.hpp"

namespace {

constexpr int BUMP_HEAD = 5;

// What rounding took from p = a·b: a·b - p. 0 where the machine has no fused product and difference.
SLAF_INLINE vf lost(vf a, vf b, vf p) {
#if SLAF_LANES == 16 && defined(__AVX512F__)
  return (vf)_mm512_fmsub_ps((__m512)a, (__m512)b, (__m512)p);
#elif SLAF_LANES == 8 && defined(__FMA__)
  return (vf)_mm256_fmsub_ps((__m256)a, (__m256)b, (__m256)p);
#else
  return 0.0f * (a * b - p);
#endif
}

template <int J>
struct Bumps {
  static constexpr int CAPACITY = J == ANY ? slaf::MAX_BUMPS : J;

  vf s, tau, q, bell, twice;
  vi flip;

  template <class C>
  SLAF_INLINE Bumps(int terms, C c, vf x) {
    const float mid = 0.5f * (float)((J == ANY ? terms : J) - 1);
    s = (x - c(0)) * c(1);
    flip = s > 0.0f;
    const vf left = larger(flip ? -s : s, -c(3));
    tau = left + mid;
    twice = c(2) + c(2);
    q = exponential(twice * left);
    // exp(-κτ²) times q^k is of moderate size though both are not: so what rounding takes from the exponent is put back
    const vf rate = c(2) * tau, square = rate * tau, rest = lost(rate, tau, square) + 2.0f * rate * (left - (tau - mid)), e = exponential(-square);
    bell = e - e * rest;
  }

  template <class S>
  static SLAF_INLINE void downwards(int terms, S step) {
    if constexpr (J == ANY) {
      for (int k = terms - 1; k >= 0; --k) step(k);
    } else {
      SLAF_UNROLL for (int k = J - 1; k >= 0; --k) step(k);
    }
  }

  // a_k w_k of the term at q^k.
  template <class C>
  SLAF_INLINE vf coefficient(int terms, C c, int k) const {
    const int last = (J == ANY ? terms : J) - 1;
    return flip ? c(BUMP_HEAD + last - k) : c(BUMP_HEAD + k);
  }

  template <class C>
  SLAF_INLINE vf value(int terms, C c) const {
    vf p = {};
    downwards(terms, [&](int k) { p = p * q + coefficient(terms, c, k); });
    return bell * p;
  }

  // d/ds
  template <class C>
  SLAF_INLINE vf slope(int terms, C c) const {
    vf p = {}, dp = {};
    downwards(terms, [&](int k) { dp = dp * q + p, p = p * q + coefficient(terms, c, k); });
    const vf rise = bell * twice * (dp * q - tau * p);
    return flip ? -rise : rise;
  }
};

template <int J, int MORE, int TERMS, bool G>
struct BumpOp {
  static constexpr int WIDTH = BUMP_HEAD + Bumps<J>::CAPACITY + MORE, SUMS = TERMS ? TERMS + Bumps<J>::CAPACITY : 0;
  static constexpr bool READS = G, WRITES = true;
  static constexpr int width(int terms) { return BUMP_HEAD + (J == ANY ? terms : J) + MORE; }
  static constexpr int sums(int terms) { return TERMS ? TERMS + (J == ANY ? terms : J) : 0; }
};

template <int J>
struct BumpsForward : BumpOp<J, 0, 0, false> {
  template <class C, class S>
  static SLAF_INLINE vf value(int terms, C c, vf x, vf, S) {
    return Bumps<J>(terms, c, x).value(terms, c) + c(4);
  }
};

// gx = g·rate·d/ds; Σ g, the J of Σ g φ_k/w_k, Σ g d/ds, Σ g s d/ds.
template <int J>
struct BumpsBackward : BumpOp<J, 0, 3, true> {
  template <class C, class S>
  static SLAF_INLINE vf value(int terms, C c, vf x, vf g, S add) {
    const Bumps<J> at(terms, c, x);
    const int count = J == ANY ? terms : J;
    const vf slope = g * at.slope(terms, c);
    vf t[Bumps<J>::CAPACITY], next = g * at.bell;
    if constexpr (J == ANY) {
      for (int k = 0; k < count; ++k) t[k] = next, next *= at.q;
      for (int k = 0; k < count; ++k) add(k + 1, at.flip ? t[count - 1 - k] : t[k]);
    } else {
      SLAF_UNROLL for (int k = 0; k < J; ++k) t[k] = next, next *= at.q;
      SLAF_UNROLL for (int k = 0; k < J; ++k) add(k + 1, at.flip ? t[J - 1 - k] : t[k]);
    }
    add(0, g), add(count + 1, slope), add(count + 2, slope * at.s);
    return slope * c(1);
  }
};

// gx = g·rate·d/ds + m + k·s.
template <int J>
struct BumpsInput : BumpOp<J, 2, 0, true> {
  template <class C, class S>
  static SLAF_INLINE vf value(int terms, C c, vf x, vf g, S) {
    const Bumps<J> at(terms, c, x);
    const int end = BUMP_HEAD + (J == ANY ? terms : J);
    return g * at.slope(terms, c) * c(1) + (c(end + 1) * at.s + c(end));
  }
};

template <int J>
void fill_bumps(slaf::Elementwise* out) {
  out[0] = elementwise<BumpsForward<J>>(), out[1] = elementwise<BumpsBackward<J>>(), out[2] = elementwise<BumpsInput<J>>();
}

}  // namespace
