// Activations whose coefficients are parameters as modules hold them: float32 rows, each for c / rows sites in a run. One call forward and
// one backward, so that a small tensor is not paid for with many; the work is done by the functions of abi.cpp on tables by channel.
#include "sites.hpp"

namespace slaf {
namespace {

int64_t denominator_columns(int form, int degree) { return form == 0 || form == 3 ? degree / 2 : degree; }

}  // namespace
}  // namespace slaf

using namespace slaf;

// table: c·(degree + 3) floats, kept for backward: the coefficients by channel, the centers, the scales. center, rscale: null for 0 and 1.
SLAF_ENTRY(sites_series_forward, const void* x, void* y, int dtype, int64_t n, int64_t c, int64_t s, int family, int degree, int64_t rows,
           double factor, const int64_t* position, const float* weight, const float* bias, const float* center, const float* rscale,
           float* table, int threads) {
  const Rows b = part(rows, 1, c, degree + 1, 0, position, factor), w = part(rows, degree, c, degree + 1, 1, position, factor);
  if (!b.good() || degree < 1 || !weight || !bias || !table) return BAD_ARGUMENT;
  b.to_table(bias, table), w.to_table(weight, table);
  float *middle = table + c * (degree + 1), *scale = middle + c;
  for (int64_t site = 0; site < c; ++site) {
    const int64_t k = position ? position[site] : site;
    middle[k] = center ? center[site] : 0.0f, scale[k] = rscale ? rscale[site] : 1.0f;
  }
  return slaf_series_forward(x, y, dtype, n, c, s, family, degree, table, middle, scale, threads);
}

SLAF_ENTRY(sites_series_backward, const void* x, const void* g, void* gx, int dtype, int64_t n, int64_t c, int64_t s, int family,
           int degree, int64_t rows, double factor, const int64_t* position, float* gweight, float* gbias, const float* table,
           int threads) {
  const Rows b = part(rows, 1, c, degree + 1, 0, position, factor), w = part(rows, degree, c, degree + 1, 1, position, factor);
  if (!b.good() || degree < 1 || !gweight || !gbias || !table) return BAD_ARGUMENT;
  try {
    std::vector<double> sums(c * (degree + 1));
    const float *middle = table + c * (degree + 1), *scale = middle + c;
    const int status =
        slaf_series_backward(x, g, gx, dtype, n, c, s, family, degree, table, middle, scale, sums.data(), nullptr, nullptr, threads);
    if (status) return status;
    b.from_sums(sums.data(), gbias), w.from_sums(sums.data(), gweight);
    return OK;
  } catch (const std::bad_alloc&) {
    return NO_MEMORY;
  }
}

// table: the numerators by channel, then the denominators; den_rows 0: there are none.
SLAF_ENTRY(sites_rational_forward, const void* x, void* y, int dtype, int64_t n, int64_t c, int64_t s, int form, int num_degree,
           int den_degree, int64_t num_rows, int64_t den_rows, const int64_t* position, const float* num, const float* den, float* table,
           int threads) {
  const int64_t count = denominator_columns(form, den_degree);
  const Rows p = part(num_rows, num_degree + 1, c, num_degree + 1, 0, position), q = part(den_rows, count, c, count, 0, position);
  if (!p.good() || (den_rows && !q.good()) || num_degree < 0 || !num || (den_rows && !den) || !table) return BAD_ARGUMENT;
  float* lower = den_rows ? table + c * (num_degree + 1) : nullptr;
  p.to_table(num, table);
  if (den_rows) q.to_table(den, lower);
  return slaf_rational_forward(x, y, dtype, n, c, s, form, num_degree, den_degree, table, lower, threads);
}

SLAF_ENTRY(sites_rational_backward, const void* x, const void* g, void* gx, int dtype, int64_t n, int64_t c, int64_t s, int form,
           int num_degree, int den_degree, int64_t num_rows, int64_t den_rows, const int64_t* position, float* gnum, float* gden,
           const float* table, int threads) {
  const int64_t count = denominator_columns(form, den_degree);
  const Rows p = part(num_rows, num_degree + 1, c, num_degree + 1, 0, position), q = part(den_rows, count, c, count, 0, position);
  if (!p.good() || (den_rows && !q.good()) || num_degree < 0 || !gnum || (den_rows && !gden) || !table) return BAD_ARGUMENT;
  try {
    std::vector<double> upper_sums(c * (num_degree + 1)), lower_sums(den_rows ? c * count : 0);
    const float* lower = den_rows ? table + c * (num_degree + 1) : nullptr;
    const int status = slaf_rational_backward(x, g, gx, dtype, n, c, s, form, num_degree, den_degree, table, lower, upper_sums.data(),
                                              den_rows ? lower_sums.data() : nullptr, threads);
    if (status) return status;
    p.from_sums(upper_sums.data(), gnum);
    if (den_rows) q.from_sums(lower_sums.data(), gden);
    return OK;
  } catch (const std::bad_alloc&) {
    return NO_MEMORY;
  }
}
