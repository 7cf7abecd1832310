// The entries of piecewise polynomials on a uniform grid.
#include "abi.hpp"

namespace slaf {
namespace {

struct PiecesPass : Pass {
  const PiecesKernels* kernel;
  int degree, cells;

  void row(const float* x, const float* g, float* out, int64_t n, const float* r, double* s) const override {
    if (sums) kernel->backward(x, g, out, n, r, degree, cells, s);
    else kernel->forward(x, out, n, r, degree, cells);
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
  p.degree = f.degree, p.cells = f.cells, p.rowwise = true;
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

// sums: (c, cells + 2, degree + 1), of g·t^k; 0 for k > 1 on the two sides, which are straight.
SLAF_ENTRY(pieces_backward, const void* x, const void* g, void* gx, int dtype, int64_t n, int64_t c, int64_t s, int degree, int cells,
           const float* table, const float* center, const float* rscale, double* sums, int threads) {
  const Pieces f{degree, cells, table, center, rscale};
  if (!good_shape(x, dtype, n, c, s, threads) || !g || !sums || !f.good()) return BAD_ARGUMENT;
  return guarded([&](const Kernels& set) {
    PiecesPass p;
    describe(p, x, g, gx, dtype, n, c, s, threads, f.width(1));
    fill(p, set, f, 1);
    const int terms = degree + 1;
    p.sums = p.pieces() * terms;
    const std::vector<double> found = drive(p, set);
    for (int64_t i = 0; i < (int64_t)found.size(); ++i) {
      const int piece = (int)(i / terms % p.pieces());
      sums[i] = i % terms > 1 && (piece == 0 || piece == cells + 1) ? 0 : found[i];
    }
  });
}
