// The C interface: which instruction set runs, and the entries of series, moments and rationals.
#include "abi.hpp"

#include <atomic>
#include <cmath>
#include <string.h>

#include "pool.hpp"

namespace slaf {
namespace {

bool supported(const char* name) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  if (!strcmp(name, "avx2")) return avx2;
  if (!strcmp(name, "avx512"))
    return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq");
#endif
  return !strcmp(name, "portable");
}

const Kernels* find(const char* name) {
  if (!supported(name)) return nullptr;
  if (!strcmp(name, "avx512")) return avx512_kernels();
  if (!strcmp(name, "avx2")) return avx2_kernels();
  return portable_kernels();
}

const Kernels* best() {
  for (const char* name : {"avx512", "avx2"})
    if (const Kernels* found = find(name)) return found;
  return portable_kernels();
}

std::atomic<const Kernels*> chosen{nullptr};

}  // namespace

const Kernels& kernels() {
  const Kernels* found = chosen.load();
  if (found == nullptr) chosen.store(found = best());
  return *found;
}

namespace {

// Everything a family of polynomials needs before the first element: its derivative as a series in the same family, in float64.
void slope_of(const float* coef, int family, int degree, double scale, float* out) {
  double d[MAX_DEGREE + 2] = {};
  if (family == 0) {
    for (int j = 1; j <= degree; ++j) d[j - 1] = j * (double)coef[j];
  } else {
    for (int j = degree; j >= 1; --j) d[j - 1] = d[j + 1] + 2 * j * (double)coef[j];
    d[0] *= 0.5;
  }
  if (degree == 0) out[0] = 0;
  for (int j = 0; j < degree; ++j) out[j] = (float)(d[j] * scale);
}

struct Normalisation {
  const float *center, *rscale;
  float mid(int64_t k) const { return center ? center[k] : 0.0f; }
  float scale(int64_t k) const { return rscale ? rscale[k] : 1.0f; }
  void put(int64_t k, float* to) const { to[0] = mid(k), to[1] = scale(k); }
};

int slope_terms(int degree) { return degree > 1 ? degree : 1; }

struct Forward : Pass {
  const SeriesKernels* kernel;
  int degree;
  void row(const float* x, const float*, float* y, int64_t n, const float* r, double*) const override {
    kernel->row_forward(x, y, n, r, degree, r[width - 2], r[width - 1]);
  }
  void column(const float* x, const float*, float* y, int64_t m, int64_t ld, int64_t groups, const float* table, float*) const override {
    kernel->column_forward(x, y, m, ld, groups, degree, table);
  }
};

struct Backward : Pass {
  const SeriesKernels* kernel;
  int degree;
  void row(const float* x, const float* g, float* gx, int64_t n, const float* r, double* s) const override {
    (writes ? kernel->row_backward : kernel->row_sums)(x, g, gx, n, r, degree, r[width - 2], r[width - 1], s);
  }
  void column(const float* x, const float* g, float* gx, int64_t m, int64_t ld, int64_t groups, const float* table, float* s) const override {
    (writes ? kernel->column_backward : kernel->column_sums)(x, g, gx, m, ld, groups, degree, table, s);
  }
};

struct Input : Pass {
  RowInput* along;
  ColumnInput* across;
  int degree, degree_q;
  void row(const float* x, const float* g, float* gx, int64_t n, const float* r, double*) const override {
    along(x, g, gx, n, r, degree, r + slope_terms(degree), degree_q, r[width - 2], r[width - 1]);
  }
  void column(const float* x, const float* g, float* gx, int64_t m, int64_t ld, int64_t groups, const float* table, float*) const override {
    across(x, g, gx, m, ld, groups, degree, degree_q, table);
  }
};

struct Moments : Pass {
  const MomentKernels* kernel;
  void row(const float* x, const float*, float*, int64_t n, const float* r, double* s) const override {
    kernel->row(x, n, sums, r[0], r[1], s);
  }
  void column(const float* x, const float*, float*, int64_t m, int64_t ld, int64_t groups, const float* table, float* s) const override {
    kernel->column(x, m, ld, groups, sums, table, s);
  }
};

struct Quotient : Pass {
  const RationalKernels* kernel;
  int m, count;
  float limit;
  void row(const float* x, const float* g, float* out, int64_t n, const float* r, double* s) const override {
    if (sums) kernel->row_backward(x, g, out, n, r, m, count, limit, s);
    else kernel->row_forward(x, out, n, r, m, count, limit);
  }
  void column(const float* x, const float* g, float* out, int64_t h, int64_t ld, int64_t groups, const float* table, float* s) const override {
    if (sums) kernel->column_backward(x, g, out, h, ld, groups, m, count, limit, table, s);
    else kernel->column_forward(x, out, h, ld, groups, m, count, limit, table);
  }
};

bool good_series(int family, int degree) { return (family == 0 || family == 1) && degree >= 0 && degree <= MAX_DEGREE; }

const SeriesKernels* series_kernel(const Kernels& set, int family, int degree) {
  return &set.series[family][degree <= set.unrolled ? degree : set.unrolled + 1];
}

// Σ g p'(u) and Σ g p'(u) u follow from the sums M_j = Σ g φ_j(u): p' and u·p' are series of at most the same degree.
void slope_sums(const float* coef, int family, int degree, const double* m, double* plain, double* times_u) {
  double a = 0, b = 0;
  if (family == 0) {
    for (int j = 1; j <= degree; ++j) a += j * (double)coef[j] * m[j - 1], b += j * (double)coef[j] * m[j];
  } else {
    double d[MAX_DEGREE + 2] = {};
    for (int j = degree; j >= 1; --j) d[j - 1] = d[j + 1] + 2 * j * (double)coef[j];
    d[0] *= 0.5;
    for (int j = 0; j < degree; ++j) {
      a += d[j] * m[j];
      b += d[j] * (j == 0 ? m[1] : 0.5 * (m[j + 1] + m[j - 1]));
    }
  }
  if (plain) *plain = a;
  if (times_u) *times_u = b;
}

int count_of(int form, int n) { return form == 0 || form == 3 ? n / 2 : n; }

bool takes_magnitude(int form) { return form < 2; }

bool good_rational(int form, int m, int n, const float* num, const float* den) {
  return form >= 0 && form <= 3 && m >= 0 && m <= 10 && n >= 0 && n <= 10 && num && (den || n == 0);
}

void fill(Quotient& p, const Kernels& set, int form, int m, int n, const float* num, const float* den) {
  const int count = count_of(form, n), degree = m > n ? m : n;
  p.kernel = &set.rational[form][m == 5 && n == 4 ? 0 : 1], p.m = m, p.count = count;
  p.limit = degree ? (float)std::pow(10.0, 30.0 / degree) : INFINITY;
  for (int64_t k = 0; k < p.c; ++k) {
    float* to = &p.rows[k * p.width];
    memcpy(to, num + k * (m + 1), 4 * (m + 1));
    for (int i = 0; i < count; ++i) to[m + 1 + i] = takes_magnitude(form) ? std::fabs(den[k * count + i]) : den[k * count + i];
  }
}

}  // namespace
}  // namespace slaf

using namespace slaf;

SLAF_EXPORT int slaf_abi(void) { return 1; }

SLAF_EXPORT const char* slaf_isa(void) { return kernels().name; }

// For tests: 0 and a change, or 1 where this machine or build has no such set; null goes back to the best.
SLAF_EXPORT int slaf_force_isa(const char* name) {
  const Kernels* found = name ? find(name) : best();
  if (found == nullptr) return BAD_ARGUMENT;
  chosen.store(found);
  return OK;
}

// ``parallel``: the address of GOMP_parallel in the OpenMP runtime that the process already has; null: threads of our own.
SLAF_EXPORT void slaf_borrow_threads(void* parallel) { borrow(reinterpret_cast<GompParallel*>(parallel)); }

SLAF_EXPORT int slaf_threads_borrowed(void) { return borrowed(); }

SLAF_EXPORT int slaf_series_forward(const void* x, void* y, int dtype, int64_t n, int64_t c, int64_t s, int family, int degree,
                                    const float* coef, const float* center, const float* rscale, int threads) {
  if (!good_shape(x, dtype, n, c, s, threads) || !y || !coef || !good_series(family, degree)) return BAD_ARGUMENT;
  return guarded([&](const Kernels& set) {
    Forward p;
    describe(p, x, nullptr, y, dtype, n, c, s, threads, degree + 3);
    p.kernel = series_kernel(set, family, degree), p.degree = degree;
    for (int64_t k = 0; k < c; ++k) {
      memcpy(&p.rows[k * p.width], coef + k * (degree + 1), 4 * (degree + 1));
      Normalisation{center, rscale}.put(k, &p.rows[k * p.width + degree + 1]);
    }
    drive(p, set);
  });
}

SLAF_EXPORT int slaf_series_backward(const void* x, const void* g, void* gx, int dtype, int64_t n, int64_t c, int64_t s, int family,
                                     int degree, const float* coef, const float* center, const float* rscale, double* gcoef,
                                     double* sum_gu, double* sum_guu, int threads) {
  if (!good_shape(x, dtype, n, c, s, threads) || !g || !coef || !good_series(family, degree)) return BAD_ARGUMENT;
  return guarded([&](const Kernels& set) {
    Backward p;
    const int terms = slope_terms(degree);
    describe(p, x, g, gx, dtype, n, c, s, threads, terms + 2);
    p.kernel = series_kernel(set, family, degree), p.degree = degree, p.sums = degree + 1, p.writes = gx != nullptr;
    const Normalisation by{center, rscale};
    for (int64_t k = 0; k < c; ++k) {
      slope_of(coef + k * (degree + 1), family, degree, by.scale(k), &p.rows[k * p.width]);
      by.put(k, &p.rows[k * p.width + terms]);
    }
    const std::vector<double> sums = drive(p, set);
    if (gcoef) memcpy(gcoef, sums.data(), 8 * sums.size());
    for (int64_t k = 0; k < c && (sum_gu || sum_guu); ++k)
      slope_sums(coef + k * (degree + 1), family, degree, &sums[k * (degree + 1)], sum_gu ? sum_gu + k : nullptr,
                 sum_guu ? sum_guu + k : nullptr);
  });
}

SLAF_EXPORT int slaf_series_backward_input(const void* x, const void* g, void* gx, int dtype, int64_t n, int64_t c, int64_t s, int family,
                                           int degree, const float* coef, int degree_q, const float* q, const float* center,
                                           const float* rscale, int threads) {
  if (!good_shape(x, dtype, n, c, s, threads) || !g || !gx || !coef || !q || !good_series(family, degree) || degree_q < 0 ||
      degree_q >= MAX_MOMENTS)
    return BAD_ARGUMENT;
  return guarded([&](const Kernels& set) {
    Input p;
    const int terms = slope_terms(degree);
    describe(p, x, g, gx, dtype, n, c, s, threads, terms + degree_q + 3);
    const bool full = family == 0 && degree > 0 && degree_q == 2 * degree - 1, line = degree_q == 1;
    const SeriesKernels& kernel = *series_kernel(set, family, full || line ? degree : MAX_DEGREE);
    p.along = line ? kernel.row_line : kernel.row_input, p.across = line ? kernel.column_line : kernel.column_input;
    p.degree = degree, p.degree_q = degree_q;
    const Normalisation by{center, rscale};
    for (int64_t k = 0; k < c; ++k) {
      float* to = &p.rows[k * p.width];
      slope_of(coef + k * (degree + 1), family, degree, by.scale(k), to);
      memcpy(to + terms, q + k * (degree_q + 1), 4 * (degree_q + 1));
      by.put(k, to + terms + degree_q + 1);
    }
    drive(p, set);
  });
}

SLAF_EXPORT int slaf_moments(const void* x, int dtype, int64_t n, int64_t c, int64_t s, int family, int count, const float* center,
                             const float* rscale, double* t, int threads) {
  if (!good_shape(x, dtype, n, c, s, threads) || !t || (family != 0 && family != 1) || count < 1 || count > MAX_MOMENTS) return BAD_ARGUMENT;
  return guarded([&](const Kernels& set) {
    Moments p;
    const int even = count + count % 2;
    describe(p, x, nullptr, nullptr, dtype, n, c, s, threads, 2);
    p.kernel = &set.moments[family][even <= 2 * set.unrolled ? even / 2 - 1 : set.unrolled], p.sums = even, p.writes = false;
    for (int64_t k = 0; k < c; ++k) Normalisation{center, rscale}.put(k, &p.rows[k * 2]);
    const std::vector<double> sums = drive(p, set);
    for (int64_t k = 0; k < c; ++k) memcpy(t + k * count, &sums[k * even], 8 * count);
  });
}

// num: (c, m + 1), den: (c, count), count = den_degree, or half of it for the forms 0 and 3.
SLAF_EXPORT int slaf_rational_forward(const void* x, void* y, int dtype, int64_t n, int64_t c, int64_t s, int form, int num_degree,
                                      int den_degree, const float* num, const float* den, int threads) {
  if (!good_shape(x, dtype, n, c, s, threads) || !y || !good_rational(form, num_degree, den_degree, num, den)) return BAD_ARGUMENT;
  return guarded([&](const Kernels& set) {
    Quotient p;
    describe(p, x, nullptr, y, dtype, n, c, s, threads, num_degree + 1 + count_of(form, den_degree));
    fill(p, set, form, num_degree, den_degree, num, den);
    drive(p, set);
  });
}

// The gradient of |b| at 0 is 1, so that a denominator that starts at 1 learns.
SLAF_EXPORT int slaf_rational_backward(const void* x, const void* g, void* gx, int dtype, int64_t n, int64_t c, int64_t s, int form,
                                       int num_degree, int den_degree, const float* num, const float* den, double* gnum, double* gden,
                                       int threads) {
  if (!good_shape(x, dtype, n, c, s, threads) || !g || !good_rational(form, num_degree, den_degree, num, den)) return BAD_ARGUMENT;
  return guarded([&](const Kernels& set) {
    Quotient p;
    const int count = count_of(form, den_degree), terms = num_degree + 1 + count;
    describe(p, x, g, gx, dtype, n, c, s, threads, terms);
    fill(p, set, form, num_degree, den_degree, num, den);
    p.sums = terms;
    const std::vector<double> sums = drive(p, set);
    for (int64_t k = 0; k < c; ++k) {
      if (gnum) memcpy(gnum + k * (num_degree + 1), &sums[k * terms], 8 * (num_degree + 1));
      for (int i = 0; gden && i < count; ++i) {
        const double sum = sums[k * terms + num_degree + 1 + i];
        gden[k * count + i] = takes_magnitude(form) && !(den[k * count + i] >= 0) ? -sum : sum;
      }
    }
  });
}
