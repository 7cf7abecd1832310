// Piecewise polynomials on a uniform grid, straight beyond it: look up a cell, then Horner's rule in t, which runs from 0 to 1 over it.
//
// With v = (x - center)·rscale the cells are [j - half, j + 1 - half), j = 0 … cells - 1, half = cells/2. Backward sums g·t^k over every
// cell and over the two sides, piece 0 being the left and cells + 1 the right one; there t goes on beyond [0, 1].
//
// D: degree, or ANY. T: how many vectors hold one coefficient of all cells, so that a look-up is a permutation of registers; 0: memory.
#pragma once
#include "series.hpp"

namespace {

constexpr int MAX_CELLS = slaf::MAX_CELLS, MAX_LOCAL_DEGREE = slaf::MAX_LOCAL_DEGREE;

// Keeps the compiler from fusing a product with the sum that follows: the cell must be the one that rounded operations give.
#if defined(__x86_64__) && (SLAF_LANES == 4 || (SLAF_LANES == 8 && defined(__AVX__)) || defined(__AVX512F__))
#define SLAF_ROUNDED(v) asm("" : "+x"(v))
#elif defined(__aarch64__) && SLAF_LANES == 4
#define SLAF_ROUNDED(v) asm("" : "+w"(v))
#else
#define SLAF_ROUNDED(v) asm("" : "+m"(v))
#endif

// The bound where v is not a number.
#if SLAF_LANES == 8 && defined(__AVX__)
SLAF_INLINE vf at_least(vf v, vf low) { return (vf)_mm256_max_ps((__m256)v, (__m256)low); }
SLAF_INLINE vf at_most(vf v, vf high) { return (vf)_mm256_min_ps((__m256)v, (__m256)high); }
#else
SLAF_INLINE vf at_least(vf v, vf low) { return v > low ? v : low; }
SLAF_INLINE vf at_most(vf v, vf high) { return v < high ? v : high; }
#endif

// The largest whole number that is not above v, |v| < 2^31.
SLAF_INLINE vf whole(vf v) {
#if SLAF_LANES == 8 && defined(__AVX__)
  return (vf)_mm256_floor_ps((__m256)v);
#else
  const vf toward_zero = __builtin_convertvector(__builtin_convertvector(v, vi), vf);
  return toward_zero + __builtin_convertvector((vi)(toward_zero > v), vf);
#endif
}

// One coefficient of every cell.
template <int T>
struct Lookup {
  vf part[T];
  SLAF_INLINE void load_from(const float* p) {
    for (int i = 0; i < T; ++i) part[i] = load(p + i * W);
  }
  SLAF_INLINE vf operator()(vi cell) const {
#if SLAF_LANES == 8 && defined(__AVX2__)
    const auto in = [&](int i) { return _mm256_permutevar8x32_ps((__m256)part[i], (__m256i)cell); };
    const auto bit = [&](int b) { return _mm256_castsi256_ps(_mm256_slli_epi32((__m256i)cell, 31 - b)); };
    const auto half = [&](int i) { return _mm256_blendv_ps(in(i), in(i + 1), bit(3)); };
    if constexpr (T == 1) return (vf)in(0);
    else if constexpr (T == 2) return (vf)half(0);
    else return (vf)_mm256_blendv_ps(half(0), half(2), bit(4));
#elif SLAF_LANES == 16 && defined(__AVX512F__)
    static_assert(T == 2, "a vector of 16 lanes and its neighbour");
    return (vf)_mm512_permutex2var_ps((__m512)part[0], (__m512i)cell, (__m512)part[T - 1]);
#else
    vf out;
    for (int i = 0; i < W; ++i) out[i] = part[cell[i] / W][cell[i] % W];
    return out;
#endif
  }
};

template <>
struct Lookup<0> {
  const float* p;
  SLAF_INLINE void load_from(const float* from) { p = from; }
  SLAF_INLINE vf operator()(vi cell) const {
#if SLAF_LANES == 8 && defined(__AVX2__)
    return (vf)_mm256_i32gather_ps(p, (__m256i)cell, 4);
#elif SLAF_LANES == 16 && defined(__AVX512F__)
    return (vf)_mm512_mask_i32gather_ps(_mm512_setzero_ps(), 0xffff, (__m512i)cell, p, 4);
#else
    vf out;
    for (int i = 0; i < W; ++i) out[i] = p[cell[i]];
    return out;
#endif
  }
};

// What a channel's row of parameters begins with; tables of ``stride`` floats follow, one for each power of t.
struct Head {
  float center, rscale, left, right;
};

template <int D, int T, int FROM>
struct Pieces {
  static constexpr int TABLES = (D == ANY ? MAX_LOCAL_DEGREE : D) + 1 - FROM;
  Lookup<T> table[TABLES];
  vf center, rscale, left, right, half, last;
  int any;

  SLAF_INLINE int degree() const { return D == ANY ? any : D; }  // a constant wherever it can be, so that all else stays in registers

  SLAF_INLINE Pieces(const float* parameters, int degree_, int cells) : any(degree_) {
    Head head;
    memcpy(&head, parameters, sizeof head);
    const int stride = slaf::piece_stride(cells);
    for (int k = 0; k <= degree() - FROM; ++k) table[k].load_from(parameters + 4 + k * stride);
    center = all(head.center), rscale = all(head.rscale), left = all(head.left), right = all(head.right);
    half = all(0.5f * (float)cells), last = all((float)(cells - 1));
  }

  struct Place {
    vf piece, cell;  // from -1 to cells, and the nearest of the grid
    vf t, inside;    // in the piece, and in the cell, where it is kept in [0, 1]; for lines there is no difference
    vf beyond;       // t - inside in the cell; NaN or infinite where x is
  };

  // SIDES: the two beyond the grid are pieces of their own.
  template <bool SIDES>
  SLAF_INLINE Place locate(vf x) const {
    Place at{};
    vf v = x - center;
    SLAF_ROUNDED(v);
    v *= rscale;
    SLAF_ROUNDED(v);
    at.piece = SIDES ? whole(at_most(at_least(v + half, all(-1.0f)), last + 1.0f)) : whole(at_most(at_least(v + half, vf{}), last));
    at.cell = SIDES ? at_most(at_least(at.piece, vf{}), last) : at.piece;
    at.t = v - (at.piece - half);
    const vf in_cell = v - (at.cell - half);
    if (D == 1) {
      at.inside = in_cell;
      return at;
    }
    at.inside = at_most(at_least(in_cell, vf{}), all(1.0f));
    at.beyond = in_cell - at.inside;
    return at;
  }

  // Σ_k table[k] t^k.
  SLAF_INLINE vf horner(vi cell, vf t) const {
    vf y = table[degree() - FROM](cell);
    auto step = [&](int k) { y = y * t + table[k](cell); };
    if constexpr (D == ANY) {
      for (int k = degree() - FROM - 1; k >= 0; --k) step(k);
    } else {
      SLAF_UNROLL for (int k = D - FROM - 1; k >= 0; --k) step(k);
    }
    return y;
  }

  SLAF_INLINE vf value(vf x) const {
    const Place at = locate<false>(x);
    const vf y = horner(__builtin_convertvector(at.cell, vi), at.inside);
    return D == 1 ? y : y + (at.beyond < 0.0f ? left : right) * at.beyond;
  }

  // The tables are those of the slope then: k·c_k·rscale.
  SLAF_INLINE vf slope(const Place& at) const {
    const vf y = horner(__builtin_convertvector(at.cell, vi), at.inside);
    if (D == 1) return y;
    return at.piece == at.cell ? y : at.piece < 0.0f ? left : right;
  }
};

template <int D, int T>
void pieces_row_forward(const float* x, float* y, int64_t n, const float* parameters, int degree, int cells) {
  const Pieces<D, T, 0> f(parameters, degree, cells);
  int64_t i = 0;
  for (; i + W <= n; i += W) store(y + i, f.value(load(x + i)));
  if (i < n) store_part(y + i, f.value(load_part(x + i, (int)(n - i))), (int)(n - i));
}

// -- sums over pieces --------------------------------------------------------------------------------------------------------------

// A table of sums in float32, SLOTS for a piece, in COPIES: neighbouring elements often share a piece, and a processor waits for the
// sum that it has just stored. So it does for a place that it has just stored: the places of a block are noted before its terms are added.
template <int D, int COPIES, int PIECES>
struct Moments {
  static constexpr int SLOTS = D == ANY ? 8 : D == 1 ? 2 : 4, COUNT = D == ANY ? MAX_LOCAL_DEGREE + 1 : D + 1;
  static constexpr int BLOCK = 256, COPY = PIECES * SLOTS;
  alignas(64) float sums[COPIES * COPY], g[BLOCK], t[BLOCK];
  alignas(64) int32_t place[BLOCK];  // of the piece in a copy
  int pieces, degree;

  SLAF_INLINE Moments(int cells, int degree_) : pieces(cells + 2), degree(D == ANY ? degree_ : D) { clear(); }

  SLAF_INLINE void clear() {
    for (int copy = 0; copy < COPIES; ++copy) memset(sums + copy * COPY, 0, sizeof(float) * pieces * SLOTS);
  }

  SLAF_INLINE void note(int64_t i, vf piece, vf g_, vf t_) {
    const vi at = (__builtin_convertvector(piece, vi) + 1) * SLOTS;
    memcpy(place + i, &at, sizeof at), store(g + i, g_), store(t + i, t_);
  }

  // Adds g·t^k to the sums of every noted element's piece; n is a multiple of W.
  SLAF_INLINE void add(int64_t n) {
#if defined(__AVX2__) && SLAF_LANES >= 8
    if constexpr (D != ANY) {
      for (int64_t i = 0; i < n; i += 8) add_eight(i);
      return;
    }
#endif
    for (int64_t i = 0; i < n; ++i) {
      float term = g[i], *to = sums + i % COPIES * COPY + place[i];
      for (int k = 0; k <= degree; ++k, term *= t[i]) to[k] += term;
    }
  }

#if defined(__AVX2__) && SLAF_LANES >= 8
  SLAF_INLINE float* of_lane(int64_t i, int lane) { return sums + lane % COPIES * COPY + (uint32_t)place[i + lane]; }

  SLAF_INLINE void add_two(float* to, __m128 v) { _mm_storel_pi((__m64*)to, _mm_add_ps(_mm_castpd_ps(_mm_load_sd((const double*)to)), v)); }
  SLAF_INLINE void add_four(float* to, __m128 v) { _mm_store_ps(to, _mm_add_ps(_mm_load_ps(to), v)); }

  SLAF_INLINE void add_eight(int64_t i) {
    const __m256 zeroth = _mm256_load_ps(g + i), by = _mm256_load_ps(t + i), first = _mm256_mul_ps(zeroth, by);
    const __m256 a = _mm256_unpacklo_ps(zeroth, first), b = _mm256_unpackhi_ps(zeroth, first);
    if constexpr (D == 1) {
      const __m128 pairs[4] = {_mm256_castps256_ps128(a), _mm256_castps256_ps128(b), _mm256_extractf128_ps(a, 1), _mm256_extractf128_ps(b, 1)};
      SLAF_UNROLL for (int n = 0; n < 4; ++n) {
        add_two(of_lane(i, 2 * n), pairs[n]);
        add_two(of_lane(i, 2 * n + 1), _mm_movehl_ps(pairs[n], pairs[n]));
      }
    } else {
      const __m256 second = _mm256_mul_ps(first, by), third = D == 3 ? _mm256_mul_ps(second, by) : _mm256_setzero_ps();
      const __m256d c = _mm256_castps_pd(_mm256_unpacklo_ps(second, third)), d = _mm256_castps_pd(_mm256_unpackhi_ps(second, third));
      const __m256d even[2] = {_mm256_unpacklo_pd(_mm256_castps_pd(a), c), _mm256_unpacklo_pd(_mm256_castps_pd(b), d)};
      const __m256d odd[2] = {_mm256_unpackhi_pd(_mm256_castps_pd(a), c), _mm256_unpackhi_pd(_mm256_castps_pd(b), d)};
      SLAF_UNROLL for (int n = 0; n < 2; ++n) {
        const __m256 e = _mm256_castpd_ps(even[n]), o = _mm256_castpd_ps(odd[n]);
        add_four(of_lane(i, 2 * n), _mm256_castps256_ps128(e));
        add_four(of_lane(i, 2 * n + 1), _mm256_castps256_ps128(o));
        add_four(of_lane(i, 2 * n + 4), _mm256_extractf128_ps(e, 1));
        add_four(of_lane(i, 2 * n + 5), _mm256_extractf128_ps(o, 1));
      }
    }
  }
#endif

  // The sums go to float64, (pieces, degree + 1).
  SLAF_INLINE void flush(double* to) {
    constexpr bool packed = D != ANY && SLOTS == COUNT;
    const int terms = degree + 1, rows = packed ? 1 : pieces, row = packed ? pieces * SLOTS : terms;
    for (int r = 0; r < rows; ++r)
      for (int k = 0; k < row; ++k) {
        float sum = sums[r * SLOTS + k];
        for (int copy = 1; copy < COPIES; ++copy) sum += sums[copy * COPY + r * SLOTS + k];
        to[r * terms + k] += sum;
      }
  }
};

template <int D, int T>
void pieces_row_backward(const float* x, const float* g, float* gx, int64_t n, const float* parameters, int degree, int cells, double* sums) {
  const Pieces<D, T, 1> f(parameters, degree, cells);
  Moments<D, T ? 4 : 1, T ? T * W + 2 : MAX_CELLS + 2> moments(cells, degree);
  for (int64_t start = 0; start < n; start += RUN) {
    const int64_t end = n - start < RUN ? n : start + RUN;
    if (start) moments.clear();
    for (int64_t block = start; block < end; block += moments.BLOCK) {
      const int64_t size = end - block < moments.BLOCK ? end - block : moments.BLOCK;
      const float *from = x + block, *by = g + block;
      float* to = gx + block;
      int64_t i = 0;
      for (; i + W <= size; i += W) {
        const auto at = f.template locate<true>(load(from + i));
        const vf gv = load(by + i);
        store(to + i, gv * f.slope(at));
        moments.note(i, at.piece, gv, at.t);
      }
      if (i < size) {
        const int count = (int)(size - i);
        const auto at = f.template locate<true>(load_part(from + i, count));
        const vf gv = load_part(by + i, count);
        store_part(to + i, gv * f.slope(at), count);
        moments.note(i, at.piece, gv, at.t);
        i += W;
      }
      moments.add(i);
    }
    moments.flush(sums);
  }
}

}  // namespace
