// The entries of two lines and hinges.
#include <string.h>

#include "abi.hpp"

namespace slaf {
namespace {

struct HingesPass : Pass {
  const HingesKernels* kernel;
  int count;

  void row(const float* x, const float* g, float* out, int64_t m, const float* r, double* s) const override {
    if (sums) kernel->row_backward(x, g, out, m, r, count, s);
    else kernel->row_forward(x, out, m, r, count);
  }
  void column(const float* x, const float* g, float* out, int64_t m, int64_t ld, int64_t groups, const float* table, float* s) const override {
    if (sums) kernel->column_backward(x, g, out, m, ld, groups, count, table, s);
    else kernel->column_forward(x, out, m, ld, groups, count, table);
  }
};

std::vector<double> run(const Kernels& set, const void* x, const void* g, void* out, int dtype, int64_t n, int64_t c, int64_t s, int count,
                        const float* parameters, int threads) {
  HingesPass p;
  const int terms = 4 + 2 * count;
  describe(p, x, g, out, dtype, n, c, s, threads, terms);
  memcpy(p.rows.data(), parameters, 4 * p.rows.size());
  p.kernel = &set.hinges[count ? 1 : 0], p.count = count, p.rowwise = terms > MAX_MOMENTS, p.sums = g ? terms : 0;
  return drive(p, set);
}

bool good(int count, const float* parameters) { return count >= 0 && count <= MAX_HINGES && parameters; }

}  // namespace
}  // namespace slaf

using namespace slaf;

// parameters: (c, 4 + 2·count), see hinges.hpp.
SLAF_ENTRY(hinges_forward, const void* x, void* y, int dtype, int64_t n, int64_t c, int64_t s, int count, const float* parameters,
           int threads) {
  if (!good_shape(x, dtype, n, c, s, threads) || !y || !good(count, parameters)) return BAD_ARGUMENT;
  return guarded([&](const Kernels& set) { run(set, x, nullptr, y, dtype, n, c, s, count, parameters, threads); });
}

// sums: as the parameters.
SLAF_ENTRY(hinges_backward, const void* x, const void* g, void* gx, int dtype, int64_t n, int64_t c, int64_t s, int count,
           const float* parameters, double* sums, int threads) {
  if (!good_shape(x, dtype, n, c, s, threads) || !g || !sums || !good(count, parameters)) return BAD_ARGUMENT;
  return guarded([&](const Kernels& set) {
    const std::vector<double> found = run(set, x, g, gx, dtype, n, c, s, count, parameters, threads);
    memcpy(sums, found.data(), 8 * found.size());
  });
}
