// exp and the logistic function by vectors, to 2 units in the last place.
#pragma once
#include "simd.hpp"

namespace {

SLAF_INLINE vf smaller(vf a, vf b) { return b < a ? b : a; }  // a where either is NaN
SLAF_INLINE vf larger(vf a, vf b) { return b > a ? b : a; }

// e^z = 2^n e^r, n the integer nearest to z/ln 2. Below 2^-126 and beyond 2^127 the result stays there; NaN stays NaN.
SLAF_INLINE vf exponential(vf z) {
  const float magic = 0x1.8p23f;  // added, it leaves the integer in the last bits
  z = smaller(larger(z, all(-87.33654f)), all(88.37626f));
  const vf shifted = z * 1.44269504f + magic, n = shifted - magic;
  vf r = z - n * 0.693359375f;  // ln 2 in two parts: the first one's products with n are exact
  r = r + n * 2.12194440e-4f;
  vf p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  return p * (vf)(((vi)shifted << 23) + 0x3f800000);
}

// σ(z) and 1 - σ(z), each to a few units in the last place.
struct Logistic {
  vf value, rest;
  SLAF_INLINE explicit Logistic(vf z) {
    const vf e = exponential(-z), r = 1.0f / (1.0f + e);
    value = r, rest = e * r;
  }
};

}  // namespace
