#include "drive.hpp"

#include <string.h>

#include <algorithm>
#include <memory>
#include <new>
#include <numeric>
#include <utility>

#include "past.hpp"
#include "pool.hpp"
#include "transpose.hpp"

namespace slaf {
namespace {

constexpr int64_t LINE = 16;
constexpr int64_t TILE = 16384;          // elements of a tile, the unit of work
constexpr int64_t SUMS_SHARE = 64;       // elements of a tile of rows for every sum of a channel, at least
constexpr int64_t PER_SPINNING = 16384;  // below, another thread costs more than it saves: those of OpenMP wait in a loop,
constexpr int64_t PER_SLEEPING = 65536;  // those of our own pool have to be woken
constexpr int64_t FEW_COLUMNS = 256;     // up to so many, rows are joined until they are whole cache lines
constexpr int64_t COLUMN_ROWS = 128;     // rows summed in float32
constexpr int64_t COLUMN_TILE = 65536;   // elements of a tile of columns: with fewer, their sums take too much memory
constexpr int64_t WIDE = 256;            // lines of a row taken together: whole rows where possible, hardware prefetches along them
constexpr int64_t BUFFER = 1024;         // elements of a half type widened together
constexpr int64_t COLLECTED_WIDTH = 128; // elements of a sample that are collected together: eight cache lines, or whole samples
constexpr int64_t COLLECTED_ROW = 384;   // elements of a channel that are: what is collected fits into the second level of a cache
constexpr int64_t RUNS = 16;             // a row as long as this is a run for kernels that take them as they lie
constexpr int64_t BAND = 4;
constexpr int64_t BANDS_AHEAD = 2;       // what hardware does not foresee where a sample is longer than what is collected of it
constexpr int64_t DISCARDED = 2 * BUFFER;  // what is written where no output is wanted
constexpr int64_t AT_ONCE = BUFFER / LINE / 4;  // lines of a row that leave room for four rows in a buffer

int64_t up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Elements of the pass's dtype at an offset: in place, or as float32 in a buffer, for which float16 has to be converted.
struct Access {
  const Pass& p;
  const Kernels& k;

  bool in_place() const { return p.dtype != FLOAT16; }
  bool discards() const { return p.writes && p.out == nullptr; }
  int64_t size() const { return p.dtype == FLOAT32 ? 4 : 2; }

  const void* at(const void* base, int64_t offset) const { return base ? static_cast<const char*>(base) + offset * size() : nullptr; }
  void* out(int64_t offset) const { return p.writes ? static_cast<char*>(p.out) + offset * size() : nullptr; }

  void read(const void* base, int64_t offset, float* to, int64_t n) const {
    if (base == nullptr) return;
    if (p.dtype == FLOAT32) memcpy(to, static_cast<const float*>(base) + offset, 4 * n);
    else k.widen[p.dtype - 1](static_cast<const uint16_t*>(base) + offset, to, n);
  }

  // Asks for what will be read, or written, so that it is near by then.
  void prefetch(const void* base, int64_t offset, int64_t n) const {
    const char* from = static_cast<const char*>(base) + offset * size();
    for (int64_t i = 0; i < n * size(); i += 4 * LINE) {
      if (base == p.out) __builtin_prefetch(from + i, 1);
      else __builtin_prefetch(from + i);
    }
  }

  void write(const float* from, int64_t offset, int64_t n) const {
    if (p.out == nullptr || !p.writes) return;
    if (p.dtype == FLOAT32) memcpy(static_cast<float*>(p.out) + offset, from, 4 * n);
    else k.narrow[p.dtype - 1](from, static_cast<uint16_t*>(p.out) + offset, n);
  }
};

// Memory from the start of a cache line on: a vector as wide as a line would otherwise always be part of two.
template <class T>
struct FromLine {
  using value_type = T;
  T* allocate(size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t(4 * LINE))); }
  void deallocate(T* p, size_t) { ::operator delete(p, std::align_val_t(4 * LINE)); }
  bool operator==(const FromLine&) const { return true; }
  bool operator!=(const FromLine&) const { return false; }
};
using Lines = std::vector<float, FromLine<float>>;

constexpr int64_t APART = 5 * LINE;      // between them: whole pages apart a processor takes what it reads for what it has just written

struct alignas(64) Buffers {
  float x[BUFFER + APART], g[BUFFER + APART], out[BUFFER + APART], discarded[DISCARDED];
};

int threads_for(const Pass& p, int64_t total) {
  return (int)std::max<int64_t>(1, std::min<int64_t>(p.threads, total / (borrowed() ? PER_SPINNING : PER_SLEEPING)));
}

// Σ over ``count`` parts, in their order.
std::vector<double> added(std::vector<double> partial, int64_t count, int64_t size) {
  if (count == 1) return partial;
  std::vector<double> sums(size);
  for (int64_t t = 0; t < count; ++t)
    for (int64_t i = 0; i < size; ++i) sums[i] += partial[t * size + i];
  return sums;
}

// -- rows --------------------------------------------------------------------------------------------------------------------------

void run_row(const Access& a, int64_t offset, int64_t n, const float* parameters, double* sums, Buffers& b) {
  const Pass& p = a.p;
  if (a.in_place() && a.discards()) {
    for (int64_t i = 0; i < n; i += DISCARDED)
      p.row(p.dtype, a.at(p.x, offset + i), a.at(p.g, offset + i), b.discarded, std::min(DISCARDED, n - i), parameters, sums);
    return;
  }
  if (a.in_place()) return p.row(p.dtype, a.at(p.x, offset), a.at(p.g, offset), a.out(offset), n, parameters, sums);
  for (int64_t i = 0; i < n; i += BUFFER) {
    const int64_t m = std::min(BUFFER, n - i);
    a.read(p.x, offset + i, b.x, m);
    a.read(p.g, offset + i, b.g, m);
    p.row(FLOAT32, b.x, b.g, b.out, m, parameters, sums);
    a.write(b.out, offset + i, m);
  }
}

std::vector<double> drive_rows(const Access& a, int64_t n, int64_t c, int64_t s) {
  const Pass& p = a.p;
  const int64_t pieces = up(s, TILE), fit = std::max<int64_t>(1, TILE / s);
  const int64_t enough = up(SUMS_SHARE * p.sums, s);  // samples a tile, so that the sums take little memory beside them
  const int64_t samples = std::min(n, std::max(enough, fit >= c ? fit / c : up(1024, s))), channels = std::min(c, std::max<int64_t>(1, fit / samples));
  const int64_t n_tiles = up(n, samples), c_tiles = up(c, channels);
  std::vector<double> partial(n_tiles * pieces * c * p.sums);
  parallel(n_tiles * c_tiles * pieces, threads_for(p, n * c * s), p.threads, [&](int64_t tile) {
    Buffers buffers;
    const int64_t piece = tile % pieces, ct = tile / pieces % c_tiles, nt = tile / pieces / c_tiles;
    const int64_t start = piece * TILE, length = std::min(TILE, s - start);
    for (int64_t i = nt * samples; i < std::min(n, (nt + 1) * samples); ++i)
      for (int64_t k = ct * channels; k < std::min(c, (ct + 1) * channels); ++k)
        run_row(a, (i * c + k) * s + start, length, p.rows.data() + k * p.width, partial.data() + ((nt * pieces + piece) * c + k) * p.sums,
                buffers);
    if (p.past) settle();
  });
  return added(std::move(partial), n_tiles * pieces, c * p.sums);
}

// -- columns -----------------------------------------------------------------------------------------------------------------------

struct Columns {
  int64_t total;   // elements
  int64_t period;  // columns, whole multiples of c·s; element e belongs to column e % period
  int64_t groups() const { return up(period, LINE); }
};

Columns columns_of(int64_t n, int64_t c, int64_t s) {
  const int64_t plane = c * s, joined = plane > FEW_COLUMNS ? 1 : LINE / std::gcd(plane, LINE);
  return {n * plane, plane * std::min(n, joined)};
}

// f(column, channel) for every column, without a division: those would take longer than a small tensor.
template <class F>
void each_column(const Pass& p, const Columns& l, F f) {
  for (int64_t q = 0; q < l.period;)
    for (int64_t k = 0; k < p.c; ++k)
      for (int64_t i = 0; i < p.s; ++i) f(q++, k);
}

Lines table_of(const Pass& p, const Columns& l) {
  Lines table(l.groups() * p.width * LINE);
  each_column(p, l, [&](int64_t q, int64_t k) {
    const float* from = p.rows.data() + k * p.width;
    float* to = table.data() + q / LINE * p.width * LINE + q % LINE;
    for (int i = 0; i < p.width; ++i) to[i * LINE] = from[i];
  });
  return table;
}

struct Block {
  int64_t row, rows, group, columns;  // columns from group·LINE on
};

// A block through buffers: half types, and fewer columns than fill a line. The sums of the lanes that are left over then go nowhere: in
// a short last row their columns exist.
void buffered(const Access& a, const Columns& l, const Block& block, const float* table, float* sums, Buffers& b) {
  const int64_t column = block.group * LINE, width = block.columns;
  const int64_t ld = up(width, LINE) * LINE, step = BUFFER / ld, last = block.row + block.rows;
  alignas(64) float line[MAX_MOMENTS * LINE];
  const bool part = ld != width;
  if (part) memset(&b, 0, 3 * sizeof b.x), memset(line, 0, sizeof line);
  for (int64_t row = block.row; row < last; row += step) {
    const int64_t rows = std::min(step, last - row);
    const bool joined = width == l.period && !part;  // rows follow each other in memory
    const int64_t runs = joined ? 1 : rows, run = joined ? rows * width : width;
    for (int64_t r = 0; r < runs; ++r) {
      const int64_t at = (row + r) * l.period + column;
      a.read(a.p.x, at, b.x + r * ld, run);
      a.read(a.p.g, at, b.g + r * ld, run);
      for (const void* base : {a.p.x, a.p.g, static_cast<const void*>(a.p.out)})
        if (base) a.prefetch(base, at + run, run);
    }
    a.p.column(FLOAT32, b.x, b.g, b.out, rows, ld, ld / LINE, table, part ? line : sums);
    for (int64_t r = 0; r < runs; ++r) a.write(b.out + r * ld, (row + r) * l.period + column, run);
  }
  for (int j = 0; part && j < a.p.sums; ++j)
    for (int64_t q = 0; q < width; ++q) sums[j * LINE + q] += line[j * LINE + q];
}

// ``sums``: of the block's columns.
void run_block(const Access& a, const Columns& l, const Block& block, const float* table, float* sums, Buffers& buffers) {
  const Pass& p = a.p;
  auto through_buffers = [&](int64_t row, int64_t rows, int64_t from, int64_t width) {
    const int64_t group = block.group + from;
    buffered(a, l, Block{row, rows, group, width}, table + group * p.width * LINE, sums + from * p.sums * LINE, buffers);
  };
  const int64_t full = block.columns / LINE, rest = block.columns % LINE, offset = block.row * l.period + block.group * LINE;
  const float* own = table + block.group * p.width * LINE;
  if (a.in_place() && a.discards()) {
    std::vector<float> discarded(4 * l.period);
    for (int64_t r = 0; r < block.rows; r += 4)
      p.column(p.dtype, a.at(p.x, offset + r * l.period), a.at(p.g, offset + r * l.period), discarded.data(),
               std::min<int64_t>(4, block.rows - r), l.period, full, own, sums);
  } else if (a.in_place()) {
    p.column(p.dtype, a.at(p.x, offset), a.at(p.g, offset), a.out(offset), block.rows, l.period, full, own, sums);
  } else {
    const int64_t last = block.row + block.rows, rows = BUFFER / LINE / std::max<int64_t>(1, std::min(AT_ONCE, full));
    for (int64_t row = block.row; row < last; row += rows)  // along the rows, as memory lies
      for (int64_t k = 0; k < full; k += AT_ONCE) through_buffers(row, std::min(rows, last - row), k, std::min(AT_ONCE, full - k) * LINE);
  }
  if (rest) through_buffers(block.row, block.rows, full, rest);
}

std::vector<double> drive_columns(const Access& a, const Columns& l) {
  const Pass& p = a.p;
  const Lines table = table_of(p, l);
  const int64_t rows = l.total / l.period, rest = l.total % l.period;  // the last row may be short
  const int64_t tall = std::max<int64_t>(2, COLUMN_TILE / (COLUMN_ROWS * l.period)) * COLUMN_ROWS, wide = std::min(WIDE, l.groups());
  const int64_t row_tiles = up(rows, tall), group_tiles = up(l.groups(), wide), group = p.sums * LINE, size = l.groups() * group;
  std::vector<double> partial((row_tiles + (rest > 0)) * size);
  parallel(row_tiles * group_tiles + (rest > 0), threads_for(p, l.total), p.threads, [&](int64_t tile) {
    Buffers buffers;
    Lines sums(wide * group);
    const int64_t rt = tile / group_tiles, first = tile % group_tiles * wide;
    auto run = [&](const Block& block) {
      std::fill(sums.begin(), sums.end(), 0.0f);
      run_block(a, l, block, table.data(), sums.data(), buffers);
      double* to = partial.data() + rt * size + block.group * group;
      for (int64_t i = 0; i < up(block.columns, LINE) * group; ++i) to[i] += sums[i];
    };
    for (int64_t r = rt * tall; r < std::min(rows, (rt + 1) * tall); r += COLUMN_ROWS)
      run(Block{r, std::min(COLUMN_ROWS, rows - r), first, std::min(l.period - first * LINE, wide * LINE)});
    if (rt == row_tiles) run(Block{rows, 1, 0, rest});
    if (p.past) settle();
  });
  const std::vector<double> column_sums = added(std::move(partial), row_tiles + (rest > 0), size);
  std::vector<double> sums(p.c * p.sums);
  each_column(p, l, [&](int64_t q, int64_t k) {
    for (int j = 0; j < p.sums; ++j) sums[k * p.sums + j] += column_sums[(q / LINE * p.sums + j) * LINE + q % LINE];
  });
  return sums;
}

// -- collected rows -----------------------------------------------------------------------------------------------------------------

// The elements of a few channels in a few samples, as one row for each channel.
struct Collected {
  const Access& a;
  int64_t c, s;
  int64_t sample, samples, channel, channels;

  int64_t length() const { return samples * s; }
  int64_t pitch() const { return length() + LINE; }  // a power of two would put all rows into the same few sets of a cache
  int64_t offset(int64_t i) const { return ((sample + i) * c + channel) * s; }

  void prefetch(const void* base, int64_t i) const {
    i += BANDS_AHEAD * BAND;
    for (int64_t r = i; r < std::min(i + BAND, samples); ++r) a.prefetch(base, offset(r), channels * s);
  }

  // Rows of memory, each of all channels, to rows of channels and back, BAND of them at a time.
  void take(const void* base, float* to, float* band) const {
    if (base == nullptr) return;
    for (int64_t i = 0; i < samples; i += BAND) {
      const int64_t rows = std::min(BAND, samples - i), width = channels * s;
      prefetch(base, i);
      const float* from = static_cast<const float*>(a.at(base, offset(i)));
      int64_t ld = c * s;
      if (a.p.dtype != FLOAT32) {
        for (int64_t r = 0; r < rows; ++r) a.read(base, offset(i + r), band + r * width, width);
        from = band, ld = width;
      }
      move_runs(from, ld, s, to + i * s, s, pitch(), rows, channels, s);
    }
  }

  void give(const float* from, float* band) const {
    if (a.p.out == nullptr) return;
    const bool direct = a.p.dtype == FLOAT32;
    for (int64_t i = 0; i < samples; i += BAND) {
      const int64_t rows = std::min(BAND, samples - i), width = channels * s;
      prefetch(a.p.out, i);
      float* to = direct ? static_cast<float*>(a.out(offset(i))) : band;
      move_runs(from + i * s, s, pitch(), to, direct ? c * s : width, s, rows, channels, s);
      for (int64_t r = 0; r < rows && !direct; ++r) a.write(band + r * width, offset(i + r), width);
    }
  }
};

std::vector<double> drive_collected(const Access& a, int64_t n, int64_t c, int64_t s) {
  const Pass& p = a.p;
  const int64_t channels = std::min(c, up(COLLECTED_WIDTH, s)), once = std::min(n, up(COLLECTED_ROW, s));
  const int64_t samples = std::min(n, up(std::max<int64_t>(TILE / channels, 2 * p.sums), once * s) * once);
  const int64_t n_tiles = up(n, samples), c_tiles = up(c, channels);
  std::vector<double> partial(n_tiles * c * p.sums);
  const bool as_it_lies = p.takes_runs && a.in_place() && !a.discards() && s >= RUNS;
  parallel(n_tiles * c_tiles, threads_for(p, n * c * s), p.threads, [&](int64_t tile) {
    if (as_it_lies) {
      const int64_t nt = tile / c_tiles, first = tile % c_tiles * channels;
      for (int64_t i = nt * samples; i < std::min(n, (nt + 1) * samples); i += once)
        for (int64_t k = first; k < std::min(c, first + channels); ++k) {
          const int64_t at = (i * c + k) * s;
          p.runs(p.dtype, a.at(p.x, at), a.at(p.g, at), a.out(at), s, std::min({once, n - i, (nt + 1) * samples - i}), c * s,
                 p.rows.data() + k * p.width, partial.data() + (nt * c + k) * p.sums);
        }
      return;
    }
    const int64_t size = channels * (once * s + LINE), nt = tile / c_tiles, first = tile % c_tiles * channels;
    const std::unique_ptr<float[]> memory(new float[3 * size + BAND * channels * s]);  // not filled with zeros
    float *x = memory.get(), *g = x + size, *out = g + size, *band = out + size;
    for (int64_t i = nt * samples; i < std::min(n, (nt + 1) * samples); i += once) {
      const Collected block{a, c, s, i, std::min({once, n - i, (nt + 1) * samples - i}), first, std::min(channels, c - first)};
      block.take(p.x, x, band), block.take(p.g, g, band);
      for (int64_t k = 0; k < block.channels; ++k) {
        const int64_t at = k * block.pitch();
        p.row(FLOAT32, x + at, g + at, out + at, block.length(), p.rows.data() + (first + k) * p.width,
              partial.data() + (nt * c + first + k) * p.sums);
      }
      block.give(out, band);
    }
  });
  return added(std::move(partial), n_tiles, c * p.sums);
}

}  // namespace

std::vector<double> drive(const Pass& p, const Kernels& kernels) {
  const Access a{p, kernels};
  if (p.c == 1) return drive_rows(a, 1, 1, p.n * p.s);
  if (p.collected()) return drive_collected(a, p.n, p.c, p.s);
  if (p.s >= SHORT_ROW) return drive_rows(a, p.n, p.c, p.s);
  return drive_columns(a, columns_of(p.n, p.c, p.s));
}

}  // namespace slaf
