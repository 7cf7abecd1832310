// Vectors of SLAF_LANES floats, by the compiler's vector extensions: one source for every instruction set.
// Files that include this are compiled with wider instructions than the rest, so nothing here or in the kernels may have external
// linkage or use the standard library's templates: the linker could keep the wide copy for everybody.
#pragma once
#include <stdint.h>
#include <string.h>
#if defined(__AVX__)
#include <cpuid.h>
#include <immintrin.h>
#endif

#define SLAF_INLINE inline __attribute__((always_inline))
#if defined(__clang__)
#define SLAF_UNROLL _Pragma("clang loop unroll(full)")
#else
#define SLAF_UNROLL _Pragma("GCC unroll 32")
#endif

// What v holds is in a register here, and the compiler does not look into it.
#if defined(__x86_64__) && (SLAF_LANES == 4 || (SLAF_LANES == 8 && defined(__AVX__)) || defined(__AVX512F__))
#define SLAF_OPAQUE(v) asm("" : "+x"(v))
#elif defined(__aarch64__) && SLAF_LANES == 4
#define SLAF_OPAQUE(v) asm("" : "+w"(v))
#else
#define SLAF_OPAQUE(v) asm("" : "+m"(v))
#endif

namespace {

constexpr int W = SLAF_LANES;
constexpr int LINE = 16;          // floats in a cache line, the step across channels
constexpr int PER_LINE = LINE / W;
constexpr int RUN = 2048;         // elements summed in float32 before the sum goes to float64

typedef float vf __attribute__((vector_size(4 * SLAF_LANES)));
typedef int32_t vi __attribute__((vector_size(4 * SLAF_LANES)));
typedef uint32_t vu __attribute__((vector_size(4 * SLAF_LANES)));
typedef uint16_t vh __attribute__((vector_size(2 * SLAF_LANES)));
typedef float vf_anywhere __attribute__((vector_size(4 * SLAF_LANES), aligned(4), may_alias));

SLAF_INLINE vf load(const float* p) { return *reinterpret_cast<const vf_anywhere*>(p); }
SLAF_INLINE void store(float* p, vf v) { *reinterpret_cast<vf_anywhere*>(p) = v; }
SLAF_INLINE vf all(float a) { return a - vf{}; }

// Of an output; ``past``: past the caches, from where none of it would be read again; then it lies on whole lines, see describe().
SLAF_INLINE void put(float* p, vf v, bool past) {
#if SLAF_LANES == 16 && defined(__AVX512F__)
  if (past) return _mm512_stream_ps(p, (__m512)v);
#elif SLAF_LANES == 8 && defined(__AVX__)
  if (past) return _mm256_stream_ps(p, (__m256)v);
#endif
  (void)past;
  store(p, v);
}

SLAF_INLINE vi first(int count) {
  vi index;
  for (int i = 0; i < W; ++i) index[i] = i;
  return index < count - vi{};
}

// The first ``count`` lanes, the rest zero; nothing beyond is read or written.
SLAF_INLINE vf load_part(const float* p, int count) {
#if SLAF_LANES == 16 && defined(__AVX512F__)
  return (vf)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1u), p);
#elif SLAF_LANES == 8 && defined(__AVX__)
  return (vf)_mm256_maskload_ps(p, (__m256i)first(count));
#else
  vf v = {};
  memcpy(&v, p, 4 * (size_t)count);
  return v;
#endif
}

SLAF_INLINE void store_part(float* p, vf v, int count) {
#if SLAF_LANES == 16 && defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << count) - 1u), (__m512)v);
#elif SLAF_LANES == 8 && defined(__AVX__)
  _mm256_maskstore_ps(p, (__m256i)first(count), (__m256)v);
#else
  memcpy(p, &v, 4 * (size_t)count);
#endif
}

// Zero beyond the first lanes, also where v is not finite.
SLAF_INLINE vf keep(vf v, vi mask) { return (vf)((vi)v & mask); }

SLAF_INLINE double total(vf v) {
#if SLAF_LANES == 16 && defined(__AVX512F__)
  const __m512 all_lanes = (__m512)v;
  const __m128 even = _mm_add_ps(_mm512_maskz_extractf32x4_ps(0xf, all_lanes, 0), _mm512_maskz_extractf32x4_ps(0xf, all_lanes, 2));
  const __m128 odd = _mm_add_ps(_mm512_maskz_extractf32x4_ps(0xf, all_lanes, 1), _mm512_maskz_extractf32x4_ps(0xf, all_lanes, 3));
  const __m128 four = _mm_add_ps(even, odd);
  const __m128d pair = _mm_add_pd(_mm_cvtps_pd(four), _mm_cvtps_pd(_mm_movehl_ps(four, four)));
  return _mm_cvtsd_f64(pair) + _mm_cvtsd_f64(_mm_unpackhi_pd(pair, pair));
#elif SLAF_LANES == 8 && defined(__AVX__)
  const __m128 half = _mm_add_ps(_mm256_castps256_ps128((__m256)v), _mm256_extractf128_ps((__m256)v, 1));
  const __m256d wide = _mm256_cvtps_pd(half);
  const __m128d pair = _mm_add_pd(_mm256_castpd256_pd128(wide), _mm256_extractf128_pd(wide, 1));
  return _mm_cvtsd_f64(pair) + _mm_cvtsd_f64(_mm_unpackhi_pd(pair, pair));
#else
  alignas(4 * SLAF_LANES) float b[W];
  store(b, v);
  for (int half = W / 2; half >= 4; half /= 2)
    for (int i = 0; i < half; ++i) b[i] += b[i + half];
  return ((double)b[0] + b[2]) + ((double)b[1] + b[3]);
#endif
}

// -- bfloat16, the upper halves of floats, as it lies in memory -------------------------------------------------------------------------

struct bfloat16 {
  uint16_t bits;
};

SLAF_INLINE vf load(const bfloat16* p) {
#if SLAF_LANES == 16 && defined(__AVX512F__)
  return (vf)((vu)_mm512_maskz_cvtepu16_epi32(0xffff, _mm256_loadu_si256((const __m256i*)p)) << 16);
#elif SLAF_LANES == 8 && defined(__AVX2__)
  return (vf)((vu)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p)) << 16);
#else
  vh halves;
  memcpy(&halves, p, sizeof halves);
  return (vf)(__builtin_convertvector(halves, vu) << 16);
#endif
}

SLAF_INLINE vf load_part(const bfloat16* p, int count) {
#if SLAF_LANES == 16 && defined(__AVX512F__)
  const __m256i halves = _mm256_maskz_loadu_epi16((__mmask16)((1u << count) - 1u), p);
  return (vf)((vu)_mm512_maskz_cvtepu16_epi32(0xffff, halves) << 16);
#else
  bfloat16 part[W] = {};
  memcpy(part, p, sizeof(bfloat16) * (size_t)count);
  return load(part);
#endif
}

// In the upper halves, to nearest even; every NaN becomes the same one.
SLAF_INLINE vu rounded(vf v) {
  const vu bits = (vu)v, up = bits + ((bits >> 16 & 1u) + 0x7fffu);
  return v == v ? up : 0x7fc00000u - vu{};
}

#if SLAF_LANES == 16 && defined(__AVX512F__)
SLAF_INLINE __m256i upper_halves(vu v) { return _mm512_maskz_cvtepi32_epi16(0xffff, (__m512i)(v >> 16)); }

#if __GNUC__ >= 10 || __clang_major__ >= 9
#define SLAF_ROUNDS  // by an instruction that is newer than the others, so that the compiler may not use it
__mmask16 cannot_round = 0xffff;  // 0 where the processor has it

inline void find_rounding() {
  unsigned a = 0, b, c, d;
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1)) cannot_round = 0;
}

// But that takes subnormal numbers for 0.
SLAF_INLINE bool can_round(vf a, vf b) {
  const __mmask16 subnormal = _mm512_fpclass_ps_mask((__m512)a, 0x20) | _mm512_fpclass_ps_mask((__m512)b, 0x20);
  return __builtin_expect(!(subnormal | cannot_round), 1);
}
#endif

SLAF_INLINE __m256i rounded_halves(vf v) {
#if defined(SLAF_ROUNDS)
  if (can_round(v, v)) {
    __m256i words;
    asm("vcvtneps2bf16 %1, %0" : "=v"(words) : "v"((__m512)v));
    return words;
  }
#endif
  return upper_halves(rounded(v));
}

#elif SLAF_LANES == 8 && defined(__AVX2__)
SLAF_INLINE __m256i upper_halves(vu a, vu b) {
  return _mm256_permute4x64_epi64(_mm256_packus_epi32((__m256i)(a >> 16), (__m256i)(b >> 16)), 0xd8);  // packing works within halves
}
#endif

SLAF_INLINE void put(bfloat16* p, vf v, bool) {
#if SLAF_LANES == 16 && defined(__AVX512F__)
  _mm256_storeu_si256((__m256i*)p, rounded_halves(v));
#elif SLAF_LANES == 8 && defined(__AVX2__)
  _mm_storeu_si128((__m128i*)p, _mm256_castsi256_si128(upper_halves(rounded(v), vu{})));
#else
  const vh halves = __builtin_convertvector(rounded(v) >> 16, vh);
  memcpy(p, &halves, sizeof halves);
#endif
}

SLAF_INLINE void store_part(bfloat16* p, vf v, int count) {
#if SLAF_LANES == 16 && defined(__AVX512F__)
  _mm256_mask_storeu_epi16(p, (__mmask16)((1u << count) - 1u), rounded_halves(v));
#else
  bfloat16 part[W];
  put(part, v, false);
  memcpy(p, part, sizeof(bfloat16) * (size_t)count);
#endif
}

// Two vectors, their elements in turn.
SLAF_INLINE vu in_turn(vf even, vf odd) {
#if defined(SLAF_ROUNDS)
  if (can_round(even, odd)) {
    alignas(64) static constexpr uint16_t order[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                       8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    __m512i words;
    asm("vcvtne2ps2bf16 %1, %2, %0" : "=v"(words) : "v"((__m512)even), "v"((__m512)odd));
    return (vu)_mm512_maskz_permutexvar_epi16(0xffffffff, _mm512_load_si512(order), words);
  }
#endif
  return rounded(even) >> 16 | (rounded(odd) & 0xffff0000u);
}

SLAF_INLINE float widened(float v) { return v; }
SLAF_INLINE float widened(bfloat16 v) { return load_part(&v, 1)[0]; }
SLAF_INLINE void narrowed(float v, float* to) { *to = v; }
SLAF_INLINE void narrowed(float v, bfloat16* to) { store_part(to, all(v), 1); }

// U vectors that follow each other. Of bfloat16 two at a time, the even elements in one and the odd ones in the other, which takes an
// instruction each: a kernel along a row is blind to their order.
template <int U>
SLAF_INLINE void load_all(const float* p, vf (&to)[U]) {
  for (int v = 0; v < U; ++v) to[v] = load(p + v * W);
}

template <int U>
SLAF_INLINE void load_all(const bfloat16* p, vf (&to)[U]) {
  int v = 0;
  for (; v + 2 <= U; v += 2) {
    vu two;
    memcpy(&two, p + v * W, sizeof two);
    to[v] = (vf)(two << 16), to[v + 1] = (vf)(two & 0xffff0000u);
  }
  for (; v < U; ++v) to[v] = load(p + v * W);
}

template <int U>
SLAF_INLINE void put_all(float* p, const vf (&from)[U], bool past) {
  for (int v = 0; v < U; ++v) put(p + v * W, from[v], past);
}

template <int U>
SLAF_INLINE void put_all(bfloat16* p, const vf (&from)[U], bool past) {
  int v = 0;
  for (; v + 2 <= U; v += 2) {
    const vu two = in_turn(from[v], from[v + 1]);
    if (past) put(reinterpret_cast<float*>(p + v * W), (vf)two, true);
    else memcpy(p + v * W, &two, sizeof two);
  }
  for (; v < U; ++v) put(p + v * W, from[v], past);
}

// -- half types in buffers of float32, which stay in L1 -------------------------------------------------------------------------------

inline void widen_bfloat16(const uint16_t* from, float* to, int64_t n) {
  int64_t i = 0;
  for (; W >= 8 && i + W <= n; i += W) store(to + i, load(reinterpret_cast<const bfloat16*>(from + i)));
  for (; i < n; ++i) {
    uint32_t bits = (uint32_t)from[i] << 16;
    memcpy(to + i, &bits, 4);
  }
}

inline void narrow_bfloat16(const float* from, uint16_t* to, int64_t n) {
  int64_t i = 0;
#if SLAF_LANES == 16 && defined(__AVX512F__)
#if defined(SLAF_ROUNDS)
  for (; !cannot_round && i + 16 <= n; i += 16) _mm256_storeu_si256((__m256i*)(to + i), rounded_halves(load(from + i)));
#endif
  for (; i + 16 <= n; i += 16) _mm256_storeu_si256((__m256i*)(to + i), upper_halves(rounded(load(from + i))));
#elif SLAF_LANES == 8 && defined(__AVX2__)
  for (; i + 16 <= n; i += 16)
    _mm256_storeu_si256((__m256i*)(to + i), upper_halves(rounded(load(from + i)), rounded(load(from + i + 8))));
#endif
  for (; i < n; ++i) {
    uint32_t bits;
    memcpy(&bits, from + i, 4);
    uint32_t up = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    to[i] = (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : up);
  }
}

SLAF_INLINE float widen_one(uint16_t h) {
  uint32_t magnitude = h & 0x7fffu, bits = magnitude << 13;
  float f;
  memcpy(&f, &bits, 4);
  f *= 0x1p112f;  // moves the exponent and normalises subnormals
  memcpy(&bits, &f, 4);
  bits |= magnitude >= 0x7c00u ? 0x7f800000u : 0u;
  bits |= (uint32_t)(h & 0x8000u) << 16;
  memcpy(&f, &bits, 4);
  return f;
}

SLAF_INLINE uint16_t narrow_one(float f) {
  uint32_t bits;
  memcpy(&bits, &f, 4);
  uint32_t a = bits & 0x7fffffffu, sign = (bits >> 16) & 0x8000u;
  float small;
  memcpy(&small, &a, 4);
  small += 0.5f;  // its last place is float16's smallest step: the addition rounds to nearest even
  uint32_t low;
  memcpy(&low, &small, 4);
  low -= 0x3f000000u;
  uint32_t normal = (a - 0x38000000u + 0xfffu + ((a >> 13) & 1u)) >> 13;
  uint32_t out = a < 0x38800000u ? low : normal;
  out = a >= 0x47800000u ? 0x7c00u : out;
  out = a > 0x7f800000u ? 0x7e00u : out;
  return (uint16_t)(out | sign);
}

inline void widen_float16(const uint16_t* from, float* to, int64_t n) {
  int64_t i = 0;
#if SLAF_LANES == 16 && defined(__AVX512F__)
  for (; i + 16 <= n; i += 16) {
    _mm512_storeu_ps(to + i, _mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256((const __m256i*)(from + i))));
  }
#elif defined(__F16C__)
  for (; i + 8 <= n; i += 8) _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)(from + i))));
#endif
  for (; i < n; ++i) to[i] = widen_one(from[i]);
}

inline void narrow_float16(const float* from, uint16_t* to, int64_t n) {
  int64_t i = 0;
#if SLAF_LANES == 16 && defined(__AVX512F__)
  for (; i + 16 <= n; i += 16) {
    const __m256i half = _mm512_maskz_cvtps_ph(0xffff, _mm512_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT);
    _mm256_storeu_si256((__m256i*)(to + i), half);
  }
#elif defined(__F16C__)
  for (; i + 8 <= n; i += 8) _mm_storeu_si128((__m128i*)(to + i), _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT));
#endif
  for (; i < n; ++i) to[i] = narrow_one(from[i]);
}

}  // namespace
