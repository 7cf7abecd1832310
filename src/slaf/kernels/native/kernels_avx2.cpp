// Compiled with -mavx2 -mfma -mf16c; empty elsewhere.
#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define SLAF_LANES 8
#define SLAF_NAME "avx2"
#define SLAF_TABLE avx2_kernels
#define SLAF_UNROLLED 9
#include "table.hpp"
#else
#include "kernels.hpp"
const slaf::Kernels* slaf::avx2_kernels() { return nullptr; }
#endif
