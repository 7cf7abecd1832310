// Compiled with -mavx512f -mavx512bw -mavx512vl -mavx512dq, and AVX2's flags; empty elsewhere.
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#define SLAF_LANES 16
#define SLAF_NAME "avx512"
#define SLAF_TABLE avx512_kernels
#define SLAF_UNROLLED 9
#include "table.hpp"
#else
#include "kernels.hpp"
const slaf::Kernels* slaf::avx512_kernels() { return nullptr; }
#endif
