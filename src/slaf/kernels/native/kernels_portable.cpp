#define SLAF_LANES 4
#define SLAF_NAME "portable"
#define SLAF_TABLE portable_kernels
// Where there are no wider kernels these are the ones that run; on x86 they serve machines of before 2013 and are kept small.
#if defined(__x86_64__) || defined(__i386__)
#define SLAF_UNROLLED 2
#else
#define SLAF_UNROLLED 9
#endif
#include "table.hpp"
