// Parameters as modules hold them, and the functions of abi.cpp that compute on tables by channel.
#pragma once
#include <vector>

#include "abi.hpp"

int slaf_series_forward(const void*, void*, int, int64_t, int64_t, int64_t, int, int, const float*, const float*, const float*, int);
int slaf_series_backward(const void*, const void*, void*, int, int64_t, int64_t, int64_t, int, int, const float*, const float*,
                         const float*, double*, double*, double*, int);
int slaf_series_backward_input(const void*, const void*, void*, int, int64_t, int64_t, int64_t, int, int, const float*, int, const float*,
                               const float*, const float*, int);
int slaf_moments(const void*, int, int64_t, int64_t, int64_t, int, int, const float*, const float*, double*, int);
int slaf_rational_forward(const void*, void*, int, int64_t, int64_t, int64_t, int, int, int, const float*, const float*, int);
int slaf_rational_backward(const void*, const void*, void*, int, int64_t, int64_t, int64_t, int, int, int, const float*, const float*,
                           double*, double*, int);

namespace slaf {

// A parameter of ``rows`` × ``columns`` and its place in a table of c rows of ``width``: columns ``at`` and following.
struct Rows {
  int64_t rows, columns, c, width, at;
  const int64_t* position;  // where a site lies in memory; null: in order
  double factor;

  bool good() const { return rows > 0 && c > 0 && c % rows == 0; }
  int64_t start(int64_t site) const { return (position ? position[site] : site) * width + at; }

  void to_table(const float* theta, float* table) const {
    const int64_t run = c / rows;
    for (int64_t row = 0, site = 0; row < rows; ++row, theta += columns)
      for (int64_t last = site + run; site < last; ++site)
        for (int64_t i = 0; i < columns; ++i) table[start(site) + i] = (float)(factor * theta[i]);
  }

  void from_sums(const double* sums, float* theta) const {
    const int64_t run = c / rows;
    for (int64_t row = 0; row < rows; ++row, theta += columns)
      for (int64_t i = 0; i < columns; ++i) {
        double sum = 0;
        for (int64_t site = row * run; site < (row + 1) * run; ++site) sum += sums[start(site) + i];
        theta[i] = (float)(factor * sum);
      }
  }
};

inline Rows part(int64_t rows, int64_t columns, int64_t c, int64_t width, int64_t at, const int64_t* position, double factor = 1) {
  return {rows, columns, c, width, at, position, factor};
}

}  // namespace slaf
