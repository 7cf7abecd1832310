// The table of one instruction set; included by kernels_<set>.cpp, which sets SLAF_LANES, SLAF_NAME and SLAF_TABLE.
#pragma once
#include "kernels.hpp"
#include "moments.hpp"
#include "series.hpp"

namespace {

template <int F, int D>
constexpr slaf::SeriesKernels series_kernels() {
  constexpr int Q = D == ANY ? ANY : D > 0 ? 2 * D - 1 : 0;
  return {row_forward<F, D>, column_forward<F, D>, row_backward<F, D>, column_backward<F, D>, row_input<F, D, Q>, column_input<F, D, Q>};
}

template <int F, int N>
constexpr slaf::MomentKernels moment_kernels() {
  return {row_moments<F, N>, column_moments<F, N>};
}

template <int F, int D = 0>
void fill_series(slaf::SeriesKernels* out) {
  if constexpr (D <= slaf::UNROLLED) out[D] = series_kernels<F, D>(), fill_series<F, D + 1>(out);
  else out[D] = series_kernels<F, ANY>();
}

template <int F, int I = 0>
void fill_moments(slaf::MomentKernels* out) {
  if constexpr (I < slaf::UNROLLED) out[I] = moment_kernels<F, 2 * I + 2>(), fill_moments<F, I + 1>(out);
  else out[I] = moment_kernels<F, ANY>();
}

struct Filled : slaf::Kernels {
  Filled() : slaf::Kernels{} {
    name = SLAF_NAME;
    fill_series<0>(series[0]);
    fill_series<1>(series[1]);
    fill_moments<0>(moments[0]);
    fill_moments<1>(moments[1]);
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
