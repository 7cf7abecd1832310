// The table of one instruction set; included by kernels_<set>.cpp, which sets SLAF_LANES, SLAF_NAME,
// SLAF_TABLE and SLAF_UNROLLED.
#pragma once
#include "folded.hpp"
#include "hinges.hpp"
#include "kan.hpp"
#include "kernels.hpp"
#include "moments.hpp"
#include "norm_act.hpp"
#include "pieces.hpp"
#include "rational.hpp"
#include "rbf.hpp"
#include "series.hpp"

namespace {

template <int F, int D>
constexpr slaf::SeriesKernels series_kernels() {
  constexpr int Q = F == 1 || D == ANY ? ANY : D > 0 ? 2 * D - 1 : 0;  // powers are what normalised families use most
  return {{row_forward<F, D, float>, row_forward<F, D, bfloat16>},
          {column_forward<F, D, float>, column_forward<F, D, bfloat16>},
          {row_backward<F, D, true, float>, row_backward<F, D, true, bfloat16>},
          {column_backward<F, D, true, float>, column_backward<F, D, true, bfloat16>},
          {row_backward<F, D, false, float>},
          {column_backward<F, D, false, float>},
          {row_input<F, D, Q, float>, row_input<F, D, Q, bfloat16>},
          {column_input<F, D, Q, float>, column_input<F, D, Q, bfloat16>},
          {row_input<F, D, 1, float>, row_input<F, D, 1, bfloat16>},
          {column_input<F, D, 1, float>, column_input<F, D, 1, bfloat16>}};
}

template <int F, int N>
constexpr slaf::MomentKernels moment_kernels() {
  return {{row_moments<F, N, float>, row_moments<F, N, bfloat16>}, {column_moments<F, N, float>, column_moments<F, N, bfloat16>}};
}

template <int F, int D = 0>
void fill_series(slaf::SeriesKernels* out) {
  if constexpr (D <= SLAF_UNROLLED) out[D] = series_kernels<F, D>(), fill_series<F, D + 1>(out);
  else out[D] = series_kernels<F, ANY>();
}

template <int F, int I = 0>
void fill_moments(slaf::MomentKernels* out) {
  if constexpr (I < SLAF_UNROLLED) out[I] = moment_kernels<F, 2 * I + 2>(), fill_moments<F, I + 1>(out);
  else out[I] = moment_kernels<F, ANY>();
}

template <int FORM, int M, int K>
constexpr slaf::RationalKernels rational_kernels() {
  return {{rational_row_forward<FORM, M, K, float>, rational_row_forward<FORM, M, K, bfloat16>},
          {rational_column_forward<FORM, M, K, float>, rational_column_forward<FORM, M, K, bfloat16>},
          {rational_row_backward<FORM, M, K, float>, rational_row_backward<FORM, M, K, bfloat16>},
          {rational_column_backward<FORM, M, K, float>, rational_column_backward<FORM, M, K, bfloat16>}};
}

template <int FORM>
void fill_rational(slaf::RationalKernels* out) {
  constexpr bool pairs = FORM == 0 || FORM == 3;  // one b for two degrees
  out[0] = rational_kernels<FORM, 5, pairs ? 2 : 4>();
  out[1] = rational_kernels<FORM, ANY, ANY>();
}

template <int D, int V>
constexpr slaf::PiecesKernels pieces_kernels() {
  return {{pieces_row_forward<D, V, float>, pieces_row_forward<D, V, bfloat16>},
          {pieces_row_backward<D, V, float>, pieces_row_backward<D, V, bfloat16>}};
}

template <int D>
void fill_pieces(slaf::PiecesKernels* out) {
  constexpr bool registers = D != ANY && W >= 8;
  out[0] = pieces_kernels<D, registers ? 16 / W : 0>();
  out[1] = pieces_kernels<D, registers ? 32 / W : 0>();
  out[2] = pieces_kernels<D, 0>();
}

template <int S>
constexpr slaf::HingesKernels hinges_kernels() {
  return {{hinges_row_forward<S, float>, hinges_row_forward<S, bfloat16>},
          {hinges_column_forward<S, float>, hinges_column_forward<S, bfloat16>},
          {hinges_row_backward<S, float>, hinges_row_backward<S, bfloat16>},
          {hinges_column_backward<S, float>, hinges_column_backward<S, bfloat16>}};
}

template <class Value, class Gradient>
constexpr slaf::FoldedKernels folded_kernels() {
  return {{folded_row<Value, float>, folded_row<Value, bfloat16>}, {folded_row<Gradient, float>, folded_row<Gradient, bfloat16>}};
}

template <int D, int SLOTS>
constexpr slaf::FoldedKernels folded_pieces_kernels() {
  return folded_kernels<WithEnds<OnPieces<D, SLOTS, false>, false>, WithEnds<OnPieces<D, SLOTS, true>, true>>();
}

template <int D, int I = 0>
void fill_folded(slaf::FoldedKernels* out) {
  constexpr int MOST = W >= 16 ? slaf::MAX_FOLDED_TREE : W >= 8 ? 64 : 0;  // beyond, reading single numbers from memory is quicker
  constexpr int SLOTS = (16 << I) <= MOST ? 16 << I : 0;
  out[I] = folded_pieces_kernels<D, SLOTS>();
  if constexpr ((16 << I) <= slaf::MAX_FOLDED_TREE) fill_folded<D, I + 1>(out);
}

struct Filled : slaf::Kernels {
  Filled() : slaf::Kernels{} {
    name = SLAF_NAME;
#if defined(SLAF_ROUNDS)
    find_rounding();
#endif
    unrolled = SLAF_UNROLLED;
    fill_series<0>(series[0]);
    fill_series<1>(series[1]);
    fill_moments<0>(moments[0]);
    fill_moments<1>(moments[1]);
    fill_rational<0>(rational[0]);
    fill_rational<1>(rational[1]);
    fill_rational<2>(rational[2]);
    fill_rational<3>(rational[3]);
    fill_pieces<1>(pieces[0]);
    fill_pieces<2>(pieces[1]);
    fill_pieces<3>(pieces[2]);
    fill_pieces<ANY>(pieces[3]);
    hinges[0] = hinges_kernels<0>();
    hinges[1] = hinges_kernels<ANY>();
    fill_bumps<8>(bumps[0]), fill_bumps<11>(bumps[1]), fill_bumps<ANY>(bumps[2]);
    gate[0] = elementwise<GateForward>(), gate[1] = elementwise<GateSums>(), gate[2] = elementwise<GateInput>();
    quotient[0] = elementwise<QuotientForward>(), quotient[1] = elementwise<QuotientSums>(), quotient[2] = elementwise<QuotientInput>();
    kan[0] = {kan_forward<1>, kan_backward<1>}, kan[1] = {kan_forward<2>, kan_backward<2>}, kan[2] = {kan_forward<3>, kan_backward<3>};
    fill_folded<1>(folded_pieces[0]);
    fill_folded<2>(folded_pieces[1]);
    fill_folded<3>(folded_pieces[2]);
    fill_folded<ANY>(folded_pieces[3]);
    folded_series = folded_kernels<WithEnds<OnSeries<false>, false>, WithEnds<OnSeries<true>, true>>();
    folded_codes = folded_kernels<OnCodes<false>, OnCodes<true>>();
    widen[0] = widen_bfloat16, widen[1] = widen_float16;
    narrow[0] = narrow_bfloat16, narrow[1] = narrow_float16;
  }
};

}  // namespace

// A static inside the function: nothing compiled for this instruction set runs before it is chosen.
const slaf::Kernels* slaf::SLAF_TABLE() {
  static const Filled table;
  return &table;
}
