// Piecewise polynomials on a uniform grid, straight beyond it: look up a cell, then Horner's rule in t, which runs from 0 to 1 over it.
//
// With v = (x - center)·rscale the cells are [j - half, j + 1 - half), j = 0 … cells - 1, half = cells/2. Backward sums g·t^k over every
// cell and over the two sides, piece 0 being the left and cells + 1 the right one; there t goes on beyond [0, 1].
//
// D: degree, or ANY. T: how many vectors hold one coefficient of all cells, so that a look-up is a permutation of registers; 0: memory.
// U: how many vectors of elements are looked up at once.
#pragma once
#include "series.hpp"

namespace {

constexpr int MAX_CELLS = slaf::MAX_CELLS, MAX_LOCAL_DEGREE = slaf::MAX_LOCAL_DEGREE;

// The bound where v is not a number.
#if SLAF_LANES == 8 && defined(__AVX__)
SLAF_INLINE vf at_least(vf v, vf low) { return (vf)_mm256_max_ps((__m256)v, (__m256)low); }
SLAF_INLINE vf at_most(vf v, vf high) { return (vf)_mm256_min_ps((__m256)v, (__m256)high); }
#elif SLAF_LANES == 16 && defined(__AVX512F__)
SLAF_INLINE vf at_least(vf v, vf low) { return (vf)_mm512_maskz_max_ps(0xffff, (__m512)v, (__m512)low); }
SLAF_INLINE vf at_most(vf v, vf high) { return (vf)_mm512_maskz_min_ps(0xffff, (__m512)v, (__m512)high); }
#else
SLAF_INLINE vf at_least(vf v, vf low) { return v > low ? v : low; }
SLAF_INLINE vf at_most(vf v, vf high) { return v < high ? v : high; }
#endif

// The largest whole number that is not above v, |v| < 2^31.
SLAF_INLINE vf whole(vf v) {
#if SLAF_LANES == 8 && defined(__AVX__)
  return (vf)_mm256_floor_ps((__m256)v);
#elif SLAF_LANES == 16 && defined(__AVX512F__)
  return (vf)_mm512_maskz_roundscale_ps(0xffff, (__m512)v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
#else
  const vf toward_zero = __builtin_convertvector(__builtin_convertvector(v, vi), vf);
  return toward_zero + __builtin_convertvector((vi)(toward_zero > v), vf);
#endif
}

// Whether 0 <= v < end for all of U vectors; no NaN is.
template <int U>
SLAF_INLINE bool all_below(const vf (&v)[U], vf end) {
#if SLAF_LANES == 16 && defined(__AVX512F__)
  __mmask16 good = 0xffff;
  for (int u = 0; u < U; ++u)
    good = _mm512_mask_cmp_ps_mask(_mm512_mask_cmp_ps_mask(good, (__m512)v[u], _mm512_setzero_ps(), _CMP_GE_OQ), (__m512)v[u], (__m512)end, _CMP_LT_OQ);
  return good == 0xffff;
#else
  vi good = (vi)(v[0] >= 0.0f) & (vi)(v[0] < end);
  for (int u = 1; u < U; ++u) good &= (vi)(v[u] >= 0.0f) & (vi)(v[u] < end);
#if SLAF_LANES == 8 && defined(__AVX__)
  return _mm256_movemask_ps((__m256)good) == 0xff;
#else
  int all = -1;
  for (int i = 0; i < W; ++i) all &= good[i];
  return all;
#endif
#endif
}

// The cells of U vectors, to look up with.
template <int U>
struct Index {
  vi lanes[U];
  SLAF_INLINE explicit Index(const vf (&cell)[U]) {
    for (int u = 0; u < U; ++u) lanes[u] = __builtin_convertvector(cell[u], vi);
  }
};

// One coefficient of every cell, for U vectors.
template <int T>
struct Lookup {
  static constexpr int U = 1;
  vf part[T];
  SLAF_INLINE void load_from(const float* p) {
    for (int i = 0; i < T; ++i) part[i] = load(p + i * W);
  }
  SLAF_INLINE void operator()(const Index<U>& cell, vf (&out)[U]) const {
#if SLAF_LANES == 16 && defined(__AVX512F__)
    static_assert(T <= 2, "a vector of 16 lanes and its neighbour");
    if constexpr (T == 1) out[0] = (vf)_mm512_maskz_permutexvar_ps(0xffff, (__m512i)cell.lanes[0], (__m512)part[0]);
    else out[0] = (vf)_mm512_permutex2var_ps((__m512)part[0], (__m512i)cell.lanes[0], (__m512)part[T - 1]);
#else
    for (int i = 0; i < W; ++i) out[0][i] = part[cell.lanes[0][i] / W][cell.lanes[0][i] % W];
#endif
  }
};

template <>
struct Lookup<0> {
  static constexpr int U = 1;
  const float* p;
  SLAF_INLINE void load_from(const float* from) { p = from; }
  SLAF_INLINE void operator()(const Index<U>& cell, vf (&out)[U]) const {
#if SLAF_LANES == 8 && defined(__AVX2__)
    out[0] = (vf)_mm256_i32gather_ps(p, (__m256i)cell.lanes[0], 4);
#elif SLAF_LANES == 16 && defined(__AVX512F__)
    out[0] = (vf)_mm512_mask_i32gather_ps(_mm512_setzero_ps(), 0xffff, (__m512i)cell.lanes[0], p, 4);
#else
    for (int i = 0; i < W; ++i) out[0][i] = p[cell.lanes[0][i]];
#endif
  }
};

#if SLAF_LANES == 8 && defined(__AVX2__)
// 32 cells as bytes, in the order that packing within halves gives and unpacking takes back.
template <>
struct Index<4> {
  __m256i bytes;
  SLAF_INLINE explicit Index(const vf (&cell)[4]) {
    const auto whole = [&](int u) { return _mm256_cvttps_epi32((__m256)cell[u]); };
    bytes = _mm256_packus_epi16(_mm256_packs_epi32(whole(0), whole(1)), _mm256_packs_epi32(whole(2), whole(3)));
  }
};

// 16 cells for each half of T, as four planes of bytes: a byte is looked up for 32 elements in half a cycle, a float for 8 in more than
// one. An index whose highest bit is set gives 0.
template <int T>
struct Planes {
  static constexpr int U = 4, HALVES = T / 2;
  __m256i plane[HALVES][4];

  SLAF_INLINE void load_from(const float* p) {
    const __m128i by_byte = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    for (int h = 0; h < HALVES; ++h) {
      const auto four = [&](int i) { return _mm_shuffle_epi8(_mm_loadu_si128((const __m128i*)(p + 16 * h + 4 * i)), by_byte); };
      const __m128i a = four(0), b = four(1), c = four(2), d = four(3);
      const __m128i ab[2] = {_mm_unpacklo_epi32(a, b), _mm_unpackhi_epi32(a, b)}, cd[2] = {_mm_unpacklo_epi32(c, d), _mm_unpackhi_epi32(c, d)};
      for (int i = 0; i < 2; ++i) {
        plane[h][2 * i] = _mm256_broadcastsi128_si256(_mm_unpacklo_epi64(ab[i], cd[i]));
        plane[h][2 * i + 1] = _mm256_broadcastsi128_si256(_mm_unpackhi_epi64(ab[i], cd[i]));
      }
    }
  }

  SLAF_INLINE __m256i bytes(int i, __m256i cell) const {
    if constexpr (HALVES == 1) return _mm256_shuffle_epi8(plane[0][i], cell);
    const __m256i low = _mm256_shuffle_epi8(plane[0][i], _mm256_add_epi8(cell, _mm256_set1_epi8(0x70)));
    return _mm256_or_si256(low, _mm256_shuffle_epi8(plane[HALVES - 1][i], _mm256_sub_epi8(cell, _mm256_set1_epi8(16))));
  }

  SLAF_INLINE void operator()(const Index<4>& cell, vf (&out)[4]) const {
    const __m256i a = bytes(0, cell.bytes), b = bytes(1, cell.bytes), c = bytes(2, cell.bytes), d = bytes(3, cell.bytes);
    const __m256i low[2] = {_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b)};
    const __m256i high[2] = {_mm256_unpacklo_epi8(c, d), _mm256_unpackhi_epi8(c, d)};
    for (int i = 0; i < 2; ++i) {
      out[2 * i] = (vf)_mm256_unpacklo_epi16(low[i], high[i]);
      out[2 * i + 1] = (vf)_mm256_unpackhi_epi16(low[i], high[i]);
    }
  }
};

template <>
struct Lookup<2> : Planes<2> {};
template <>
struct Lookup<4> : Planes<4> {};
#endif

// What a channel's row of parameters begins with; tables of ``stride`` floats follow, one for each power of t.
struct Head {
  float center, rscale, left, right;
};

template <int D, int T, int FROM>
struct Pieces {
  static constexpr int TABLES = (D == ANY ? MAX_LOCAL_DEGREE : D) + 1 - FROM, U = Lookup<T>::U, STEP = U * W;
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
    vf piece[U], cell[U];  // from -1 to cells, and the nearest of the grid
    vf t[U], inside[U];    // in the piece, and in the cell, where it is kept in [0, 1]; for lines there is no difference
    vf beyond[U];          // t - inside in the cell; NaN or infinite where x is
    bool within;           // known to be, all of them: mostly, and then what is beyond is not looked at, which is half of the work
  };

  // SIDES: the two beyond the grid are pieces of their own.
  template <bool SIDES>
  SLAF_INLINE Place locate(const vf (&x)[U]) const {
    Place at{};
    vf v[U], from_end[U];
    for (int u = 0; u < U; ++u) {
      v[u] = x[u] - center;
      SLAF_OPAQUE(v[u]);  // a product is not fused with the sum that follows: the cell is the one that rounded operations give
      v[u] *= rscale;
      SLAF_OPAQUE(v[u]);
      from_end[u] = v[u] + half;
    }
    // a line is the same beyond the grid, and four vectors forward leave no registers for two ways
    at.within = D != 1 && (SIDES || U == 1) && all_below(from_end, last + 1.0f);
    for (int u = 0; at.within && u < U; ++u) {
      at.piece[u] = at.cell[u] = whole(from_end[u]);
      at.t[u] = at.inside[u] = v[u] - (at.piece[u] - half);
    }
    for (int u = 0; !at.within && u < U; ++u) {
      at.piece[u] = SIDES ? whole(at_most(at_least(from_end[u], all(-1.0f)), last + 1.0f)) : whole(at_most(at_least(from_end[u], vf{}), last));
      at.cell[u] = SIDES ? at_most(at_least(at.piece[u], vf{}), last) : at.piece[u];
      at.t[u] = v[u] - (at.piece[u] - half);
      const vf in_cell = v[u] - (at.cell[u] - half);
      at.inside[u] = D == 1 ? in_cell : at_most(at_least(in_cell, vf{}), all(1.0f));
      at.beyond[u] = in_cell - at.inside[u];
    }
    return at;
  }

  // Σ_k table[k] t^k.
  SLAF_INLINE void horner(const Place& at, vf (&y)[U]) const {
    const Index<U> cell(at.cell);
    table[degree() - FROM](cell, y);
    auto step = [&](int k) {
      vf c[U];
      table[k](cell, c);
      for (int u = 0; u < U; ++u) y[u] = y[u] * at.inside[u] + c[u];
    };
    if constexpr (D == ANY) {
      for (int k = degree() - FROM - 1; k >= 0; --k) step(k);
    } else {
      SLAF_UNROLL for (int k = D - FROM - 1; k >= 0; --k) step(k);
    }
  }

  SLAF_INLINE void value(const vf (&x)[U], vf (&y)[U]) const {
    const Place at = locate<false>(x);
    horner(at, y);
    for (int u = 0; D != 1 && !at.within && u < U; ++u) y[u] += (at.beyond[u] < 0.0f ? left : right) * at.beyond[u];
  }

  // The tables are those of the slope then: k·c_k·rscale.
  SLAF_INLINE void slope(const Place& at, vf (&y)[U]) const {
    horner(at, y);
    for (int u = 0; D != 1 && !at.within && u < U; ++u) y[u] = at.piece[u] == at.cell[u] ? y[u] : at.piece[u] < 0.0f ? left : right;
  }

};

// A step's elements, or the first of them, the rest zero.
template <int U, class T>
SLAF_INLINE void take(const T* from, int64_t count, vf (&to)[U]) {
  if (count >= U * W) return load_all(from, to);
  for (int u = 0; u < U; ++u) {
    const int64_t left = count - u * W;
    to[u] = left >= W ? load(from + u * W) : left > 0 ? load_part(from + u * W, (int)left) : vf{};
  }
}

template <int U, class T>
SLAF_INLINE void give(T* to, int64_t count, const vf (&from)[U], bool past) {
  if (count >= U * W) return put_all(to, from, past);
  for (int u = 0; u < U; ++u) {
    const int64_t left = count - u * W;
    if (left >= W) put(to + u * W, from[u], past);
    else if (left > 0) store_part(to + u * W, from[u], (int)left);
  }
}

// Asks for the run after the next one: hardware does not foresee short ones that lie apart.
template <class T>
SLAF_INLINE void prefetch_run(const T* at, int64_t n, int64_t stride) {
  for (int64_t i = 0; i < n; i += 64 / (int64_t)sizeof(T)) __builtin_prefetch(at + 2 * stride + i);
}

template <class F, class T>
SLAF_INLINE void pieces_step(const F& f, int64_t count, const T* x, T* y, bool past) {
  vf xs[F::U], ys[F::U];
  take(x, count, xs);
  f.value(xs, ys);
  give(y, count, ys, past);
}

template <int D, int V, class T>
void pieces_row_forward(const void* from, void* to, int64_t n, int64_t runs, int64_t stride, const float* parameters, int degree, int cells,
                        bool past) {
  const T* x = static_cast<const T*>(from);
  T* y = static_cast<T*>(to);
  const Pieces<D, V, 0> f(parameters, degree, cells);
  constexpr int STEP = f.STEP;
  for (int64_t r = 0; r < runs; ++r, x += stride, y += stride) {
    if (r + 2 < runs) prefetch_run(x, n, stride);
    int64_t i = 0;
    for (; i + STEP <= n; i += STEP) pieces_step(f, STEP, x + i, y + i, past);
    if (i < n) pieces_step(f, n - i, x + i, y + i, past);
  }
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

  // Adds g·t^k to the sums of every noted element's piece; n is a multiple of 8 where vectors have so many elements.
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

// One step along a row, of ``count`` elements; what is noted beyond them is 0.
template <class F, class M, class T>
SLAF_INLINE void pieces_step(const F& f, M& moments, int64_t at, int64_t count, const T* x, const T* g, T* gx, bool past) {
  vf xs[F::U], gs[F::U], slope[F::U];
  take(x, count, xs);
  const auto place = f.template locate<true>(xs);
  f.slope(place, slope);
  take(g, count, gs);
  for (int u = 0; u < F::U; ++u) slope[u] *= gs[u];
  give(gx, count, slope, past);
  for (int u = 0; u < F::U; ++u) moments.note(at + u * W, place.piece[u], gs[u], place.t[u]);
}

template <int D, int V, int COPIES, class T>
SLAF_INLINE void pieces_row_sums(const T* x, const T* g, T* gx, int64_t n, int64_t runs, int64_t stride, const float* parameters,
                                 int degree, int cells, double* sums, bool past) {
  const Pieces<D, V, 1> f(parameters, degree, cells);
  Moments<D, COPIES, V ? V * W + 2 : MAX_CELLS + 2> moments(cells, degree);
  constexpr int64_t STEP = f.STEP, BLOCK = moments.BLOCK, ROUND = STEP < 8 ? STEP : 8;
  int64_t noted = 0, added = 0;
  for (int64_t r = 0; r < runs; ++r, x += stride, g += stride, gx += stride) {
    if (r + 2 < runs) prefetch_run(x, n, stride), prefetch_run(g, n, stride);
    for (int64_t i = 0; i < n;) {
      const int64_t room = (BLOCK - noted) / STEP * STEP, whole = i + (n - i < room ? (n - i) / STEP * STEP : room);
      for (; i < whole; i += STEP, noted += STEP) pieces_step(f, moments, noted, STEP, x + i, g + i, gx + i, past);
      if (i < n && noted + STEP <= BLOCK) {
        pieces_step(f, moments, noted, n - i, x + i, g + i, gx + i, past);
        noted += (n - i + ROUND - 1) / ROUND * ROUND, i = n;
      }
      if (noted + STEP <= BLOCK) continue;
      moments.add(noted);
      added += noted, noted = 0;
      if (added >= RUN) moments.flush(sums), moments.clear(), added = 0;
    }
  }
  moments.add(noted);
  moments.flush(sums);
}

constexpr int64_t FEW = 128;  // so few elements take less time than the copies of a table

template <int D, int V, class T>
void pieces_row_backward(const void* from, const void* by, void* to, int64_t n, int64_t runs, int64_t stride, const float* parameters,
                         int degree, int cells, double* sums, bool past) {
  const T *x = static_cast<const T*>(from), *g = static_cast<const T*>(by);
  T* gx = static_cast<T*>(to);
  if (V == 0 || n * runs < FEW) pieces_row_sums<D, V, 1>(x, g, gx, n, runs, stride, parameters, degree, cells, sums, past);
  else pieces_row_sums<D, V, 4>(x, g, gx, n, runs, stride, parameters, degree, cells, sums, past);
}

}  // namespace
