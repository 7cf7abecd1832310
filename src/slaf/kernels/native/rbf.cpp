// The entries of Gaussian radial basis functions on a uniform grid, see rbf.hpp.
#include <string.h>

#include <cmath>

#include "sites.hpp"

namespace slaf {
namespace {

constexpr double DARK = 88;  // exp of -DARK is as good as 0 in float32

struct Grid {
  int terms;
  double spacing, width;  // of the centres in u, of a Gaussian in spacings
  double kappa() const { return 0.5 / (width * width); }
  double mid() const { return 0.5 * (terms - 1); }
  // What rbf.hpp has taken out of each Gaussian.
  std::vector<double> weights() const {
    std::vector<double> found(terms);
    for (int k = 0; k < terms; ++k) found[k] = std::exp(kappa() * k * (2 * mid() - k));
    return found;
  }
  bool good() const {
    return terms >= 1 && terms <= MAX_BUMPS && spacing > 0 && width > 0 && kappa() * mid() * mid() <= MAX_BUMP_EXPONENT;
  }
};

struct Bumps : Pass {
  Elementwise kernel;
  int terms;
  void row(int type, const void* x, const void* g, void* out, int64_t n, const float* parameters, double* s) const override {
    kernel.row[type](x, g, out, n, terms, parameters, s, past);
  }
  void column(int type, const void* x, const void* g, void* out, int64_t m, int64_t ld, int64_t groups, const float* table, float* s) const override {
    kernel.column[type](x, g, out, m, ld, groups, terms, table, s, past);
  }
};

// coef: (c, terms + 1), the bias first; line: (c, 2), added to the gradient of x as m + k u, or null.
std::vector<double> run(const Kernels& set, int step, const void* x, const void* g, void* out, int dtype, int64_t n, int64_t c, int64_t s,
                        const Grid& grid, const float* coef, const float* center, const float* rscale, const float* line, int threads) {
  Bumps p;
  const int terms = grid.terms, head = 5;
  describe(p, x, g, out, dtype, n, c, s, threads, head + terms + (step == 2 ? 2 : 0));
  const std::vector<double> weights = grid.weights();
  const float kappa = (float)grid.kappa(), reach = (float)(grid.mid() + std::sqrt(DARK / grid.kappa()));
  p.kernel = set.bumps[terms == 8 ? 0 : terms == 11 ? 1 : 2][step], p.terms = terms, p.sums = step == 1 ? terms + 3 : 0;
  for (int64_t k = 0; k < c; ++k) {
    float* to = &p.rows[k * p.width];
    to[0] = center ? center[k] : 0.0f, to[1] = (float)((rscale ? rscale[k] : 1.0f) / grid.spacing), to[2] = kappa;
    to[3] = reach, to[4] = coef[k * (terms + 1)];
    for (int j = 0; j < terms; ++j) to[head + j] = (float)(coef[k * (terms + 1) + j + 1] * weights[j]);
    if (step == 2) to[head + terms] = line[2 * k], to[head + terms + 1] = (float)(line[2 * k + 1] * grid.spacing);
  }
  return drive(p, set);
}

}  // namespace
}  // namespace slaf

using namespace slaf;

SLAF_ENTRY(bumps_forward, const void* x, void* y, int dtype, int64_t n, int64_t c, int64_t s, int terms, double spacing, double width,
           const float* coef, const float* center, const float* rscale, int threads) {
  const Grid grid{terms, spacing, width};
  if (!good_shape(x, dtype, n, c, s, threads) || !y || !coef || !grid.good()) return BAD_ARGUMENT;
  return guarded([&](const Kernels& set) { run(set, 0, x, nullptr, y, dtype, n, c, s, grid, coef, center, rscale, nullptr, threads); });
}

// gcoef: (c, terms + 1); slopes: (2, c), Σ g y'(u) and Σ g y'(u) u. gx may be null.
SLAF_ENTRY(bumps_backward, const void* x, const void* g, void* gx, int dtype, int64_t n, int64_t c, int64_t s, int terms, double spacing,
           double width, const float* coef, const float* center, const float* rscale, double* gcoef, double* slopes, int threads) {
  const Grid grid{terms, spacing, width};
  if (!good_shape(x, dtype, n, c, s, threads) || !g || !coef || !gcoef || !slopes || !grid.good()) return BAD_ARGUMENT;
  return guarded([&](const Kernels& set) {
    const std::vector<double> sums = run(set, 1, x, g, gx, dtype, n, c, s, grid, coef, center, rscale, nullptr, threads);
    const std::vector<double> weights = grid.weights();
    for (int64_t k = 0; k < c; ++k) {
      const double* from = &sums[k * (terms + 3)];
      double* to = gcoef + k * (terms + 1);
      to[0] = from[0];
      for (int j = 0; j < terms; ++j) to[j + 1] = from[j + 1] * weights[j];
      slopes[k] = from[terms + 1] / spacing, slopes[c + k] = from[terms + 2];
    }
  });
}

// gx = g·y'(u)·rscale + m + k·u, line: (c, 2).
SLAF_ENTRY(bumps_input, const void* x, const void* g, void* gx, int dtype, int64_t n, int64_t c, int64_t s, int terms, double spacing,
           double width, const float* coef, const float* center, const float* rscale, const float* line, int threads) {
  const Grid grid{terms, spacing, width};
  if (!good_shape(x, dtype, n, c, s, threads) || !g || !gx || !coef || !line || !grid.good()) return BAD_ARGUMENT;
  return guarded([&](const Kernels& set) { run(set, 2, x, g, gx, dtype, n, c, s, grid, coef, center, rscale, line, threads); });
}

// As slaf_sites_series_forward: weights and biases as modules hold them. table: c·(terms + 1) floats, kept for backward.
SLAF_ENTRY(sites_bumps_forward, const void* x, void* y, int dtype, int64_t n, int64_t c, int64_t s, int terms, double spacing, double width,
           int64_t rows, double factor, const int64_t* position, const float* weight, const float* bias, const float* center,
           const float* rscale, float* table, int threads) {
  const Rows b = part(rows, 1, c, terms + 1, 0, position, factor), w = part(rows, terms, c, terms + 1, 1, position, factor);
  if (!b.good() || terms < 1 || !weight || !bias || !table) return BAD_ARGUMENT;
  b.to_table(bias, table), w.to_table(weight, table);
  return slaf_bumps_forward(x, y, dtype, n, c, s, terms, spacing, width, table, center, rscale, threads);
}

SLAF_ENTRY(sites_bumps_backward, const void* x, const void* g, void* gx, int dtype, int64_t n, int64_t c, int64_t s, int terms,
           double spacing, double width, int64_t rows, double factor, const int64_t* position, float* gweight, float* gbias,
           const float* center, const float* rscale, const float* table, int threads) {
  const Rows b = part(rows, 1, c, terms + 1, 0, position, factor), w = part(rows, terms, c, terms + 1, 1, position, factor);
  if (!b.good() || terms < 1 || !gweight || !gbias || !table) return BAD_ARGUMENT;
  return guarded([&](const Kernels&) {
    std::vector<double> sums(c * (terms + 1)), slopes(2 * c);
    const int status = slaf_bumps_backward(x, g, gx, dtype, n, c, s, terms, spacing, width, table, center, rscale, sums.data(),
                                           slopes.data(), threads);
    if (status == OK) b.from_sums(sums.data(), gbias), w.from_sums(sums.data(), gweight);
    return status;
  });
}
