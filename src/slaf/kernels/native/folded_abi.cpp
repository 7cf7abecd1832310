// The entry of folded forms.
#include <string.h>

#include "abi.hpp"

namespace slaf {
namespace {

enum FoldedKind { PIECES = 0, SERIES = 1, CODES = 2 };

constexpr int FOLDED_HEAD = 8;

struct FoldedPass : Pass {
  FoldedRow* const* kernel;
  FoldedShape shape;
  const float* forms;
  int64_t size;

  void row(int type, const void* x, const void* g, void* out, int64_t m, const float* r, double*) const override {
    kernel[type](x, g, out, m, forms + (int64_t)r[0] * size, shape, past);
  }
};

// Numbers of one form; 0 where the shape is none.
int64_t size_of(int kind, const FoldedShape& f) {
  if (kind == CODES) return FOLDED_HEAD + 256;
  if (f.degree < 1 || f.degree > MAX_FOLDED_DEGREE) return 0;
  if (kind == SERIES) return FOLDED_HEAD + 2 * f.degree + 1;
  if (f.slots < 16 || f.slots > MAX_FOLDED_PIECES || f.buckets < 1 || f.buckets > MAX_FOLDED_PIECES) return 0;
  if (f.steps < 0 || f.steps > 16) return 0;
  if (f.slots <= MAX_FOLDED_TREE && (f.slots & (f.slots - 1))) return 0;
  return FOLDED_HEAD + folded_search(f) + (int64_t)f.slots * (2 * f.degree + 2);
}

const FoldedKernels& kernels_of(const Kernels& set, int kind, const FoldedShape& f) {
  if (kind == SERIES) return set.folded_series;
  if (kind == CODES) return set.folded_codes;
  int by_slots = 0;
  while ((16 << by_slots) < f.slots && (16 << by_slots) <= MAX_FOLDED_TREE) ++by_slots;
  return set.folded_pieces[f.degree <= 3 ? f.degree - 1 : 3][by_slots];
}

}  // namespace
}  // namespace slaf

using namespace slaf;

// forms: (count, size), see folded.hpp: the head; for pieces what finds one, the centers, the coefficients of every power and those of the
// slope; for a series its coefficients and those of its slope in x; for codes 256 values. index: (c), which form a channel has, as floats.
// g: null for the values; else out is the gradient of x.
SLAF_ENTRY(folded, const void* x, const void* g, void* out, int dtype, int64_t n, int64_t c, int64_t s, int kind, int degree, int slots,
           int buckets, int steps, int64_t count, int64_t size, const float* forms, const float* index, int threads) {
  const FoldedShape shape{degree, slots, buckets, steps};
  if (!good_shape(x, dtype, n, c, s, threads) || !out || kind < PIECES || kind > CODES || !forms || !index) return BAD_ARGUMENT;
  if (count < 1 || size_of(kind, shape) != size || size == 0) return BAD_ARGUMENT;
  for (int64_t k = 0; k < c; ++k)
    if (!(index[k] >= 0.0f && index[k] < (float)count)) return BAD_ARGUMENT;
  return guarded([&](const Kernels& set) {
    FoldedPass p;
    describe(p, x, g, out, dtype, n, c, s, threads, 1);
    memcpy(p.rows.data(), index, 4 * p.rows.size());
    const FoldedKernels& found = kernels_of(set, kind, shape);
    p.kernel = g ? found.gradient : found.value, p.shape = shape, p.forms = forms, p.size = size, p.take_rows();
    drive(p, set);
  });
}
