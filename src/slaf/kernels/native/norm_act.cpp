// Layers that normalise and activate, as passes over blocks that stay in cache: statistics, a few numbers for every row, the
// elementwise function; backward likewise with sums in place of the statistics.
//
// A tensor is (n, c, s), or (n, s, c) with channels last. A row is one channel of one sample, row i·c + k; a block is a run of rows.
#include <string.h>

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "abi.hpp"
#include "pool.hpp"

namespace slaf {
namespace {

constexpr int64_t BLOCK = 32768;  // elements of a block, unless a unit of statistics is larger
constexpr int64_t SHARE = 64;     // one in so many elements says where moments are taken

struct Whole {
  const void *x, *g;
  void* out;
  int dtype;
  int64_t n, c, s;
  bool last;
  int threads;
  int64_t rows() const { return n * c; }
  template <class T>
  T* at(T* base, int64_t element) const {
    typedef typename std::conditional<std::is_const<T>::value, const char, char>::type Byte;
    return base ? static_cast<T*>(static_cast<Byte*>(base) + element * (dtype ? 2 : 4)) : nullptr;
  }
};

// A block as ``drive`` takes it: its rows are the channels.
struct Block {
  const Whole& whole;
  int64_t first, rows;
  int threads;
  int64_t offset() const { return first * whole.s; }  // also with channels last: then blocks are whole samples
  int64_t n() const { return whole.last ? whole.s : 1; }
  int64_t s() const { return whole.last ? 1 : whole.s; }
};

// body(block) for blocks of whole units of ``unit`` rows each; with channels last a sample is the least.
template <class F>
void by_blocks(const Whole& w, int64_t unit, F body) {
  if (w.last) unit = w.c;
  const int64_t units = w.rows() / unit, together = w.last ? 1 : std::max<int64_t>(1, BLOCK / (unit * w.s));
  const int64_t blocks = (units + together - 1) / together;
  const bool few = blocks < w.threads;  // then a block's passes share the threads
  parallel(blocks, few ? 1 : w.threads, w.threads, [&](int64_t i) {
    const int64_t first = i * together * unit;
    body(Block{w, first, std::min(w.rows() - first, together * unit), few ? w.threads : 1});
  });
}

struct Elements : Pass {
  Elementwise kernel;
  void row(int type, const void* x, const void* g, void* out, int64_t n, const float* parameters, double* s) const override {
    kernel.row[type](x, g, out, n, 0, parameters, s, past);
  }
  void column(int type, const void* x, const void* g, void* out, int64_t m, int64_t ld, int64_t groups, const float* table, float* s) const override {
    kernel.column[type](x, g, out, m, ld, groups, 0, table, s, past);
  }
};

struct Spread : Pass {
  MomentKernels kernel;
  void row(int type, const void* x, const void*, void*, int64_t n, const float* r, double* s) const override {
    kernel.row[type](x, n, 2, r[0], 1.0f, s);
  }
  void column(int type, const void* x, const void*, void*, int64_t m, int64_t ld, int64_t groups, const float* table, float* s) const override {
    kernel.column[type](x, m, ld, groups, 2, table, s);
  }
};

template <class P>
P pass_over(const Block& b, int width, int sums, bool writes) {
  const Whole& w = b.whole;
  P p;
  describe(p, w.at(w.x, b.offset()), w.at(w.g, b.offset()), w.at(w.out, b.offset()), w.dtype, b.n(), b.rows, b.s(), b.threads, width);
  p.sums = sums, p.writes = writes;
  return p;
}

// rows: (block's rows, width). Returns the sums, (block's rows, sums).
std::vector<double> elementwise(const Block& b, const Kernels& set, const Elementwise& kernel, int width, int sums, const float* rows) {
  Elements p = pass_over<Elements>(b, width, sums, kernel.writes);
  p.kernel = kernel;
  memcpy(p.rows.data(), rows, 4 * p.rows.size());
  return drive(p, set);
}

// The mean of the first elements of every row: moments about it lose at most log2(SHARE) bits, whatever the values.
std::vector<float> centres(const Block& b, const Kernels& set) {
  const Whole& w = b.whole;
  const int64_t places = (w.s + SHARE - 1) / SHARE, runs = w.last ? places : b.rows, length = w.last ? b.rows : places;
  const char* base = static_cast<const char*>(w.at(w.x, b.offset()));
  std::vector<float> out(b.rows), wide(w.dtype ? length : 0);
  for (int64_t i = 0; i < runs; ++i) {
    const char* from = base + i * (w.last ? w.c : w.s) * (w.dtype ? 2 : 4);
    const float* v = reinterpret_cast<const float*>(from);
    if (w.dtype) set.widen[w.dtype - 1](reinterpret_cast<const uint16_t*>(from), wide.data(), length), v = wide.data();
    if (w.last) {
      for (int64_t k = 0; k < length; ++k) out[k] += v[k];
    } else {
      float part[8] = {};
      int64_t k = 0;
      for (; k + 8 <= length; k += 8)
        for (int j = 0; j < 8; ++j) part[j] += v[k + j];
      for (; k < length; ++k) part[0] += v[k];
      out[i] = ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
    }
  }
  for (float& value : out) value = std::isfinite(value) ? value / (float)places : 0.0f;
  return out;
}

// Mean and Σ (x - mean)² of every row of the block.
void spreads(const Block& b, const Kernels& set, double* out) {
  const std::vector<float> at = centres(b, set);
  Spread p = pass_over<Spread>(b, 2, 2, false);
  p.kernel = set.moments[0][0];
  for (int64_t k = 0; k < b.rows; ++k) p.rows[2 * k] = at[k], p.rows[2 * k + 1] = 1.0f;
  const std::vector<double> sums = drive(p, set);
  for (int64_t k = 0; k < b.rows; ++k) {
    const double mean = sums[2 * k] / b.whole.s;
    out[2 * k] = at[k] + mean;
    out[2 * k + 1] = std::max(0.0, sums[2 * k + 1] - sums[2 * k] * mean);
    if (std::isnan(sums[2 * k + 1])) out[2 * k + 1] = sums[2 * k + 1];
  }
}

// -- groups of channels of one sample: y = γ·x·σ(v x)/√(s² + eps) + β --------------------------------------------------------------

struct Gate {
  const float *weight, *v, *bias;
  int64_t c, groups;
  bool raw;  // mean of squares in place of the variance
  int64_t per() const { return c / groups; }
  float gamma(int64_t row) const { return weight ? weight[row % c] : 1.0f; }
  float gate(int64_t row) const { return v ? v[row % c] : 1.0f; }
  float beta(int64_t row) const { return bias ? bias[row % c] : 0.0f; }
};

// Mean and 1/√(s² + eps) of a group from mean and spread of its rows.
void of_group(const double* rows, int64_t count, int64_t s, bool raw, double eps, double* out) {
  double mean = 0, square = 0;
  for (int64_t k = 0; k < count; ++k) mean += rows[2 * k] / count;
  for (int64_t k = 0; k < count; ++k) {
    const double shift = rows[2 * k] - (raw ? 0.0 : mean);
    square += (rows[2 * k + 1] / s + shift * shift) / count;
  }
  out[0] = mean, out[1] = 1 / std::sqrt(square + eps);
}

void gate_forward(const Block& b, const Kernels& set, const Gate& gate, double eps, double* stats) {
  const int64_t per = gate.per();
  std::vector<double> spread(2 * b.rows);
  std::vector<float> rows(3 * b.rows);
  spreads(b, set, spread.data());
  for (int64_t k = 0; k < b.rows; ++k) {
    double* own = stats + (b.first + k) / per * 2;
    if (k % per == 0) of_group(&spread[2 * k], per, b.whole.s, gate.raw, eps, own);
    rows[3 * k] = (float)(gate.gamma(b.first + k) * own[1]), rows[3 * k + 1] = gate.gate(b.first + k), rows[3 * k + 2] = gate.beta(b.first + k);
  }
  elementwise(b, set, set.gate[0], 3, 0, rows.data());
}

// sums: Σ g, Σ g h, Σ g ∂h/∂v of every row.
void gate_backward(const Block& b, const Kernels& set, const Gate& gate, const double* stats, double* sums) {
  const int64_t per = gate.per();
  std::vector<float> rows(4 * b.rows);
  for (int64_t k = 0; k < b.rows; ++k) rows[k] = gate.gate(b.first + k);
  const std::vector<double> found = elementwise(b, set, set.gate[1], 1, 3, rows.data());
  std::copy(found.begin(), found.end(), sums + 3 * b.first);
  if (b.whole.out == nullptr) return;
  double centre = 0, rate = 0, rstd = 0;
  for (int64_t k = 0; k < b.rows; ++k) {
    if (k % per == 0) {
      double by_rstd = 0;  // the gradient of 1/√(s² + eps)
      for (int64_t i = k; i < k + per; ++i) by_rstd += gate.gamma(b.first + i) * found[3 * i + 1];
      const double* own = stats + (b.first + k) / per * 2;
      rstd = own[1], rate = -by_rstd * rstd * rstd * rstd / (double)(per * b.whole.s), centre = gate.raw ? 0.0 : own[0];
    }
    float* to = &rows[4 * k];
    to[0] = (float)(gate.gamma(b.first + k) * rstd), to[1] = gate.gate(b.first + k), to[2] = (float)rate, to[3] = (float)centre;
  }
  elementwise(b, set, set.gate[2], 4, 0, rows.data());
}

bool good_groups(int64_t c, int64_t groups) { return groups > 0 && groups <= c && c % groups == 0; }

constexpr int QUOTIENT_WIDTH[] = {6, 4, 7}, QUOTIENT_SUMS[] = {0, 5, 0};

}  // namespace
}  // namespace slaf

using namespace slaf;

// stats: (n, groups, 2), mean and 1/√(s² + eps). weight, v, bias: (c) or null for 1, 1 and 0.
SLAF_ENTRY(gate_norm_forward, const void* x, void* y, int dtype, int64_t n, int64_t c, int64_t s, int last, int64_t groups, int raw,
           double eps, const float* weight, const float* v, const float* bias, double* stats, int threads) {
  if (!good_shape(x, dtype, n, c, s, threads) || !y || !stats || !good_groups(c, groups)) return BAD_ARGUMENT;
  return guarded([&](const Kernels& set) {
    const Whole w{x, nullptr, y, dtype, n, c, s, last != 0, threads};
    const Gate gate{weight, v, bias, c, groups, raw != 0};
    by_blocks(w, gate.per(), [&](const Block& b) { gate_forward(b, set, gate, eps, stats); });
  });
}

// sums: (n, c, 3), Σ g, Σ g h and Σ g ∂h/∂v, h = x·σ(v x); gx may be null.
SLAF_ENTRY(gate_norm_backward, const void* x, const void* g, void* gx, int dtype, int64_t n, int64_t c, int64_t s, int last,
           int64_t groups, int raw, const float* weight, const float* v, const double* stats, double* sums, int threads) {
  if (!good_shape(x, dtype, n, c, s, threads) || !g || !stats || !sums || !good_groups(c, groups)) return BAD_ARGUMENT;
  return guarded([&](const Kernels& set) {
    const Whole w{x, g, gx, dtype, n, c, s, last != 0, threads};
    const Gate gate{weight, v, nullptr, c, groups, raw != 0};
    by_blocks(w, gate.per(), [&](const Block& b) { gate_backward(b, set, gate, stats, sums); });
  });
}

// out: (n, c, 2), mean and Σ (x - mean)² of every channel of every sample.
SLAF_ENTRY(sample_spreads, const void* x, int dtype, int64_t n, int64_t c, int64_t s, int last, double* out, int threads) {
  if (!good_shape(x, dtype, n, c, s, threads) || !out) return BAD_ARGUMENT;
  return guarded([&](const Kernels& set) {
    const Whole w{x, nullptr, nullptr, dtype, n, c, s, last != 0, threads};
    by_blocks(w, 1, [&](const Block& b) { spreads(b, set, out + 2 * b.first); });
  });
}

// step 0: y = a·x/D + b, rows (n, c, 6); 1: sums (n, c, 5), rows (n, c, 4); 2: the gradient of x, rows (n, c, 7). See norm_act.hpp.
SLAF_ENTRY(quotient_norm, int step, const void* x, const void* g, void* out, int dtype, int64_t n, int64_t c, int64_t s, int last,
           const float* rows, double* sums, int threads) {
  if (!good_shape(x, dtype, n, c, s, threads) || step < 0 || step > 2 || !rows || (step > 0 && !g) || (step == 1 ? !sums : !out))
    return BAD_ARGUMENT;
  return guarded([&](const Kernels& set) {
    const Whole w{x, g, step == 1 ? nullptr : out, dtype, n, c, s, last != 0, threads};
    const int width = QUOTIENT_WIDTH[step], count = QUOTIENT_SUMS[step];
    by_blocks(w, 1, [&](const Block& b) {
      const std::vector<double> found = elementwise(b, set, set.quotient[step], width, count, rows + b.first * width);
      if (step == 1) std::copy(found.begin(), found.end(), sums + b.first * count);
    });
  });
}
