// The entries of dense layers of splines: samples are shared among the threads forward, inputs backward, so every sum is one thread's.
#include <algorithm>

#include "abi.hpp"
#include "pool.hpp"

namespace slaf {
namespace {

constexpr int64_t TOGETHER = 16;  // inputs of a task backward: a cache line of the gradient

bool good(const KanLayer& f, int64_t batch, int threads) {
  const bool splines = f.degree >= 1 && f.degree <= MAX_KAN_DEGREE && f.cells >= 1 && f.cells <= MAX_CELLS;
  const bool there = f.weight && f.center && f.scale && f.pieces;
  return splines && there && batch > 0 && f.inputs > 0 && f.outputs > 0 && threads > 0 && f.left_out >= 0 && f.left_out < f.cells + f.degree;
}

// Whole vectors of any instruction set, and no power of two between rows.
int64_t stride(int64_t outputs) { return (outputs + 15) / 16 * 16 + (outputs >= 512 ? 16 : 0); }

int64_t slab(const KanLayer& f) { return (f.cells + f.degree + 1) * f.stride; }

}  // namespace
}  // namespace slaf

using namespace slaf;

SLAF_ENTRY(kan_forward, const float* x, float* y, int64_t batch, int64_t inputs, int64_t outputs, int degree, int cells, int left_out,
           int base, const float* weight, const float* bias, const float* center, const float* scale, const float* pieces, int threads) {
  const KanLayer f{inputs, outputs, degree, cells, left_out, base, weight, bias, center, scale, pieces, stride(outputs)};
  if (!x || !y || !good(f, batch, threads)) return BAD_ARGUMENT;
  return guarded([&](const Kernels& set) {
    // a sample's sums do not depend on its tile, so no thread need be without one
    const int64_t tile = std::min<int64_t>(kan_tile(cells), (batch + threads - 1) / threads), tiles = (batch + tile - 1) / tile;
    const int64_t workers = std::min<int64_t>(tiles, threads), share = (tiles + workers - 1) / workers;
    std::vector<float> slabs(workers * slab(f));  // here, where a lack of memory can be reported
    parallel(workers, threads, threads, [&](int64_t worker) {
      const int64_t end = std::min(batch, (worker + 1) * share * tile);
      for (int64_t first = worker * share * tile; first < end; first += tile) {
        const int64_t count = std::min(tile, batch - first);
        set.kan[degree - 1].forward(f, x + first * inputs, y + first * outputs, count, slabs.data() + worker * slab(f));
      }
    });
  });
}

SLAF_ENTRY(kan_backward, const float* x, const float* g, float* gx, float* gweight, int64_t batch, int64_t inputs, int64_t outputs,
           int degree, int cells, int left_out, int base, const float* weight, const float* center, const float* scale,
           const float* pieces, int threads) {
  const KanLayer f{inputs, outputs, degree, cells, left_out, base, weight, nullptr, center, scale, pieces, stride(outputs)};
  if (!x || !g || !gweight || !good(f, batch, threads)) return BAD_ARGUMENT;
  return guarded([&](const Kernels& set) {
    const int64_t blocks = (inputs + TOGETHER - 1) / TOGETHER;
    const int64_t workers = std::min<int64_t>(blocks, threads), share = (blocks + workers - 1) / workers * TOGETHER;
    std::vector<float> slabs(workers * 2 * slab(f));
    parallel(workers, threads, threads, [&](int64_t worker) {
      for (int64_t i = worker * share; i < std::min(inputs, (worker + 1) * share); ++i)
        set.kan[degree - 1].backward(f, x, g, gx, gweight, batch, i, slabs.data() + worker * 2 * slab(f));
    });
  });
}
