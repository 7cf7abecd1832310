// The elementwise parts of layers that normalise and activate; what the statistics make of their parameters, norm_act.cpp and
// norm_act.py know.
#pragma once
#include "elementwise.hpp"
#include "exponential.hpp"

namespace {

// y = a·x·σ(v x) + b.
struct GateForward : Fixed<3, 0, false, true> {
  template <class C, class S>
  static SLAF_INLINE vf value(int, C c, vf x, vf, S) {
    return c(0) * (x * Logistic(c(1) * x).value) + c(2);
  }
};

// With h = x·σ(v x): Σ g, Σ g h, Σ g ∂h/∂v.
struct GateSums : Fixed<1, 3, true, false> {
  template <class C, class S>
  static SLAF_INLINE vf value(int, C c, vf x, vf g, S add) {
    const Logistic gate(c(0) * x);
    const vf gh = g * (x * gate.value);
    add(0, g), add(1, gh), add(2, gh * (x * gate.rest));
    return vf{};
  }
};

// gx = a·g·h'(x) + k·(x - c): the difference first, so that nothing cancels where k is large.
struct GateInput : Fixed<4, 0, true, true> {
  template <class C, class S>
  static SLAF_INLINE vf value(int, C c, vf x, vf g, S) {
    const vf z = c(1) * x;
    const Logistic gate(z);
    return c(0) * g * (gate.value * (z * gate.rest + 1.0f)) + c(2) * (x - c(3));
  }
};

// y = a·x/D + b, D = max(l, r), r = p·(x - c) + q. Where both are equal, each has half of the gradient.
struct Larger {
  vf reciprocal, right;  // 1/D, and the share of r in its gradient
  SLAF_INLINE Larger(vf l, vf p, vf q, vf c, vf x) {
    const vf r = p * (x - c) + q;
    reciprocal = 1.0f / (l > r ? l : r);  // NaN where r is
    right = r > l ? all(1.0f) : r == l ? all(0.5f) : vf{};
  }
};

struct QuotientForward : Fixed<6, 0, false, true> {
  template <class C, class S>
  static SLAF_INLINE vf value(int, C c, vf x, vf, S) {
    return c(4) * (x * Larger(c(0), c(1), c(2), c(3), x).reciprocal) + c(5);
  }
};

// Σ g, Σ g x/D, and, with t = g x/D², Σ t, Σ t and Σ t x where r is larger.
struct QuotientSums : Fixed<4, 5, true, false> {
  template <class C, class S>
  static SLAF_INLINE vf value(int, C c, vf x, vf g, S add) {
    const Larger d(c(0), c(1), c(2), c(3), x);
    const vf first = g * (x * d.reciprocal), t = first * d.reciprocal, own = t * d.right;
    add(0, g), add(1, first), add(2, t), add(3, own), add(4, own * x);
    return vf{};
  }
};

// gx = a·g·(1/D - p·x/D² where r is larger) + m + k·(x - c).
struct QuotientInput : Fixed<7, 0, true, true> {
  template <class C, class S>
  static SLAF_INLINE vf value(int, C c, vf x, vf g, S) {
    const Larger d(c(0), c(1), c(2), c(3), x);
    const vf slope = d.reciprocal - c(1) * (x * d.reciprocal) * (d.reciprocal * d.right);
    return c(4) * (g * slope) + (c(6) * (x - c(3)) + c(5));
  }
};

}  // namespace
