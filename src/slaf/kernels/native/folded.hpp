// Folded forms: a fixed formula on an interval, straight lines beyond it. Nothing is learned, so there are no sums.
//
// A fused multiply-add rounds once where a product and a sum round twice. So no result is further from the formula than the bound that
// slaf.fit proves for two roundings, if the piece is the one that the definition takes: the right one of a break.
#pragma once
#include <math.h>

#include "pieces.hpp"

namespace {

// -- the interval ----------------------------------------------------------------------------------------------------------------------

// What a form's numbers begin with. ``start``, ``step``: buckets from start on, step of them a unit; or center and rscale of a series, or
// zero and scale of codes.
struct FoldedHead {
  float low, high, left, right, start, step, unused[2];
};
constexpr int FOLDED_HEAD = sizeof(FoldedHead) / sizeof(float);

SLAF_INLINE FoldedHead folded_head(const float* form) {
  FoldedHead head;
  memcpy(&head, form, sizeof head);
  return head;
}

// ±∞ where nothing ends. What is not a number is kept, and has the slope 0 where something ends.
struct Ends {
  vf low, high, left, right, least, most;
  vi everywhere, has_left, has_right;

  SLAF_INLINE explicit Ends(const FoldedHead& head)
      : low(all(head.low)), high(all(head.high)), left(all(head.left)), right(all(head.right)) {
    everywhere = (vi)(low == all(-INFINITY)), has_left = (vi)(left != vf{}), has_right = (vi)(right != vf{});
    least = has_left ? all(-INFINITY) : vf{}, most = has_right ? all(INFINITY) : vf{};  // without a line 0·∞ is 0
  }

  SLAF_INLINE vf nearest(vf x) const { return at_most(high, at_least(low, x)); }

  SLAF_INLINE vf value(vf x, vf inner, vf y) const {
    const vf beyond = at_most(at_least(x - inner, least), most);
    return y + (beyond < 0.0f ? left : right) * beyond;
  }

  // Of x from g, ``slope`` being that of the formula.
  SLAF_INLINE vf gradient(vf x, vf g, vf slope) const {
    const vi inside = ((vi)(x >= low) & (vi)(x <= high)) | everywhere;
    const vi line_left = (vi)(x < low) & has_left, line_right = (vi)(x > high) & has_right;
    return (vf)(((vi)(g * slope) & inside) | ((vi)(g * left) & line_left) | ((vi)(g * right) & line_right));
  }
};

template <class Formula, bool SLOPE>
struct WithEnds {
  static constexpr bool READS = SLOPE;
  static constexpr int U = Formula::U;
  Ends ends;
  Formula formula;

  SLAF_INLINE WithEnds(const float* form, const slaf::FoldedShape& shape) : ends(folded_head(form)), formula(form, shape) {}

  SLAF_INLINE void operator()(const vf (&x)[U], const vf (&g)[U], vf (&out)[U]) const {
    vf inner[U], y[U];
    for (int u = 0; u < U; ++u) inner[u] = ends.nearest(x[u]);
    formula(inner, y);
    for (int u = 0; u < U; ++u) out[u] = SLOPE ? ends.gradient(x[u], g[u], y[u]) : ends.value(x[u], inner[u], y[u]);
  }
};

template <class F, class T>
void folded_row(const void* from, const void* by, void* to, int64_t n, const float* form, const slaf::FoldedShape& shape, bool past) {
  const T *x = static_cast<const T*>(from), *g = static_cast<const T*>(by);
  T* out = static_cast<T*>(to);
  const F f(form, shape);
  constexpr int U = F::U, STEP = U * W;
  auto step = [&f](const T* x, const T* g, T* out, bool past) {
    vf xs[U], gs[U] = {}, ys[U];
    load_all(x, xs);
    if (F::READS) load_all(g, gs);
    f(xs, gs, ys);
    put_all(out, ys, past);
  };
  int64_t i = 0;
  for (; i + STEP <= n; i += STEP) step(x + i, g + (F::READS ? i : 0), out + i, past);
  if (i < n) {
    alignas(64) T rest[2][STEP] = {};
    memcpy(rest[0], x + i, sizeof(T) * (n - i));
    if (F::READS) memcpy(rest[1], g + i, sizeof(T) * (n - i));
    step(rest[0], rest[1], rest[0], false);
    memcpy(out + i, rest[0], sizeof(T) * (n - i));
  }
}

// -- look-ups --------------------------------------------------------------------------------------------------------------------------

SLAF_INLINE vf looked_up(const float* p, vi at) {
#if SLAF_LANES == 8 && defined(__AVX2__)
  return (vf)_mm256_i32gather_ps(p, (__m256i)at, 4);
#elif SLAF_LANES == 16 && defined(__AVX512F__)
  return (vf)_mm512_mask_i32gather_ps(_mm512_setzero_ps(), 0xffff, (__m512i)at, p, 4);
#else
  vf out;
  for (int i = 0; i < W; ++i) out[i] = p[at[i]];
  return out;
#endif
}

#if SLAF_LANES == 16 && defined(__AVX512F__)
SLAF_INLINE vf in_one(vf part, vi at) { return (vf)_mm512_maskz_permutexvar_ps(0xffff, (__m512i)at, (__m512)part); }
SLAF_INLINE vf chosen(vf zero, vf one, vi at, int bit) {
  return (vf)_mm512_mask_blend_ps(_mm512_test_epi32_mask((__m512i)at, _mm512_set1_epi32(1 << bit)), (__m512)zero, (__m512)one);
}
#elif SLAF_LANES == 8 && defined(__AVX2__)
SLAF_INLINE vf in_one(vf part, vi at) { return (vf)_mm256_permutevar8x32_ps((__m256)part, (__m256i)at); }
SLAF_INLINE vf chosen(vf zero, vf one, vi at, int bit) {
  return (vf)_mm256_blendv_ps((__m256)zero, (__m256)one, (__m256)_mm256_slli_epi32((__m256i)at, 31 - bit));
}
#else
SLAF_INLINE vf in_one(vf part, vi at) {
  vf out;
  for (int i = 0; i < W; ++i) out[i] = part[at[i] % W];
  return out;
}
SLAF_INLINE vf chosen(vf zero, vf one, vi at, int bit) { return (at >> bit & 1) ? one : zero; }
#endif

constexpr int log_of(int n) { return n > 1 ? 1 + log_of(n / 2) : 0; }

// In COUNT vectors, by the lowest bits.
template <int COUNT>
SLAF_INLINE vf in_vectors(const vf* part, vi at) {
#if SLAF_LANES == 16 && defined(__AVX512F__)
  if constexpr (COUNT == 2) return (vf)_mm512_permutex2var_ps((__m512)part[0], (__m512i)at, (__m512)part[1]);
#endif
  if constexpr (COUNT == 1) return in_one(part[0], at);
  else return chosen(in_vectors<COUNT / 2>(part, at), in_vectors<COUNT / 2>(part + COUNT / 2, at), at, log_of(COUNT * W / 2));
}

// A table of SLOTS numbers in registers, or of any number in memory; AWAY: of SLOTS, fetched at every use.
template <int SLOTS, bool AWAY = false>
struct Slots {
  static constexpr int PARTS = SLOTS / W;
  vf part[PARTS];
  SLAF_INLINE void load_from(const float* p) {
    for (int i = 0; i < PARTS; ++i) part[i] = load(p + i * W);
  }
  SLAF_INLINE vf operator()(vi at) const { return in_vectors<PARTS>(part, at); }
};

template <int SLOTS>
struct Slots<SLOTS, true> {
  const float* p;
  SLAF_INLINE void load_from(const float* from) { p = from; }
  SLAF_INLINE vf operator()(vi at) const {
    Slots<SLOTS> here;
    here.load_from(p);
    return here(at);
  }
};

template <>
struct Slots<0, false> {
  const float* p;
  SLAF_INLINE void load_from(const float* from) { p = from; }
  SLAF_INLINE vf operator()(vi at) const { return looked_up(p, at); }
};
template <>
struct Slots<0, true> : Slots<0, false> {};

// -- the piece -------------------------------------------------------------------------------------------------------------------------

// The breaks as a tree, the children of the one at k at 2k and 2k + 1, 1 being the root: k ends as SLOTS + piece. What is not a number is
// right of all of them.
template <int SLOTS>
struct Search {
  Slots<SLOTS> tree;
  SLAF_INLINE Search(const float* form, const slaf::FoldedShape&) { tree.load_from(form + FOLDED_HEAD); }

  template <int LEVEL>
  SLAF_INLINE void descend(vf x, vi& k) const {
    if constexpr ((1 << LEVEL) < SLOTS) {
      constexpr int FIRST = (1 << LEVEL) / W;  // of the vectors that hold a level; the first one holds several
      const vf at = in_vectors<FIRST ? FIRST : 1>(tree.part + FIRST, k);
      k = k + k + 1 + (vi)(x < at);
      descend<LEVEL + 1>(x, k);
    }
  }

  SLAF_INLINE vi operator()(vf x) const {
    vi k = vi{} + 1;
    descend<0>(x, k);
    return k;  // its lowest bits are the piece
  }
};

// The breaks in one bucket of the interval are searched: ``first`` says how many lie in the buckets before. Rounded differences and
// products are monotonous, and the breaks' buckets were found by the same ones, so a break in another bucket is on the side it should be.
template <>
struct Search<0> {
  const float *first, *breaks;
  vf start, step, last;
  int slots, steps;

  SLAF_INLINE Search(const float* form, const slaf::FoldedShape& shape) : slots(shape.slots), steps(shape.steps) {
    const FoldedHead head = folded_head(form);
    first = form + FOLDED_HEAD + slaf::folded_tree(shape), breaks = first + shape.buckets;
    start = all(head.start), step = all(head.step), last = all((float)(shape.buckets - 1));
  }

  SLAF_INLINE vi operator()(vf x) const {
    const vi bucket = __builtin_convertvector(at_least(at_most((x - start) * step, last), vf{}), vi);
    vi piece = (vi)looked_up(first, bucket);
    for (int jump = (1 << steps) / 2; jump; jump /= 2) piece += ~(vi)(x < looked_up(breaks + jump - 1, piece)) & jump;
    return piece < slots ? piece : vi{} + (slots - 1);
  }
};

// Σ_k c_k (x - center)^k with the numbers of a piece, or its slope. D: degree, or ANY. SLOTS: of every table, 0 for any number.
template <int D, int SLOTS, bool SLOPE>
struct OnPieces {
  static constexpr int U = 1, TERMS = D == ANY ? 1 : D + 1 - SLOPE;
  using Numbers = Slots<SLOTS, (D == ANY)>;
  Search<SLOTS> search;
  Numbers center, term[TERMS];
  int slots, terms;

  SLAF_INLINE OnPieces(const float* form, const slaf::FoldedShape& shape)
      : search(form, shape), slots(shape.slots), terms(D == ANY ? shape.degree + 1 - SLOPE : TERMS) {
    const float* from = form + FOLDED_HEAD + slaf::folded_search(shape);
    center.load_from(from);
    from += (1 + (SLOPE ? shape.degree + 1 : 0)) * slots;
    for (int k = 0; k < TERMS; ++k) term[k].load_from(from + k * slots);
  }

  SLAF_INLINE vf at(int k, vi piece) const {
    if constexpr (D != ANY) {
      return term[k](piece);
    } else {
      Numbers other;
      other.load_from(term[0].p + k * slots);
      return other(piece);
    }
  }

  SLAF_INLINE void operator()(const vf (&x)[U], vf (&y)[U]) const {
    const vi piece = search(x[0]);
    y[0] = at(terms - 1, piece);
    if (D == 1 && SLOPE) return;
    const vf t = x[0] - center(piece);
    if constexpr (D == ANY) {
      for (int k = terms - 2; k >= 0; --k) y[0] = y[0] * t + at(k, piece);
    } else {
      SLAF_UNROLL for (int k = TERMS - 2; k >= 0; --k) y[0] = y[0] * t + at(k, piece);
    }
  }
};

// -- one polynomial, and codes -----------------------------------------------------------------------------------------------------------

// Σ_k c_k T_k((x - center)·rscale), or, with other coefficients, its slope in x.
template <bool SLOPE>
struct OnSeries {
  static constexpr int U = AHEAD;
  Constants<slaf::MAX_FOLDED_DEGREE + 1> c;
  vf center, rscale;
  int degree;

  SLAF_INLINE OnSeries(const float* form, const slaf::FoldedShape& shape)
      : c(form + FOLDED_HEAD + (SLOPE ? shape.degree + 1 : 0), shape.degree + 1 - SLOPE), degree(shape.degree - SLOPE) {
    const FoldedHead head = folded_head(form);
    center = all(head.start), rscale = all(head.step);
  }

  SLAF_INLINE void operator()(const vf (&x)[U], vf (&y)[U]) const {
    vf u[U], later[U];
    for (int v = 0; v < U; ++v) u[v] = (x[v] - center) * rscale, y[v] = c.c[degree], later[v] = vf{};
    for (int j = degree - 1; j >= 0; --j)
      for (int v = 0; v < U; ++v) {  // in the order that the bound is for, which that of series.hpp is not
        const vf next = y[v] * (j ? u[v] + u[v] : u[v]) + c.c[j] - later[v];
        later[v] = y[v], y[v] = next;
      }
  }
};

// The value of the code clamp(round(x / scale) + zero, -128, 127), of 256 in memory; the slope is 0.
template <bool SLOPE>
struct OnCodes {
  static constexpr bool READS = SLOPE;
  static constexpr int U = 1;
  Ends ends;
  const float* values;
  vf scale, zero;

  SLAF_INLINE OnCodes(const float* form, const slaf::FoldedShape&) : ends(folded_head(form)), values(form + FOLDED_HEAD) {
    const FoldedHead head = folded_head(form);
    zero = all(head.start + 128.0f), scale = all(head.step);
  }

  SLAF_INLINE void operator()(const vf (&x)[U], const vf (&g)[U], vf (&out)[U]) const {
    if (SLOPE) {
      out[0] = ends.gradient(x[0], g[0], vf{});
      return;
    }
    const vf whole = all(0x1.8p23f);  // near it float32 has whole numbers alone: the sum is rounded to the nearest, halves to the even one
    const vf nearest = at_most(at_least(x[0] / scale, all(-512.0f)), all(512.0f)) + whole - whole;
    const vi code = __builtin_convertvector(at_most(at_least(nearest + zero, vf{}), all(255.0f)), vi);
    out[0] = x[0] == x[0] ? looked_up(values, code) : x[0];
  }
};

}  // namespace
