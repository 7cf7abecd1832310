// Terms of a polynomial family, each standardised by its own mean and variance over a batch, as one series: by the moments of the input
// alone, since products of terms are sums of terms. In float64, for the sites of one vector side by side; nothing crosses its lanes.
#pragma once
#include <algorithm>
#include <cmath>

#include "kernels.hpp"

namespace slaf {
namespace {

constexpr int SITES = 2;  // what every machine has vectors for
typedef double vd __attribute__((vector_size(8 * SITES)));

inline vd root(vd v) {
  for (int i = 0; i < SITES; ++i) v[i] = std::sqrt(v[i]);
  return v;
}

// The family, with φ_(k+1) = (k ? f : 1)·u φ_k - (φ_(k-1) if Chebyshev and k), f: 1 powers, 2 Chebyshev.
struct Family {
  int code;
  double factor(int k) const { return code && k ? 2.0 : 1.0; }
  // Column j of u times a series: row[-1] and row[degree + 1] are never asked for.
  vd times_u(const vd* row, int j, int degree) const {
    const vd above = j < degree ? row[j + 1] : vd{};
    if (code == 0) return j ? row[j - 1] : vd{};
    return j == 0 ? above * 0.5 : j == 1 ? row[0] + above * 0.5 : (row[j - 1] + above) * 0.5;
  }
  // The transpose of that.
  vd times_u_back(const vd* g, int i, int degree) const {
    const vd above = i < degree ? g[i + 1] : vd{};
    if (code == 0 || i == 0) return above;
    return (above + g[i - 1]) * 0.5;
  }
};

constexpr double RELATIVE_FLOOR = 1e-10, ABSOLUTE_FLOOR = 1e-30;  // of a term's second moment; see learnable/statistics.py

// A term as a series Σ_j S_j φ_j(u) has coefficients that cancel where Σ_j |S_j| rms φ_j(u) is much more than the term's own rms:
// T_18(1.7 u) loses eight digits. So much more of their squares, which are what variances are made of, is too much.
constexpr double CANCELLED = 32.0;

// Term k is φ_k(α u + β), with t_j the means of φ_j(u), t_0 = 1.
struct TermFold {
  Family family;
  int degree;
  double eps;  // added to variances; NaN: a floor relative to the second moment
  vd t[MAX_MOMENTS + 1], a[MAX_DEGREE + 1], alpha, beta;

  vd S[MAX_DEGREE + 1][MAX_DEGREE + 1];  // φ_k(α u + β) = Σ_j S[k][j] φ_j(u)
  vd C[MAX_DEGREE + 1][MAX_DEGREE + 1];  // covariances of φ_i(u) and φ_j(u)
  vd V[MAX_DEGREE + 1][MAX_DEGREE + 1];  // S C
  vd mean[MAX_DEGREE + 1], raw[MAX_DEGREE + 1], rstd[MAX_DEGREE + 1], linear[MAX_DEGREE + 1];

  bool relative() const { return std::isnan(eps); }
  vd var(int k) const { return raw[k] < 0 ? vd{} : raw[k]; }

  void expand() {
    for (int j = 0; j <= degree; ++j) S[0][j] = vd{};
    S[0][0] += 1.0;
    for (int k = 0; k < degree; ++k) {
      const vd a_k = alpha * family.factor(k), b_k = beta * family.factor(k);
      const bool back = family.code && k;
      for (int j = 0; j <= degree; ++j) {
        if (j > k + 1) {
          S[k + 1][j] = vd{};
          continue;
        }
        const vd next = a_k * family.times_u(S[k], j, degree) + b_k * S[k][j];
        S[k + 1][j] = back ? next - S[k - 1][j] : next;
      }
    }
  }

  // Means, variances and the coefficients linear[1 … degree] of φ_j(u).
  void run() {
    expand();
    for (int i = 1; i <= degree; ++i)
      for (int j = 1; j <= i; ++j) {
        const vd product = family.code ? (t[i + j] + t[i - j]) * 0.5 : t[i + j];
        C[i][j] = C[j][i] = product - t[i] * t[j];
      }
    for (int j = 1; j <= degree; ++j) linear[j] = vd{};
    for (int k = 1; k <= degree; ++k) {
      mean[k] = S[k][0], raw[k] = vd{};
      for (int i = 1; i <= k; ++i) {
        vd sum = {};
        for (int j = 1; j <= k; ++j) sum += S[k][j] * C[j][i];
        V[k][i] = sum;
        raw[k] += sum * S[k][i], mean[k] += S[k][i] * t[i];
      }
      const vd size = var(k);
      rstd[k] = 1.0 / root(relative() ? size + RELATIVE_FLOOR * (size + mean[k] * mean[k]) + ABSOLUTE_FLOOR : size + eps);
      for (int j = 1; j <= k; ++j) linear[j] += a[k] * rstd[k] * S[k][j];
    }
  }

  // Whether coefficients cancel, after run(). What they leave may have any value, or none, and then they do.
  bool cancels() const {
    vd size[MAX_DEGREE + 1];
    for (int j = 0; j <= degree; ++j) size[j] = root(family.code ? (t[2 * j] + 1.0) * 0.5 : t[2 * j]);
    for (int k = 1; k <= degree; ++k) {
      vd all = {};
      for (int j = 0; j <= k; ++j) all += (S[k][j] < 0 ? -S[k][j] : S[k][j]) * size[j];
      const vd own = CANCELLED * (raw[k] + mean[k] * mean[k]);
      for (int i = 0; i < SITES; ++i)
        if (!(all[i] * all[i] <= own[i])) return true;
    }
    return false;
  }

  // What the constant b becomes.
  vd constant(vd b) const {
    for (int j = 1; j <= degree; ++j) b -= linear[j] * t[j];
    return b;
  }
};

// The gradients of a TermFold, after its run(), from those of the coefficients, gc[0 … degree].
struct TermAdjoint {
  vd ga[MAX_DEGREE + 1], gt[MAX_MOMENTS + 1], galpha, gbeta;

  TermAdjoint(const TermFold& f, const vd* gc, bool map) : galpha{}, gbeta{} {
    const int degree = f.degree;
    const double floor = f.relative() ? RELATIVE_FLOOR : 0.0;
    vd glinear[MAX_DEGREE + 1], gS[MAX_DEGREE + 1][MAX_DEGREE + 1], gC[MAX_DEGREE + 1][MAX_DEGREE + 1];
    for (int j = 1; j <= degree; ++j) glinear[j] = gc[j] - gc[0] * f.t[j];
    for (int j = 0; j <= 2 * degree; ++j) gt[j] = vd{};
    for (int j = 1; j <= degree; ++j) {
      gt[j] = -(gc[0] * f.linear[j]);
      for (int i = 1; i <= j; ++i) gC[j][i] = vd{};
    }
    for (int k = 1; k <= degree; ++k) {
      vd gscaled = {};
      for (int j = 1; j <= k; ++j) gscaled += f.S[k][j] * glinear[j];
      ga[k] = gscaled * f.rstd[k];
      const vd slope = -0.5 * (f.rstd[k] * f.rstd[k] * f.rstd[k]) * gscaled * f.a[k];
      const vd gvar = f.raw[k] < 0 ? vd{} : slope * (1.0 + floor), gmean = slope * (2.0 * floor) * f.mean[k];
      for (int j = 1; j <= k; ++j) {
        gt[j] += gmean * f.S[k][j];
        const vd weighted = gvar * f.S[k][j];
        for (int i = 1; i <= j; ++i) gC[j][i] += weighted * f.S[k][i];
        if (map) gS[k][j] = f.a[k] * f.rstd[k] * glinear[j] + gmean * f.t[j] + 2.0 * gvar * f.V[k][j];
      }
      gS[k][0] = gmean;
      for (int j = k + 1; j <= degree; ++j) gS[k][j] = vd{};
    }
    for (int i = 1; i <= degree; ++i)
      for (int j = 1; j <= i; ++j) {
        const vd both = i == j ? gC[i][j] : 2.0 * gC[i][j];
        gt[i] -= both * f.t[j], gt[j] -= both * f.t[i];
        if (f.family.code) gt[i + j] += 0.5 * both, gt[i - j] += 0.5 * both;
        else gt[i + j] += both;
      }
    if (map) through_expansion(f, gS);
  }

 private:
  void through_expansion(const TermFold& f, vd (&gS)[MAX_DEGREE + 1][MAX_DEGREE + 1]) {
    const int degree = f.degree;
    for (int k = degree - 1; k >= 0; --k) {
      const double factor = f.family.factor(k);
      const vd *g = gS[k + 1], *row = f.S[k];
      for (int j = 0; j <= k + 1; ++j) galpha += factor * g[j] * f.family.times_u(row, j, degree), gbeta += factor * g[j] * row[j];
      for (int i = 0; i <= k && k > 0; ++i) {
        gS[k][i] += factor * (f.alpha * f.family.times_u_back(g, i, degree) + f.beta * g[i]);
        if (f.family.code && k > 1) gS[k - 1][i] -= g[i];
      }
    }
  }
};

}  // namespace
}  // namespace slaf
