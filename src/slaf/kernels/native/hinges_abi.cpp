// The entries of two lines and hinges.
#include <stdint.h>
#include <string.h>

#include "abi.hpp"

namespace slaf {
namespace {

struct HingesPass : Pass {
  const HingesKernels* kernel;
  int count;

  void row(int type, const void* x, const void* g, void* out, int64_t m, const float* r, double* s) const override {
    if (sums) kernel->row_backward[type](x, g, out, m, r, count, s, past);
    else kernel->row_forward[type](x, out, m, r, count, past);
  }
  void column(int type, const void* x, const void* g, void* out, int64_t m, int64_t ld, int64_t groups, const float* table, float* s) const override {
    if (sums) kernel->column_backward[type](x, g, out, m, ld, groups, count, table, s, past);
    else kernel->column_forward[type](x, out, m, ld, groups, count, table, past);
  }
};

std::vector<double> run(const Kernels& set, const void* x, const void* g, void* out, int dtype, int64_t n, int64_t c, int64_t s, int count,
                        const float* parameters, int threads) {
  HingesPass p;
  const int terms = 4 + 2 * count;
  describe(p, x, g, out, dtype, n, c, s, threads, terms);
  memcpy(p.rows.data(), parameters, 4 * p.rows.size());
  p.kernel = &set.hinges[count ? 1 : 0], p.count = count, p.sums = g ? terms : 0;
  if (terms > MAX_MOMENTS) p.take_rows();
  return drive(p, set);
}

bool good(int count, const float* parameters) { return count >= 0 && count <= MAX_HINGES && parameters; }

// A parameter or its gradient: that of channel k and hinge j at k·site + j·term; site 0: one for all channels. at may be null.
template <class T>
struct Theta {
  T* at;
  int64_t site, term;
  T& operator()(int64_t k, int64_t j) const { return at[k * site + j * term]; }
};

// -0 stands for what is not there, see hinges.hpp. In integers throughout: the compiler takes zeros for equal.
void put_learned(float v, float* to) {
  uint32_t bits;
  memcpy(&bits, &v, 4);
  if (bits == 0x80000000u) bits = 0;
  memcpy(to, &bits, 4);
}

void put(const Theta<const float>& from, float absent, int64_t c, int width, float* to) {
  for (int64_t k = 0; k < c; ++k) {
    if (from.at) put_learned(from(k, 0), to + k * width);
    else to[k * width] = absent;
  }
}

void put_hinges(const Theta<const float>& from, int64_t c, int count, int width, float* to) {
  for (int64_t k = 0; k < c; ++k)
    for (int j = 0; j < count; ++j) to[k * width + 2 * j] = from(k, j);
}

// of(k, j): the gradient that channel k has of term j; what is shared by all channels gets their sum.
template <class F>
void give(const Theta<float>& to, int64_t c, int count, F of) {
  if (to.at == nullptr) return;
  for (int j = 0; j < count; ++j) {
    double sum = 0;
    for (int64_t k = 0; k < c; ++k) {
      sum = to.site ? of(k, j) : sum + of(k, j);
      to(k, j) = (float)sum;
    }
  }
}

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

// Parameters as they lie, those that are not null: place, left, right, height by channel, slopes and places by channel and hinge. table:
// c·(4 + 2·count) floats, kept for backward.
SLAF_ENTRY(strided_hinges_forward, const void* x, void* y, int dtype, int64_t n, int64_t c, int64_t s, int count, const float* place,
           int64_t place_site, const float* left, int64_t left_site, const float* right, int64_t right_site, const float* height,
           int64_t height_site, const float* slopes, int64_t slopes_site, int64_t slopes_term, const float* places, int64_t places_site,
           int64_t places_term, float* table, int threads) {
  if (c < 1 || !good(count, table) || (count && !(slopes && places))) return BAD_ARGUMENT;
  const int width = 4 + 2 * count;
  put({place, place_site, 0}, -0.0f, c, width, table), put({left, left_site, 0}, -0.0f, c, width, table + 1);
  put({right, right_site, 0}, 1.0f, c, width, table + 2), put({height, height_site, 0}, -0.0f, c, width, table + 3);
  put_hinges({slopes, slopes_site, slopes_term}, c, count, width, table + 4);
  put_hinges({places, places_site, places_term}, c, count, width, table + 5);
  return slaf_hinges_forward(x, y, dtype, n, c, s, count, table, threads);
}

// The gradients in their places.
SLAF_ENTRY(strided_hinges_backward, const void* x, const void* g, void* gx, int dtype, int64_t n, int64_t c, int64_t s, int count,
           float* place, int64_t place_site, float* left, int64_t left_site, float* right, int64_t right_site, float* height,
           int64_t height_site, float* slopes, int64_t slopes_site, int64_t slopes_term, float* places, int64_t places_site,
           int64_t places_term, const float* table, int threads) {
  if (!good_shape(x, dtype, n, c, s, threads) || !g || !good(count, table)) return BAD_ARGUMENT;
  return guarded([&](const Kernels& set) {
    const int width = 4 + 2 * count;
    const std::vector<double> sums = run(set, x, g, gx, dtype, n, c, s, count, table, threads);
    const auto sum = [&](int64_t k, int i) { return sums[k * width + i]; };
    const auto of = [&](int64_t k, int i) { return (double)table[k * width + i]; };
    give({left, left_site, 0}, c, 1, [&](int64_t k, int) { return sum(k, 0); });
    give({right, right_site, 0}, c, 1, [&](int64_t k, int) { return sum(k, 1); });
    give({height, height_site, 0}, c, 1, [&](int64_t k, int) { return sum(k, 2) + sum(k, 3); });
    give({place, place_site, 0}, c, 1, [&](int64_t k, int) { return -of(k, 1) * sum(k, 2) - of(k, 2) * sum(k, 3); });
    give({slopes, slopes_site, slopes_term}, c, count, [&](int64_t k, int j) { return sum(k, 4 + 2 * j); });
    give({places, places_site, places_term}, c, count, [&](int64_t k, int j) { return of(k, 4 + 2 * j) * sum(k, 5 + 2 * j); });
  });
}
