// A series, its gradients and its moments as passes over a tensor.
#pragma once
#include <string.h>

#include "abi.hpp"

namespace slaf {
namespace {

// Everything a family of polynomials needs before the first element: its derivative as a series in the same family, in float64.
inline void slope_of(const float* coef, int family, int degree, double scale, float* out) {
  if (degree == 0) out[0] = 0;
  if (family == 0) {
    for (int j = 1; j <= degree; ++j) out[j - 1] = (float)(j * (double)coef[j] * scale);
    return;
  }
  double d[MAX_DEGREE + 2];
  d[degree] = d[degree + 1] = 0;
  for (int j = degree; j >= 1; --j) d[j - 1] = d[j + 1] + 2 * j * (double)coef[j];
  d[0] *= 0.5;
  for (int j = 0; j < degree; ++j) out[j] = (float)(d[j] * scale);
}

struct Normalisation {
  const float *center, *rscale;
  float mid(int64_t k) const { return center ? center[k] : 0.0f; }
  float scale(int64_t k) const { return rscale ? rscale[k] : 1.0f; }
  void put(int64_t k, float* to) const { to[0] = mid(k), to[1] = scale(k); }
};

inline int slope_terms(int degree) { return degree > 1 ? degree : 1; }

struct Forward : Pass {
  const SeriesKernels* kernel;
  int degree;
  void row(int type, const void* x, const void*, void* y, int64_t n, const float* r, double*) const override {
    kernel->row_forward[type](x, y, n, r, degree, r[width - 2], r[width - 1], past);
  }
  void column(int type, const void* x, const void*, void* y, int64_t m, int64_t ld, int64_t groups, const float* table, float*) const override {
    kernel->column_forward[type](x, y, m, ld, groups, degree, table, past);
  }
};

struct Backward : Pass {
  const SeriesKernels* kernel;
  int degree;
  void row(int type, const void* x, const void* g, void* gx, int64_t n, const float* r, double* s) const override {
    (writes ? kernel->row_backward : kernel->row_sums)[type](x, g, gx, n, r, degree, r[width - 2], r[width - 1], s, past);
  }
  void column(int type, const void* x, const void* g, void* gx, int64_t m, int64_t ld, int64_t groups, const float* table, float* s) const override {
    (writes ? kernel->column_backward : kernel->column_sums)[type](x, g, gx, m, ld, groups, degree, table, s, past);
  }
};

struct Input : Pass {
  RowInput* const* along;
  ColumnInput* const* across;
  int degree, degree_q;
  void row(int type, const void* x, const void* g, void* gx, int64_t n, const float* r, double*) const override {
    along[type](x, g, gx, n, r, degree, r + slope_terms(degree), degree_q, r[width - 2], r[width - 1], past);
  }
  void column(int type, const void* x, const void* g, void* gx, int64_t m, int64_t ld, int64_t groups, const float* table, float*) const override {
    across[type](x, g, gx, m, ld, groups, degree, degree_q, table, past);
  }
};

struct Moments : Pass {
  const MomentKernels* kernel;
  void row(int type, const void* x, const void*, void*, int64_t n, const float* r, double* s) const override {
    kernel->row[type](x, n, sums, r[0], r[1], s);
  }
  void column(int type, const void* x, const void*, void*, int64_t m, int64_t ld, int64_t groups, const float* table, float* s) const override {
    kernel->column[type](x, m, ld, groups, sums, table, s);
  }
};

inline bool good_series(int family, int degree) { return (family == 0 || family == 1) && degree >= 0 && degree <= MAX_DEGREE; }

inline const SeriesKernels* series_kernel(const Kernels& set, int family, int degree) {
  return &set.series[family][degree <= set.unrolled ? degree : set.unrolled + 1];
}

// A tensor (n, c, s).
struct Extent {
  int dtype;
  int64_t n, c, s;
  int threads;
};

// By channel: coef (c, degree + 1), center and rscale (c), null for 0 and 1.
struct Series {
  int family, degree;
  const float *coef, *center, *rscale;
};

template <class P>
P pass_along(const Extent& e, const void* x, const void* g, void* out, int width) {
  P p;
  describe(p, x, g, out, e.dtype, e.n, e.c, e.s, e.threads, width);
  return p;
}

inline void run_forward(const Kernels& set, const Extent& e, const void* x, void* y, const Series& of) {
  const int degree = of.degree;
  Forward p = pass_along<Forward>(e, x, nullptr, y, degree + 3);
  p.kernel = series_kernel(set, of.family, degree), p.degree = degree;
  for (int64_t k = 0; k < e.c; ++k) {
    memcpy(&p.rows[k * p.width], of.coef + k * (degree + 1), 4 * (degree + 1));
    Normalisation{of.center, of.rscale}.put(k, &p.rows[k * p.width + degree + 1]);
  }
  drive(p, set);
}

// Σ g φ_j: (c, degree + 1). gx may be null.
inline std::vector<double> run_backward(const Kernels& set, const Extent& e, const void* x, const void* g, void* gx, const Series& of) {
  const int degree = of.degree, terms = slope_terms(degree);
  Backward p = pass_along<Backward>(e, x, g, gx, terms + 2);
  p.kernel = series_kernel(set, of.family, degree), p.degree = degree, p.sums = degree + 1, p.writes = gx != nullptr || e.dtype == BFLOAT16;
  const Normalisation by{of.center, of.rscale};
  for (int64_t k = 0; k < e.c; ++k) {
    slope_of(of.coef + k * (degree + 1), of.family, degree, by.scale(k), &p.rows[k * p.width]);
    by.put(k, &p.rows[k * p.width + terms]);
  }
  return drive(p, set);
}

// gx = g·p'(u)·rscale + q(u), q: (c, degree_q + 1).
inline void run_input(const Kernels& set, const Extent& e, const void* x, const void* g, void* gx, const Series& of, int degree_q,
                      const float* q) {
  const int degree = of.degree, terms = slope_terms(degree);
  Input p = pass_along<Input>(e, x, g, gx, terms + degree_q + 3);
  const bool full = of.family == 0 && degree > 0 && degree_q == 2 * degree - 1, line = degree_q == 1;
  const SeriesKernels& kernel = *series_kernel(set, of.family, full || line ? degree : MAX_DEGREE);
  p.along = line ? kernel.row_line : kernel.row_input, p.across = line ? kernel.column_line : kernel.column_input;
  p.degree = degree, p.degree_q = degree_q;
  const Normalisation by{of.center, of.rscale};
  for (int64_t k = 0; k < e.c; ++k) {
    float* to = &p.rows[k * p.width];
    slope_of(of.coef + k * (degree + 1), of.family, degree, by.scale(k), to);
    memcpy(to + terms, q + k * (degree_q + 1), 4 * (degree_q + 1));
    by.put(k, to + terms + degree_q + 1);
  }
  drive(p, set);
}

// Σ φ_j: (c, count), count rounded up to an even number.
inline std::vector<double> run_moments(const Kernels& set, const Extent& e, const void* x, int family, int count, const float* center,
                                       const float* rscale) {
  const int even = count + count % 2;
  Moments p = pass_along<Moments>(e, x, nullptr, nullptr, 2);
  p.kernel = &set.moments[family][even <= 2 * set.unrolled ? even / 2 - 1 : set.unrolled], p.sums = even, p.writes = false;
  for (int64_t k = 0; k < e.c; ++k) Normalisation{center, rscale}.put(k, &p.rows[k * 2]);
  return drive(p, set);
}

}  // namespace
}  // namespace slaf
