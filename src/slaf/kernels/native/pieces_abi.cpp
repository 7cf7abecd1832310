// The entries of piecewise polynomials on a uniform grid.
#include <string.h>

#include <algorithm>
#include <memory>

#include "sites.hpp"

namespace slaf {
namespace {

struct PiecesPass : Pass {
  const PiecesKernels* kernel;
  int degree, cells;

  void row(int type, const void* x, const void* g, void* out, int64_t m, const float* r, double* s) const override {
    runs(type, x, g, out, m, 1, m, r, s);
  }
  void runs(int type, const void* x, const void* g, void* out, int64_t m, int64_t count, int64_t stride, const float* r,
            double* s) const override {
    if (sums) kernel->backward[type](x, g, out, m, count, stride, r, degree, cells, s, past);
    else kernel->forward[type](x, out, m, count, stride, r, degree, cells, past);
  }
  int pieces() const { return cells + 2; }
};

struct Pieces {
  int degree, cells;
  const float *table, *center, *rscale;  // (c, cells + 2, degree + 1), (c), (c)

  bool good() const { return degree >= 1 && degree <= MAX_LOCAL_DEGREE && cells >= 1 && cells <= MAX_CELLS && table && center && rscale; }
  int width(int first) const { return 4 + (degree + 1 - first) * piece_stride(cells); }
};

// first: 0 for the values, 1 for the slopes in x.
void fill(PiecesPass& p, const Kernels& set, const Pieces& f, int first) {
  p.kernel = &set.pieces[f.degree <= 3 ? f.degree - 1 : 3][f.cells <= 16 ? 0 : f.cells <= 32 ? 1 : 2];
  p.degree = f.degree, p.cells = f.cells, p.takes_runs = true, p.take_rows();
  const int terms = f.degree + 1, stride = piece_stride(f.cells);
  for (int64_t k = 0; k < p.c; ++k) {
    const float* from = f.table + k * p.pieces() * terms;
    const double scale = first ? f.rscale[k] : 1.0;
    float* to = &p.rows[k * p.width];
    to[0] = f.center[k], to[1] = f.rscale[k];
    to[2] = (float)(from[1] * scale), to[3] = (float)(from[(f.cells + 1) * terms + 1] * scale);
    for (int m = first; m < terms; ++m)
      for (int cell = 0; cell < f.cells; ++cell)
        to[4 + (m - first) * stride + cell] = (float)(from[(cell + 1) * terms + m] * (first ? m * scale : 1.0));
  }
}

// sums: (c, cells + 2, degree + 1), of g·t^k; 0 for k > 1 on the two sides, which are straight.
std::vector<double> sums_of(PiecesPass& p, const Kernels& set) {
  p.sums = p.pieces() * (p.degree + 1);
  std::vector<double> found = drive(p, set);
  for (int64_t k = 0; k < p.c; ++k)
    for (int piece : {0, p.cells + 1})
      for (int m = 2; m <= p.degree; ++m) found[k * p.sums + piece * (p.degree + 1) + m] = 0;
  return found;
}

// From θ to what the pieces are made of, as a sparse matrix: the p-th number is Σ weight[i]·θ[index[i]], i = starts[p] … starts[p + 1] - 1.
// θ is factor·(bias, weights), or factor·weights without a bias.
struct FromTheta {
  static constexpr int64_t TOGETHER = 8;  // rows, so that their numbers are vectors
  typedef double Together[TOGETHER];

  Rows rows;  // of the weights; width: numbers of a site
  bool bias;
  const int32_t *starts, *index;
  const double* weight;

  bool good() const { return rows.good() && rows.columns >= 1 && starts && index && weight; }
  int64_t run() const { return rows.c / rows.rows; }

  // f(first row, how many, θ of them).
  template <class F>
  void each(F f) const {
    const std::unique_ptr<Together[]> theta(new Together[rows.columns + bias]);
    for (int64_t row = 0; row < rows.rows; row += TOGETHER) f(row, std::min(TOGETHER, rows.rows - row), theta.get());
  }

  void to_table(const float* weights, const float* biases, float* table) const {
    each([&](int64_t row, int64_t count, Together* theta) {
      std::fill_n(&theta[0][0], (rows.columns + bias) * TOGETHER, 0.0);
      for (int64_t r = 0; r < count; ++r) {
        if (bias) theta[0][r] = rows.factor * biases[row + r];
        for (int64_t j = 0; j < rows.columns; ++j) theta[j + bias][r] = rows.factor * weights[(row + r) * rows.columns + j];
      }
      float* to[TOGETHER];
      for (int64_t r = 0; r < count; ++r) to[r] = table + rows.start((row + r) * run());
      for (int64_t p = 0; p < rows.width; ++p) {
        Together sum = {};
        for (int32_t i = starts[p]; i < starts[p + 1]; ++i)
          for (int64_t r = 0; r < TOGETHER; ++r) sum[r] += weight[i] * theta[index[i]][r];
        for (int64_t r = 0; r < count; ++r) to[r][p] = (float)sum[r];
      }
      for (int64_t r = 0; r < count; ++r)
        for (int64_t i = 1; i < run(); ++i) memcpy(table + rows.start((row + r) * run() + i), to[r], 4 * rows.width);
    });
  }

  void from_sums(const double* sums, float* weights, float* biases) const {
    const std::unique_ptr<Together[]> of_rows(new Together[rows.width]);
    const int64_t run = this->run();
    each([&](int64_t row, int64_t count, Together* theta) {
      std::fill_n(&of_rows[0][0], rows.width * TOGETHER, 0.0);
      for (int64_t r = 0; r < count; ++r)
        for (int64_t site = (row + r) * run; site < (row + r + 1) * run; ++site) {
          const double* from = sums + rows.start(site);
          for (int64_t p = 0; p < rows.width; ++p) of_rows[p][r] += from[p];
        }
      std::fill_n(&theta[0][0], (rows.columns + bias) * TOGETHER, 0.0);
      for (int64_t p = 0; p < rows.width; ++p)
        for (int32_t i = starts[p]; i < starts[p + 1]; ++i)
          for (int64_t r = 0; r < TOGETHER; ++r) theta[index[i]][r] += weight[i] * of_rows[p][r];
      for (int64_t r = 0; r < count; ++r) {
        if (bias) biases[row + r] = (float)(rows.factor * theta[0][r]);
        for (int64_t j = 0; j < rows.columns; ++j) weights[(row + r) * rows.columns + j] = (float)(rows.factor * theta[j + bias][r]);
      }
    });
  }
};

}  // namespace
}  // namespace slaf

using namespace slaf;

SLAF_ENTRY(pieces_forward, const void* x, void* y, int dtype, int64_t n, int64_t c, int64_t s, int degree, int cells, const float* table,
           const float* center, const float* rscale, int threads) {
  const Pieces f{degree, cells, table, center, rscale};
  if (!good_shape(x, dtype, n, c, s, threads) || !y || !f.good()) return BAD_ARGUMENT;
  return guarded([&](const Kernels& set) {
    PiecesPass p;
    describe(p, x, nullptr, y, dtype, n, c, s, threads, f.width(0));
    fill(p, set, f, 0);
    drive(p, set);
  });
}

SLAF_ENTRY(pieces_backward, const void* x, const void* g, void* gx, int dtype, int64_t n, int64_t c, int64_t s, int degree, int cells,
           const float* table, const float* center, const float* rscale, double* sums, int threads) {
  const Pieces f{degree, cells, table, center, rscale};
  if (!good_shape(x, dtype, n, c, s, threads) || !g || !sums || !f.good()) return BAD_ARGUMENT;
  return guarded([&](const Kernels& set) {
    PiecesPass p;
    describe(p, x, g, gx, dtype, n, c, s, threads, f.width(1));
    fill(p, set, f, 1);
    const std::vector<double> found = sums_of(p, set);
    memcpy(sums, found.data(), 8 * found.size());
  });
}

// As slaf_sites_series_forward: weights and, where there are any, biases as modules hold them. table: c·(cells + 2)·(degree + 1) floats, kept
// for backward.
SLAF_ENTRY(sites_pieces_forward, const void* x, void* y, int dtype, int64_t n, int64_t c, int64_t s, int degree, int cells, int64_t rows,
           int64_t columns, double factor, const int64_t* position, const float* weight, const float* bias, const int32_t* starts,
           const int32_t* index, const double* matrix, const float* center, const float* rscale, float* table, int threads) {
  const FromTheta map{part(rows, columns, c, (cells + 2) * (degree + 1), 0, position, factor), bias != nullptr, starts, index, matrix};
  if (!map.good() || !weight || !table || degree < 1 || cells < 1) return BAD_ARGUMENT;
  return guarded([&](const Kernels&) {
    map.to_table(weight, bias, table);
    return slaf_pieces_forward(x, y, dtype, n, c, s, degree, cells, table, center, rscale, threads);
  });
}

SLAF_ENTRY(sites_pieces_backward, const void* x, const void* g, void* gx, int dtype, int64_t n, int64_t c, int64_t s, int degree, int cells,
           int64_t rows, int64_t columns, double factor, const int64_t* position, float* gweight, float* gbias, const int32_t* starts,
           const int32_t* index, const double* matrix, const float* center, const float* rscale, const float* table, int threads) {
  const Pieces f{degree, cells, table, center, rscale};
  const FromTheta map{part(rows, columns, c, (cells + 2) * (degree + 1), 0, position, factor), gbias != nullptr, starts, index, matrix};
  if (!good_shape(x, dtype, n, c, s, threads) || !g || !f.good() || !map.good() || !gweight) return BAD_ARGUMENT;
  return guarded([&](const Kernels& set) {
    PiecesPass p;
    describe(p, x, g, gx, dtype, n, c, s, threads, f.width(1));
    fill(p, set, f, 1);
    map.from_sums(sums_of(p, set).data(), gweight, gbias);
  });
}
