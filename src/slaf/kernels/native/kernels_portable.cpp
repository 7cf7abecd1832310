#define SLAF_LANES 4
#define SLAF_NAME "portable"
#define SLAF_TABLE portable_kernels
#include "table.hpp"
