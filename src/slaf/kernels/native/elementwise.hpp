// Kernels of a function of one element: from an Op to its loops along rows and across columns.
//
// An Op has WIDTH, the most parameters; SUMS, the most sums; READS and WRITES, whether it reads g and writes; width(terms) and
// sums(terms), how many of them there are; and value(terms, parameter, x, g, add): parameter(j), add(j, term). Where x and g are padded
// with zeros its terms must be 0.
#pragma once
#include "series.hpp"

namespace {

template <class Op, class T>
void elementwise_row(const void* from, const void* by, void* to, int64_t n, int terms, const float* parameters, double* sums, bool past) {
  const T *x = static_cast<const T*>(from), *g = static_cast<const T*>(by);
  T* out = static_cast<T*>(to);
  const Constants<Op::WIDTH> c(parameters, Op::width(terms));
  auto parameter = [&c](int j) { return c.c[j]; };
  for (int64_t start = 0; start < n; start += RUN) {
    const int64_t end = n - start < RUN ? n : start + RUN;
    vf s[Op::SUMS + 1] = {};
    auto add = [&s](int j, vf term) { s[j] += term; };
    int64_t i = start;
    for (; i + W <= end; i += W) {
      const vf y = Op::value(terms, parameter, load(x + i), Op::READS ? load(g + i) : vf{}, add);
      if (Op::WRITES) put(out + i, y, past);
    }
    if (i < end) {
      const int count = (int)(end - i);
      const vf y = Op::value(terms, parameter, load_part(x + i, count), Op::READS ? load_part(g + i, count) : vf{}, add);
      if (Op::WRITES) store_part(out + i, y, count);
    }
    for (int j = 0; j < Op::sums(terms); ++j) sums[j] += total(s[j]);
  }
}

template <class Op, class T>
void elementwise_column(const void* from, const void* by, void* to, int64_t rows, int64_t ld, int64_t groups, int terms, const float* table,
                        float* sums, bool past) {
  const T *x = static_cast<const T*>(from), *g = static_cast<const T*>(by);
  T* out = static_cast<T*>(to);
  auto step = [=](auto block, int64_t i, int64_t at, int64_t sum) {
    using B = decltype(block);
    const Table<B> t{table + at};
    for (int v = 0; v < B::vectors; ++v) {
      vf s[Op::SUMS + 1] = {};
      auto parameter = [&t, v](int j) { return t(j, v * B::rows); };
      auto add = [&s](int j, vf term) { s[j] += term; };
      for (int r = 0; r < B::rows; ++r) {
        const int64_t place = i + r * ld + v * W;
        const vf y = Op::value(terms, parameter, load(x + place), Op::READS ? load(g + place) : vf{}, add);
        if (Op::WRITES) put(out + place, y, past);
      }
      float* total = sums + sum + v * W;
      for (int j = 0; j < Op::sums(terms); ++j) store(total + j * LINE, load(total + j * LINE) + s[j]);
    }
  };
  sweep(Streams<T>{x, Op::READS ? g : nullptr, Op::WRITES ? out : nullptr, past}, rows, ld, groups, Op::width(terms), Op::sums(terms), step);
}

template <class Op>
constexpr slaf::Elementwise elementwise() {
  return {{elementwise_row<Op, float>, elementwise_row<Op, bfloat16>}, {elementwise_column<Op, float>, elementwise_column<Op, bfloat16>}, Op::WRITES};
}

template <int PARAMETERS, int TERMS, bool G, bool OUT>
struct Fixed {
  static constexpr int WIDTH = PARAMETERS, SUMS = TERMS;
  static constexpr bool READS = G, WRITES = OUT;
  static constexpr int width(int) { return PARAMETERS; }
  static constexpr int sums(int) { return TERMS; }
};

}  // namespace
