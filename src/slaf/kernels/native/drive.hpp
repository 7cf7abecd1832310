// From a tensor (n, c, s) to calls of the kernels: layout, tiles, threads, half types, and the order of summation.
#pragma once
#include <stdint.h>

#include <vector>

#include "kernels.hpp"

namespace slaf {

constexpr int64_t SHORT_ROW = 32;  // shorter rows are treated as columns
constexpr int64_t LONG_ROW = 512;  // longer ones are worth a call of a kernel that has no columns

enum Dtype { FLOAT32 = 0, BFLOAT16 = 1, FLOAT16 = 2 };

// One elementwise pass. What the kernels need of a channel stands in ``rows``: c rows of ``width`` floats.
struct Pass {
  const void* x;
  const void* g;  // null where not read
  void* out;      // null where not wanted
  int dtype;
  int64_t n, c, s;
  int threads;
  std::vector<float> rows;
  int width;
  int sums = 0;           // sums for every channel
  bool writes = true;     // whether the kernel writes an output, wanted or not
  bool past = false;      // whether the output goes past the caches
  bool rowwise = false;   // there is no column kernel: what is short along the rows is collected into long ones,
  bool takes_runs = false;  // or given as it lies, where there are ``runs``

  virtual ~Pass() = default;
  void take_rows() { rowwise = true, past = past && !collected(); }  // what is collected is read again
  bool collected() const { return rowwise && c > 1 && s < LONG_ROW; }
  // ``type``: FLOAT32 or BFLOAT16, what x, g and out point to.
  virtual void row(int type, const void* x, const void* g, void* out, int64_t n, const float* parameters, double* sums) const = 0;
  // Rows of n elements, ``stride`` apart, that share their parameters.
  virtual void runs(int type, const void* x, const void* g, void* out, int64_t n, int64_t count, int64_t stride, const float* parameters,
                    double* sums) const {
    (void)stride;
    if (count) row(type, x, g, out, n, parameters, sums);
  }
  virtual void column(int type, const void* x, const void* g, void* out, int64_t rows, int64_t ld, int64_t groups, const float* table,
                      float* sums) const {
    (void)type, (void)x, (void)g, (void)out, (void)rows, (void)ld, (void)groups, (void)table, (void)sums;
  }
};

// Runs the pass and returns the sums, (c, sums). They depend on shapes and the instruction set alone, not on the number of threads.
std::vector<double> drive(const Pass& pass, const Kernels& kernels);

}  // namespace slaf
