// A series at the standardised input of a training batch, s = (x - center)·rscale with both made of the batch's mean and variance: the
// statistics and the values in one call, the gradients in one.
#include "batch.hpp"
#include "sites.hpp"

using namespace slaf;

namespace {

// What backward needs of a site: with the gradients of center and rscale, d/dvar = by_center·gcenter + by_rscale·grscale.
struct Site {
  double rscale, offset, by_center, by_rscale;  // offset: center - mean
};

struct Batch {
  double mean, var;  // of x; var as it comes, below 0 by rounding
};

}  // namespace

// Whether the moments hold their digits at all sites: 0, or 3. t: (c, 2), the means of φ_1 and φ_2. unit: u over the standardised input.
SLAF_ENTRY(accurate, int family, int64_t c, const double* t, double unit) {
  for (int64_t k = 0; k < c; ++k)
    if (!accurate(family, t[2 * k], t[2 * k + 1], unit)) return INACCURATE;
  return OK;
}

// Counts the batch in ``mean``, ``var`` and ``batches`` with weight max(1/batches if warm_up, momentum), and fills table, c·(degree + 3)
// floats, and state, 4c doubles, which backward needs; then the values. renorm: by the running statistics, gradients through the batch's.
// unit: u over the standardised input.
// Returns 3, and has changed nothing, where the running statistics are too far from the batch's to take its moments about them.
SLAF_ENTRY(standardise, const void* x, void* y, int dtype, int64_t n, int64_t c, int64_t s, int family, int degree, int64_t rows, double factor,
           const int64_t* position, const float* weight, const float* bias, float* mean, float* var, int64_t* batches, double momentum,
           int warm_up, int renorm, double eps, double unit, float* table, double* state, int threads) {
  const Rows b = part(rows, 1, c, degree + 1, 0, position, factor), w = part(rows, degree, c, degree + 1, 1, position, factor);
  if (!b.good() || degree < 1 || !y || !weight || !bias || !mean || !var || !batches || !table || !state) return BAD_ARGUMENT;
  return guarded([&](const Kernels&) {
    const auto place = [position](int64_t site) { return position ? position[site] : site; };
    float *middle = table + c * (degree + 1), *scale = middle + c;
    for (int64_t site = 0; site < c; ++site) {
      middle[place(site)] = mean[site];
      scale[place(site)] = (float)(unit / std::sqrt(var[site] + eps));
    }
    std::vector<double> t(2 * c);
    if (const int status = slaf_moments(x, dtype, n, c, s, family, 2, middle, scale, t.data(), threads)) return status;
    const double share = (double)(n * s);
    std::vector<Batch> batch(c);
    for (int64_t k = 0; k < c; ++k) {
      const double first = t[2 * k] / share, phi = t[2 * k + 1] / share, spread = second_moment(family, phi) - first * first;
      if (!accurate(family, first, phi, unit)) return INACCURATE;
      batch[k] = {middle[k] + first / scale[k], spread / ((double)scale[k] * scale[k])};
    }
    *batches += 1;
    const float share_of_it = newest(*batches, momentum, warm_up);
    Site* sites = reinterpret_cast<Site*>(state);
    for (int64_t site = 0; site < c; ++site) {
      const int64_t k = place(site);
      const Batch& of = batch[k];
      mean[site] = moved(mean[site], (float)of.mean, share_of_it);
      var[site] = moved(var[site], (float)std::max(of.var, 0.0), share_of_it);
      const InputMap map(of.mean, of.var, renorm, mean[site], var[site], eps, unit);
      sites[k] = {map.rscale, map.offset, map.by_center, map.by_rscale};
      middle[k] = (float)map.center, scale[k] = (float)map.rscale;
    }
    b.to_table(bias, table), w.to_table(weight, table);
    return slaf_series_forward(x, y, dtype, n, c, s, family, degree, table, middle, scale, threads);
  });
}

SLAF_ENTRY(standardised_backward, const void* x, const void* g, void* gx, int dtype, int64_t n, int64_t c, int64_t s, int family,
           int degree, int64_t rows, double factor, const int64_t* position, float* gweight, float* gbias, const float* table,
           const double* state, int threads) {
  const Rows b = part(rows, 1, c, degree + 1, 0, position, factor), w = part(rows, degree, c, degree + 1, 1, position, factor);
  if (!b.good() || degree < 1 || !gweight || !gbias || !table || !state) return BAD_ARGUMENT;
  return guarded([&](const Kernels&) {
    const float *middle = table + c * (degree + 1), *scale = middle + c;
    std::vector<double> sums(c * (degree + 1)), slopes(2 * c);
    const int status = slaf_series_backward(x, g, nullptr, dtype, n, c, s, family, degree, table, middle, scale, sums.data(), slopes.data(),
                                            slopes.data() + c, threads);
    if (status) return status;
    b.from_sums(sums.data(), gbias), w.from_sums(sums.data(), gweight);
    if (gx == nullptr) return OK;
    std::vector<float> q(2 * c);  // Σ mean·gmean + var·gvar by an element of x, as a line in u
    const double share = (double)(n * s);
    for (int64_t k = 0; k < c; ++k) {
      const Site& site = reinterpret_cast<const Site*>(state)[k];
      const double gcenter = -slopes[k] * site.rscale, grscale = slopes[c + k] / site.rscale;
      const double gvar = gcenter * site.by_center + grscale * site.by_rscale;
      q[2 * k] = (float)((gcenter + 2 * gvar * site.offset) / share), q[2 * k + 1] = (float)(2 * gvar / (share * site.rscale));
    }
    return slaf_series_backward_input(x, g, gx, dtype, n, c, s, family, degree, table, 1, q.data(), middle, scale, threads);
  });
}
