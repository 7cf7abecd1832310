// What every instruction set offers: kernels that know neither threads nor shapes.
//
// "row": n consecutive elements that share their coefficients. "column": ``rows`` rows, ``ld`` elements apart, of ``groups`` groups of
// 16 columns, each column with coefficients of its own; those stand in ``table``, group by group, as rows of 16. A table's rows are
// the kernel's coefficients, then center, then rscale. Sums are added to what is there. Of two kernels in an array the first is for
// float32, the second for bfloat16; inside both compute in float32.
#pragma once
#include <stdint.h>

namespace slaf {

constexpr int MAX_DEGREE = 15;
constexpr int MAX_MOMENTS = 30;
constexpr int MAX_RATIONAL = 21;  // coefficients of a quotient of degrees 10 and 10
constexpr int MAX_BUMPS = 32;
constexpr double MAX_BUMP_EXPONENT = 40;  // of the largest factor that rbf.hpp takes out of a Gaussian
constexpr int UNROLLED = 9;  // up to this degree, at most, kernels have no loop over the terms

// ``degree``, ``count``: for the kernels that are not unrolled; the others know theirs. ``past``: the output goes past the caches.
typedef void RowForward(const void* x, void* y, int64_t n, const float* coef, int degree, float center, float rscale, bool past);
typedef void ColumnForward(const void* x, void* y, int64_t rows, int64_t ld, int64_t groups, int degree, const float* table, bool past);
// ``slope``: the coefficients of rscale·p'(u), p of ``degree``.
typedef void RowBackward(const void* x, const void* g, void* gx, int64_t n, const float* slope, int degree, float center, float rscale,
                         double* sums, bool past);
typedef void ColumnBackward(const void* x, const void* g, void* gx, int64_t rows, int64_t ld, int64_t groups, int degree,
                            const float* table, float* sums, bool past);
// gx = g·slope(u) + q(u); ``q`` follows ``slope`` in a table.
typedef void RowInput(const void* x, const void* g, void* gx, int64_t n, const float* slope, int degree, const float* q, int degree_q,
                      float center, float rscale, bool past);
typedef void ColumnInput(const void* x, const void* g, void* gx, int64_t rows, int64_t ld, int64_t groups, int degree, int degree_q,
                         const float* table, bool past);
// φ_1 … φ_count, count even.
typedef void RowMoments(const void* x, int64_t n, int count, float center, float rscale, double* sums);
typedef void ColumnMoments(const void* x, int64_t rows, int64_t ld, int64_t groups, int count, const float* table, float* sums);

struct SeriesKernels {
  RowForward* row_forward[2];
  ColumnForward* column_forward[2];
  RowBackward* row_backward[2];
  ColumnBackward* column_backward[2];
  RowBackward* row_sums[2];  // the same without gx; null for bfloat16, which discards it
  ColumnBackward* column_sums[2];
  RowInput* row_input[2];  // for q of degree 2·degree - 1, as batch normalisation of every term gives
  ColumnInput* column_input[2];
  RowInput* row_line[2];  // for q of degree 1, as standardising the input gives
  ColumnInput* column_line[2];
};

struct MomentKernels {
  RowMoments* row[2];
  ColumnMoments* column[2];
};

// Coefficients: the numerator's m + 1, then the denominator's ``count``; |x| beyond ``limit`` is handled apart.
typedef void RationalRowForward(const void* x, void* y, int64_t n, const float* coef, int m, int count, float limit, bool past);
typedef void RationalRowBackward(const void* x, const void* g, void* gx, int64_t n, const float* coef, int m, int count, float limit,
                                 double* sums, bool past);
typedef void RationalColumnForward(const void* x, void* y, int64_t rows, int64_t ld, int64_t groups, int m, int count, float limit,
                                   const float* table, bool past);
typedef void RationalColumnBackward(const void* x, const void* g, void* gx, int64_t rows, int64_t ld, int64_t groups, int m, int count,
                                    float limit, const float* table, float* sums, bool past);

struct RationalKernels {
  RationalRowForward* row_forward[2];
  RationalColumnForward* column_forward[2];
  RationalRowBackward* row_backward[2];
  RationalColumnBackward* column_backward[2];
};

constexpr int MAX_CELLS = 1023;
constexpr int MAX_LOCAL_DEGREE = 7;
constexpr int piece_stride(int cells) { return (cells + 31) / 32 * 32; }  // floats of a table with one number for each cell: whole vectors

// ``parameters``: center, rscale, the slopes of the two sides, and for every power of t a table of ``piece_stride`` numbers.
// ``runs`` rows of n elements, ``stride`` apart.
typedef void PiecesForward(const void* x, void* y, int64_t n, int64_t runs, int64_t stride, const float* parameters, int degree, int cells,
                           bool past);
// The tables are those of the slope in x. Sums g·t^k: (cells + 2, degree + 1).
typedef void PiecesBackward(const void* x, const void* g, void* gx, int64_t n, int64_t runs, int64_t stride, const float* parameters,
                            int degree, int cells, double* sums, bool past);

struct PiecesKernels {
  PiecesForward* forward[2];
  PiecesBackward* backward[2];
};

constexpr int MAX_HINGES = 64;

// Two lines that meet at a place, and ``count`` hinges: see hinges.hpp.
struct HingesKernels {
  void (*row_forward[2])(const void* x, void* y, int64_t n, const float* parameters, int count, bool past);
  void (*column_forward[2])(const void* x, void* y, int64_t rows, int64_t ld, int64_t groups, int count, const float* table,
                         bool past);
  void (*row_backward[2])(const void* x, const void* g, void* gx, int64_t n, const float* parameters, int count, double* sums, bool past);
  void (*column_backward[2])(const void* x, const void* g, void* gx, int64_t rows, int64_t ld, int64_t groups, int count,
                          const float* table, float* sums, bool past);
};

// One function of x, or of x and g, with parameters of a row or, in ``table``, of every column; see elementwise.hpp.
typedef void RowElementwise(const void* x, const void* g, void* out, int64_t n, int terms, const float* parameters, double* sums,
                            bool past);
typedef void ColumnElementwise(const void* x, const void* g, void* out, int64_t rows, int64_t ld, int64_t groups, int terms,
                               const float* table, float* sums, bool past);

struct Elementwise {
  RowElementwise* row[2];
  ColumnElementwise* column[2];
  bool writes;
};

constexpr int MAX_FOLDED_DEGREE = 24, MAX_FOLDED_PIECES = 1 << 16;
constexpr int MAX_FOLDED_TREE = 128;  // slots of the largest tables that are looked up by permutations: 16, 32, 64 and this

// How a folded form is stored, see folded.hpp: its degree; the slots of a table, a piece each; how many buckets there are, and the steps
// of a search in one.
struct FoldedShape {
  int degree, slots, buckets, steps;
};

// Numbers that are there to find the piece: a tree of few breaks; then the buckets' table and the breaks in order.
constexpr int64_t folded_tree(const FoldedShape& f) { return f.slots <= MAX_FOLDED_TREE ? f.slots : 0; }
constexpr int64_t folded_search(const FoldedShape& f) { return folded_tree(f) + f.buckets + f.slots + ((int64_t)1 << f.steps); }

// Values at x, or, reading g, the gradient of x.
typedef void FoldedRow(const void* x, const void* g, void* out, int64_t n, const float* form, const FoldedShape& shape, bool past);

struct FoldedKernels {
  FoldedRow *value[2], *gradient[2];
};

constexpr int KAN_BATCH = 256;  // samples of one pass over the inputs, at most
// Of a small grid few samples at a time, so that what they need stays in L1; of a large one more, which share its coefficients.
constexpr int kan_tile(int64_t cells) { return cells > 32 ? KAN_BATCH : KAN_BATCH / 2; }
constexpr int MAX_KAN_DEGREE = 3;

// A dense layer of splines of one degree: see kan.hpp. All arrays are float32; ``weight`` is (cells + degree - 1 + base, inputs, outputs).
struct KanLayer {
  int64_t inputs, outputs;
  int degree, cells, left_out, base;  // the spline without coefficients; whether SiLU follows the splines
  const float *weight, *bias, *center, *scale, *pieces;
  int64_t stride;  // of the rows in a slab, which has cells + degree + 1 of them
};

struct KanKernels {
  void (*forward)(const KanLayer& layer, const float* x, float* y, int64_t rows, float* slab);
  void (*backward)(const KanLayer& layer, const float* x, const float* g, float* gx, float* gweight, int64_t batch, int64_t input,
                   float* slabs);  // two
};

struct Kernels {
  const char* name;
  int unrolled;
  SeriesKernels series[2][UNROLLED + 2];  // by family and degree; after the unrolled ones: any degree, and any of q
  MomentKernels moments[2][UNROLLED + 1];  // [i]: φ_1 … φ_(2i + 2); after the unrolled ones: any
  RationalKernels rational[4][2];          // by form; degrees (5, 4), any
  PiecesKernels pieces[4][3];              // by degree 1, 2, 3, any; up to 16, 32 and MAX_CELLS cells
  HingesKernels hinges[2];                 // none, any
  Elementwise gate[3], quotient[3];        // of norm_act: forward, sums, gradient of x
  Elementwise bumps[3][3];                 // by terms: 8, 11, any; forward, backward, gradient of x
  KanKernels kan[MAX_KAN_DEGREE];          // by degree 1, 2, 3
  FoldedKernels folded_pieces[4][5];       // by degree 1, 2, 3, any; 16, 32, 64, 128 slots, any number
  FoldedKernels folded_series, folded_codes;
  void (*widen[2])(const uint16_t* from, float* to, int64_t n);   // bfloat16, float16
  void (*narrow[2])(const float* from, uint16_t* to, int64_t n);
};

const Kernels* portable_kernels();
const Kernels* avx2_kernels();    // null where not compiled in
const Kernels* avx512_kernels();

}  // namespace slaf
