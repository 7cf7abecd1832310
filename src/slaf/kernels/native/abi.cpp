// Which instruction set runs, and the entries of series, moments and rationals.
#include "abi.hpp"

#include <atomic>
#include <cmath>
#include <string.h>

#include "pool.hpp"
#include "series_pass.hpp"

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

struct Quotient : Pass {
  const RationalKernels* kernel;
  int m, count;
  float limit;
  void row(int type, const void* x, const void* g, void* out, int64_t n, const float* r, double* s) const override {
    if (sums) kernel->row_backward[type](x, g, out, n, r, m, count, limit, s, past);
    else kernel->row_forward[type](x, out, n, r, m, count, limit, past);
  }
  void column(int type, const void* x, const void* g, void* out, int64_t h, int64_t ld, int64_t groups, const float* table, float* s) const override {
    if (sums) kernel->column_backward[type](x, g, out, h, ld, groups, m, count, limit, table, s, past);
    else kernel->column_forward[type](x, out, h, ld, groups, m, count, limit, table, past);
  }
};

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

SLAF_METHOD(const char*, isa) { return kernels().name; }

// For tests: whether this machine and build have such a set, which runs from now on; null goes back to the best.
SLAF_METHOD(bool, force_isa, const char* name) {
  const Kernels* found = name ? find(name) : best();
  if (found) chosen.store(found);
  return found;
}

// Outputs of so many bytes and more go past the caches from now on; what it was.
SLAF_METHOD(int64_t, go_past_from, int64_t bytes) { return past_from().exchange(bytes); }

SLAF_METHOD(bool, goes_past, const void* out, int64_t bytes) { return goes_past(out, bytes); }

// ``parallel``: the address of GOMP_parallel in the OpenMP runtime that the process already has; null: threads of our own.
SLAF_METHOD(bool, borrow_threads, void* parallel) { return borrow(reinterpret_cast<GompParallel*>(parallel)), borrowed(); }

SLAF_METHOD(bool, threads_borrowed) { return borrowed(); }

SLAF_ENTRY(series_forward, const void* x, void* y, int dtype, int64_t n, int64_t c, int64_t s, int family, int degree, const float* coef,
           const float* center, const float* rscale, int threads) {
  if (!good_shape(x, dtype, n, c, s, threads) || !y || !coef || !good_series(family, degree)) return BAD_ARGUMENT;
  return guarded([&](const Kernels& set) { run_forward(set, {dtype, n, c, s, threads}, x, y, {family, degree, coef, center, rscale}); });
}

SLAF_ENTRY(series_backward, const void* x, const void* g, void* gx, int dtype, int64_t n, int64_t c, int64_t s, int family, int degree,
           const float* coef, const float* center, const float* rscale, double* gcoef, double* sum_gu, double* sum_guu, int threads) {
  if (!good_shape(x, dtype, n, c, s, threads) || !g || !coef || !good_series(family, degree)) return BAD_ARGUMENT;
  return guarded([&](const Kernels& set) {
    const std::vector<double> sums = run_backward(set, {dtype, n, c, s, threads}, x, g, gx, {family, degree, coef, center, rscale});
    if (gcoef) memcpy(gcoef, sums.data(), 8 * sums.size());
    for (int64_t k = 0; k < c && (sum_gu || sum_guu); ++k)
      slope_sums(coef + k * (degree + 1), family, degree, &sums[k * (degree + 1)], sum_gu ? sum_gu + k : nullptr,
                 sum_guu ? sum_guu + k : nullptr);
  });
}

SLAF_ENTRY(series_backward_input, const void* x, const void* g, void* gx, int dtype, int64_t n, int64_t c, int64_t s, int family,
           int degree, const float* coef, int degree_q, const float* q, const float* center, const float* rscale, int threads) {
  if (!good_shape(x, dtype, n, c, s, threads) || !g || !gx || !coef || !q || !good_series(family, degree) || degree_q < 0 ||
      degree_q >= MAX_MOMENTS)
    return BAD_ARGUMENT;
  return guarded([&](const Kernels& set) {
    run_input(set, {dtype, n, c, s, threads}, x, g, gx, {family, degree, coef, center, rscale}, degree_q, q);
  });
}

SLAF_ENTRY(moments, const void* x, int dtype, int64_t n, int64_t c, int64_t s, int family, int count, const float* center,
           const float* rscale, double* t, int threads) {
  if (!good_shape(x, dtype, n, c, s, threads) || !t || (family != 0 && family != 1) || count < 1 || count > MAX_MOMENTS) return BAD_ARGUMENT;
  return guarded([&](const Kernels& set) {
    const std::vector<double> sums = run_moments(set, {dtype, n, c, s, threads}, x, family, count, center, rscale);
    for (int64_t k = 0; k < c; ++k) memcpy(t + k * count, &sums[k * (count + count % 2)], 8 * count);
  });
}

// num: (c, m + 1), den: (c, count), count = den_degree, or half of it for the forms 0 and 3.
SLAF_ENTRY(rational_forward, const void* x, void* y, int dtype, int64_t n, int64_t c, int64_t s, int form, int num_degree, int den_degree,
           const float* num, const float* den, int threads) {
  if (!good_shape(x, dtype, n, c, s, threads) || !y || !good_rational(form, num_degree, den_degree, num, den)) return BAD_ARGUMENT;
  return guarded([&](const Kernels& set) {
    Quotient p;
    describe(p, x, nullptr, y, dtype, n, c, s, threads, num_degree + 1 + count_of(form, den_degree));
    fill(p, set, form, num_degree, den_degree, num, den);
    drive(p, set);
  });
}

// The gradient of |b| at 0 is 1, so that a denominator that starts at 1 learns.
SLAF_ENTRY(rational_backward, const void* x, const void* g, void* gx, int dtype, int64_t n, int64_t c, int64_t s, int form, int num_degree,
           int den_degree, const float* num, const float* den, double* gnum, double* gden, int threads) {
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
