// Dense layers of splines: y_o = b_o + Σ_i [Σ_k c_kio B_k(q_i) + w_io silu(x_i)]. Of the B-splines of degree P only P + 1 are not 0 at a
// point, so each input adds P + 2 rows of ``outputs`` coefficients, whatever the grid.
#pragma once
#include "exponential.hpp"
#include "kernels.hpp"

namespace {

constexpr int BATCH = slaf::KAN_BATCH;

SLAF_INLINE float sum_of(vf v) {
#if SLAF_LANES == 8 && defined(__AVX__)
  __m128 half = _mm_add_ps(_mm256_castps256_ps128((__m256)v), _mm256_extractf128_ps((__m256)v, 1));
  half = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
#else
  alignas(4 * SLAF_LANES) float b[W];
  store(b, v);
  for (int half = W / 2; half >= 1; half /= 2)
    for (int i = 0; i < half; ++i) b[i] += b[i + half];
  return b[0];
#endif
}

// What the splines are at ``rows`` samples of one input: the first spline that is not 0, its value and those that follow.
template <int P>
struct Local {
  alignas(64) float value[P + 1][BATCH], slope[P + 1][BATCH], base[BATCH], base_slope[BATCH];
  alignas(64) int32_t cell[BATCH];

  template <bool SLOPES>
  SLAF_INLINE void at(const slaf::KanLayer& f, const float* x, int64_t rows, int64_t i) {
    const float center = f.center[i], scale = f.scale[i];
    const vf last = all((float)(f.cells - 1)), middle = all(0.5f * (float)f.cells);
    for (int64_t b = 0; b < rows; b += W) {
      alignas(64) float given[W] = {};
      for (int64_t l = 0; l < (rows - b < W ? rows - b : W); ++l) given[l] = x[(b + l) * f.inputs + i];
      const vf z = load(given), q = (z - center) * scale + middle;
      // 0 for NaN, which t brings into the values
      const vi place = __builtin_convertvector(smaller(larger(all(0.0f), q), last), vi);
      memcpy(cell + b, &place, sizeof place);
      const vf t = q - __builtin_convertvector(place, vf), inside = smaller(larger(t, all(0.0f)), all(1.0f)), beyond = t - inside;
      SLAF_UNROLL
      for (int r = 0; r <= P; ++r) {
        const float* c = f.pieces + r * (P + 1);
        vf v = all(c[P]), d = all(0.0f);
        SLAF_UNROLL
        for (int k = P - 1; k >= 0; --k) d = d * inside + v, v = v * inside + c[k];
        store(value[r] + b, v + beyond * d);
        if (SLOPES) store(slope[r] + b, d * scale);
      }
      if (!f.base) continue;
      const Logistic s(z);
      store(base + b, z * s.value);
      if (SLOPES) store(base_slope + b, s.value * (1.0f + z * s.rest));
    }
  }
};

// The rows of one input side by side: those of the splines in order, 0 where one has none, then that of the base. A row has ``stride``
// floats, whole vectors, so that neither the end of a row nor a power of two between rows is special.
template <int P>
SLAF_INLINE void collect(const slaf::KanLayer& f, int64_t i, float* slab) {
  float* to = slab;
  for (int j = 0, k = 0; j < f.cells + P + (f.base != 0); ++j, to += f.stride) {
    const int64_t given = j == f.left_out ? 0 : f.outputs;
    if (given) memcpy(to, f.weight + (k++ * f.inputs + i) * f.outputs, 4 * (size_t)given);
    if (given < f.stride) memset(to + given, 0, 4 * (size_t)(f.stride - given));
  }
}

// What ``collect`` has collected, back to where it was.
template <int P>
SLAF_INLINE void distribute(const slaf::KanLayer& f, int64_t i, const float* slab, float* weight) {
  for (int j = 0, k = 0; j < f.cells + P + (f.base != 0); ++j)
    if (j != f.left_out) memcpy(weight + (k++ * f.inputs + i) * f.outputs, slab + j * f.stride, 4 * (size_t)f.outputs);
}

template <int P, bool BASE>
SLAF_INLINE void add_input(const slaf::KanLayer& f, const Local<P>& at, const float* __restrict slab, float* __restrict y, int64_t count) {
  const int64_t stride = f.stride, whole = f.outputs / W * W;
  const float* base = slab + (f.cells + P) * stride;
  for (int64_t b = 0; b < count; ++b) {
    const float* w = slab + at.cell[b] * stride;
    float* out = y + b * f.outputs;
    vf a[P + 1];
    SLAF_UNROLL
    for (int r = 0; r <= P; ++r) a[r] = all(at.value[r][b]);
    const vf c = BASE ? all(at.base[b]) : vf{};
    const auto added = [&](vf sum, int64_t o) __attribute__((always_inline)) {
      SLAF_UNROLL
      for (int r = 0; r <= P; ++r) sum += a[r] * load(w + r * stride + o);
      return BASE ? sum + c * load(base + o) : sum;
    };
    int64_t o = 0;
    for (; o + 4 * W <= whole; o += 4 * W) {
      SLAF_UNROLL
      for (int v = 0; v < 4; ++v) store(out + o + v * W, added(load(out + o + v * W), o + v * W));
    }
    for (; o < whole; o += W) store(out + o, added(load(out + o), o));
    if (const int rest = (int)(f.outputs - whole)) store_part(out + o, added(load_part(out + o, rest), o), rest);
  }
}

template <int P>
void kan_forward(const slaf::KanLayer& f, const float* x, float* y, int64_t count, float* slab) {
  Local<P> at;
  for (int64_t b = 0; b < count; ++b)
    for (int64_t o = 0; o < f.outputs; ++o) y[b * f.outputs + o] = f.bias ? f.bias[o] : 0.0f;
  for (int64_t i = 0; i < f.inputs; ++i) {
    at.template at<false>(f, x, count, i);
    collect<P>(f, i, slab);
    if (f.base) add_input<P, true>(f, at, slab, y, count);
    else add_input<P, false>(f, at, slab, y, count);
  }
}

template <int P, bool BASE>
SLAF_INLINE void gradient_input(const slaf::KanLayer& f, const Local<P>& at, const float* __restrict slab, float* __restrict gslab,
                                const float* __restrict g, float* __restrict gx, int64_t count) {
  const int64_t stride = f.stride, whole = f.outputs / W * W, last = (f.cells + P) * stride;
  for (int64_t b = 0; b < count; ++b) {
    const float *w = slab + at.cell[b] * stride, *from = g + b * f.outputs;
    float* gw = gslab + at.cell[b] * stride;
    vf a[P + 1], d[P + 1], total = {};
    SLAF_UNROLL
    for (int r = 0; r <= P; ++r) a[r] = all(at.value[r][b]), d[r] = all(at.slope[r][b]);
    const vf c = BASE ? all(at.base[b]) : vf{}, e = BASE ? all(at.base_slope[b]) : vf{};
    const auto step = [&](vf given, int64_t o) __attribute__((always_inline)) {
      vf slope = d[0] * load(w + o);
      SLAF_UNROLL
      for (int r = 1; r <= P; ++r) slope += d[r] * load(w + r * stride + o);
      if (BASE) slope += e * load(slab + last + o);
      total += slope * given;
      SLAF_UNROLL
      for (int r = 0; r <= P; ++r) store(gw + r * stride + o, load(gw + r * stride + o) + a[r] * given);
      if (BASE) store(gslab + last + o, load(gslab + last + o) + c * given);
    };
    int64_t o = 0;
    for (; o + 2 * W <= whole; o += 2 * W) step(load(from + o), o), step(load(from + o + W), o + W);
    for (; o < whole; o += W) step(load(from + o), o);
    if (o < f.outputs) step(load_part(from + o, (int)(f.outputs - o)), o);
    gx[b] = sum_of(total);
  }
}

template <int P>
void kan_backward(const slaf::KanLayer& f, const float* x, const float* g, float* gx, float* gweight, int64_t batch, int64_t i, float* slab) {
  Local<P> at;
  const int64_t size = (f.cells + P + 1) * f.stride;
  float* gslab = slab + size;
  collect<P>(f, i, slab);
  memset(gslab, 0, 4 * (size_t)size);
  const int64_t tile = slaf::kan_tile(f.cells);
  for (int64_t b = 0; b < batch; b += tile) {
    const int64_t count = batch - b < tile ? batch - b : tile;
    at.template at<true>(f, x + b * f.inputs, count, i);
    float found[BATCH];
    if (f.base) gradient_input<P, true>(f, at, slab, gslab, g + b * f.outputs, found, count);
    else gradient_input<P, false>(f, at, slab, gslab, g + b * f.outputs, found, count);
    if (gx)
      for (int64_t l = 0; l < count; ++l) gx[(b + l) * f.inputs + i] = found[l];
  }
  distribute<P>(f, i, gslab, gweight);
}

}  // namespace
