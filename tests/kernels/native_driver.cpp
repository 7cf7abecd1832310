// Every function of the compiled kernels over odd sizes, for the sanitizers: buffers of exactly the right size, each instruction set
// against the portable one. scripts/check-sanitizers builds and runs it; 16 lanes are also built without AVX-512, to be run anywhere.
#include "../../src/slaf/kernels/native/abi.cpp"
#include "../../src/slaf/kernels/native/norm_act.cpp"
#include "../../src/slaf/kernels/native/rbf.cpp"
#include "../../src/slaf/kernels/native/folded_abi.cpp"
#include "../../src/slaf/kernels/native/hinges_abi.cpp"
#include "../../src/slaf/kernels/native/pieces_abi.cpp"
#include "../../src/slaf/kernels/native/sites.cpp"
#include "../../src/slaf/kernels/native/standardised.cpp"
#include "../../src/slaf/kernels/native/normalised.cpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>

namespace {

struct Case {
  int dtype;
  int64_t n, c, s;
  int threads;
  int64_t size() const { return n * c * s; }
};

struct Run {
  std::vector<double> results;
  std::mt19937 random{7};

  std::vector<float> numbers(size_t count, float scale = 1) {
    std::vector<float> out(count);
    for (float& v : out) v = scale * ((float)(random() % 2001) / 1000.0f - 1.0f);
    return out;
  }

  // As many bytes as the dtype takes, so that one element too far is found.
  std::vector<char> tensor(const Case& k) {
    std::vector<char> out(k.size() * (k.dtype ? 2 : 4));
    const std::vector<float> values = numbers(k.size());
    if (k.dtype == 0) memcpy(out.data(), values.data(), out.size());
    else portable_kernels()->narrow[k.dtype - 1](values.data(), reinterpret_cast<uint16_t*>(out.data()), k.size());
    return out;
  }

  void keep(const Case& k, const std::vector<char>& t) {
    std::vector<float> values(k.size());
    if (k.dtype == 0) memcpy(values.data(), t.data(), t.size());
    else portable_kernels()->widen[k.dtype - 1](reinterpret_cast<const uint16_t*>(t.data()), values.data(), k.size());
    results.insert(results.end(), values.begin(), values.end());
  }

  void keep(const std::vector<double>& sums) { results.insert(results.end(), sums.begin(), sums.end()); }

  void check(int status) {
    if (status != OK) std::printf("status %d\n", status), std::exit(1);
  }

  void series(const Case& k, int family, int degree, bool normalised) {
    const std::vector<char> x = tensor(k), g = tensor(k);
    const std::vector<float> coef = numbers(k.c * (degree + 1)), center = numbers(k.c, 0.1f), rscale(k.c, 0.9f);
    const float *mid = normalised ? center.data() : nullptr, *scale = normalised ? rscale.data() : nullptr;
    std::vector<char> y(x.size());
    check(slaf_series_forward(x.data(), y.data(), k.dtype, k.n, k.c, k.s, family, degree, coef.data(), mid, scale, k.threads));
    keep(k, y);
    std::vector<double> gcoef(coef.size()), gu(k.c), guu(k.c);
    check(slaf_series_backward(x.data(), g.data(), y.data(), k.dtype, k.n, k.c, k.s, family, degree, coef.data(), mid, scale, gcoef.data(),
                               gu.data(), guu.data(), k.threads));
    keep(k, y), keep(gcoef), keep(gu), keep(guu);
    check(slaf_series_backward(x.data(), g.data(), nullptr, k.dtype, k.n, k.c, k.s, family, degree, coef.data(), mid, scale, gcoef.data(),
                               nullptr, nullptr, k.threads));
    keep(gcoef);
    for (int degree_q : {degree ? 2 * degree - 1 : 0, 4}) {
      const std::vector<float> q = numbers(k.c * (degree_q + 1));
      check(slaf_series_backward_input(x.data(), g.data(), y.data(), k.dtype, k.n, k.c, k.s, family, degree, coef.data(), degree_q, q.data(),
                                       mid, scale, k.threads));
      keep(k, y);
    }
    const int count = 2 * degree + 1 < MAX_MOMENTS ? 2 * degree + 1 : MAX_MOMENTS;
    std::vector<double> t(k.c * count);
    check(slaf_moments(x.data(), k.dtype, k.n, k.c, k.s, family, count, mid, scale, t.data(), k.threads));
    keep(t);
  }

  void rational(const Case& k, int form, int m, int d, bool far) {
    std::vector<char> x = tensor(k), y(x.size());
    const std::vector<char> g = tensor(k);
    const int count = count_of(form, d);
    const std::vector<float> num = numbers(k.c * (m + 1)), den = numbers(k.c * count);
    if (far && k.dtype == 0) {
      const float big = 1e12f;
      memcpy(x.data() + x.size() - 4, &big, 4);
    }
    check(slaf_rational_forward(x.data(), y.data(), k.dtype, k.n, k.c, k.s, form, m, d, num.data(), count ? den.data() : nullptr, k.threads));
    keep(k, y);
    std::vector<double> gnum(num.size()), gden(den.size());
    check(slaf_rational_backward(x.data(), g.data(), y.data(), k.dtype, k.n, k.c, k.s, form, m, d, num.data(), count ? den.data() : nullptr,
                                 gnum.data(), gden.data(), k.threads));
    if (!far) keep(k, y), keep(gnum), keep(gden);
  }

  void pieces(const Case& k, int degree, int cells) {
    const std::vector<char> x = tensor(k), g = tensor(k);
    std::vector<char> y(x.size());
    const std::vector<float> table = numbers(k.c * (cells + 2) * (degree + 1)), center = numbers(k.c, 0.1f), rscale(k.c, 0.6f * (float)cells);
    std::vector<double> sums(table.size());
    check(slaf_pieces_forward(x.data(), y.data(), k.dtype, k.n, k.c, k.s, degree, cells, table.data(), center.data(), rscale.data(), k.threads));
    keep(k, y);
    check(slaf_pieces_backward(x.data(), g.data(), y.data(), k.dtype, k.n, k.c, k.s, degree, cells, table.data(), center.data(), rscale.data(),
                               sums.data(), k.threads));
    keep(k, y), keep(sums);
    check(slaf_pieces_backward(x.data(), g.data(), nullptr, k.dtype, k.n, k.c, k.s, degree, cells, table.data(), center.data(), rscale.data(),
                               sums.data(), k.threads));
    keep(sums);
  }

  // A matrix of two diagonals; sites in reverse order of memory, rows for one site and for all.
  void sites_pieces(const Case& k, int degree, int cells) {
    const std::vector<char> x = tensor(k), g = tensor(k);
    std::vector<char> y(x.size());
    const int numbers_of_site = (cells + 2) * (degree + 1), columns = cells + degree;
    std::vector<int32_t> starts(numbers_of_site + 1), index(2 * numbers_of_site);
    for (int p = 0; p < numbers_of_site; ++p) starts[p + 1] = 2 * p + 2, index[2 * p] = p % (columns + 1), index[2 * p + 1] = (p + 1) % (columns + 1);
    const std::vector<double> matrix(index.size(), 0.5);
    const std::vector<int64_t> position = backwards(k);
    const std::vector<float> center(k.c, 0.1f), rscale(k.c, 0.6f * (float)cells);
    for (int64_t rows : {int64_t(1), k.c}) {
      const std::vector<float> weight = numbers(rows * columns), bias = numbers(rows);
      std::vector<float> table(k.c * numbers_of_site), gweight(weight.size()), gbias(rows);
      check(slaf_sites_pieces_forward(x.data(), y.data(), k.dtype, k.n, k.c, k.s, degree, cells, rows, columns, 0.5, position.data(),
                                      weight.data(), bias.data(), starts.data(), index.data(), matrix.data(), center.data(), rscale.data(),
                                      table.data(), k.threads));
      keep(k, y);
      check(slaf_sites_pieces_backward(x.data(), g.data(), y.data(), k.dtype, k.n, k.c, k.s, degree, cells, rows, columns, 0.5,
                                       position.data(), gweight.data(), gbias.data(), starts.data(), index.data(), matrix.data(),
                                       center.data(), rscale.data(), table.data(), k.threads));
      keep(k, y), keep({gweight.begin(), gweight.end()}), keep({gbias.begin(), gbias.end()});
    }
  }

  void hinges(const Case& k, int count) {
    const std::vector<char> x = tensor(k), g = tensor(k);
    std::vector<char> y(x.size());
    std::vector<float> parameters = numbers(k.c * (4 + 2 * count));
    std::vector<double> sums(parameters.size());
    check(slaf_hinges_forward(x.data(), y.data(), k.dtype, k.n, k.c, k.s, count, parameters.data(), k.threads));
    keep(k, y);
    check(slaf_hinges_backward(x.data(), g.data(), y.data(), k.dtype, k.n, k.c, k.s, count, parameters.data(), sums.data(), k.threads));
    keep(k, y), keep(sums);
    const std::vector<float> lines = numbers(k.c), slopes = numbers(k.c * count), place = numbers(1), places = numbers(count);
    std::vector<float> table(parameters.size()), glines(k.c), gslopes(k.c * count), gplace(1), gplaces(count);
    check(slaf_strided_hinges_forward(x.data(), y.data(), k.dtype, k.n, k.c, k.s, count, place.data(), 0, lines.data(), 1, nullptr, 0,
                                      nullptr, 0, slopes.data(), 1, k.c, places.data(), 0, 1, table.data(), k.threads));
    keep(k, y);
    check(slaf_strided_hinges_backward(x.data(), g.data(), y.data(), k.dtype, k.n, k.c, k.s, count, gplace.data(), 0, glines.data(), 1,
                                       nullptr, 0, nullptr, 0, gslopes.data(), 1, k.c, gplaces.data(), 0, 1, table.data(), k.threads));
    keep(k, y);
    for (const std::vector<float>& t : {glines, gslopes, gplace, gplaces}) keep({t.begin(), t.end()});
  }

  void folded(const Case& k, int kind, int degree, int slots) {
    const std::vector<char> x = tensor(k), g = tensor(k);
    std::vector<char> y(x.size());
    const int64_t count = 3;
    const int buckets = kind ? 0 : 64;
    std::vector<float> breaks = numbers(slots), index(k.c), forms;
    std::sort(breaks.begin(), breaks.end());
    std::vector<int32_t> first(buckets);
    const float start = -1.0f, step = buckets / 2.0f;
    int steps = 0, most = 0;
    for (int b = 0; b < buckets; ++b) {
      const auto before = [&](int bucket) {
        return (int)std::count_if(breaks.begin() + 1, breaks.end(), [&](float v) { return std::min((v - start) * step, buckets - 1.0f) < (float)bucket; });
      };
      first[b] = before(b), most = std::max(most, (b + 1 < buckets ? before(b + 1) : slots - 1) - first[b]);
    }
    while (1 << steps <= most) ++steps;
    for (int64_t i = 0; i < count; ++i) {
      const float head[] = {-0.9f, 0.8f, 0.5f, 0.0f, kind == 2 ? 3.0f : kind ? 0.1f : start, kind == 2 ? 0.01f : kind ? 0.9f : step, 0.0f, 0.0f};
      forms.insert(forms.end(), head, head + 8);
      if (kind == 0) {
        if (slots <= MAX_FOLDED_TREE)  // in the order of the leaves below: the k-th of a level of l is at (2(k - l) + 1)·slots/2l
          for (int n = 0, l = 1; n < slots; ++n) l = n >= 2 * l ? 2 * l : l, forms.push_back(n ? breaks[(2 * (n - l) + 1) * (slots / (2 * l))] : 0.0f);
        const size_t at = forms.size();
        forms.resize(at + buckets);
        memcpy(&forms[at], first.data(), 4 * first.size());
        forms.insert(forms.end(), breaks.begin() + 1, breaks.end());
        forms.resize(forms.size() + 1 + ((size_t)1 << steps), INFINITY);
      }
      const std::vector<float> rest = numbers(kind == 0 ? (size_t)slots * (2 * degree + 2) : kind == 1 ? 2 * degree + 1 : 256);
      forms.insert(forms.end(), rest.begin(), rest.end());
    }
    for (int64_t i = 0; i < k.c; ++i) index[i] = (float)(i % count);
    for (const char* by : {(const char*)nullptr, g.data()}) {
      check(slaf_folded(x.data(), by, y.data(), k.dtype, k.n, k.c, k.s, kind, degree, slots, buckets, steps, count, (int64_t)forms.size() / count,
                        forms.data(), index.data(), k.threads));
      keep(k, y);
    }
  }

  // The same numbers as (n, c, s) and, if ``last``, as (n, s, c).
  void norm_act(const Case& k, bool last, int64_t groups) {
    const std::vector<char> x = tensor(k), g = tensor(k);
    std::vector<char> y(x.size());
    const std::vector<float> weight = numbers(k.c), v = numbers(k.c), bias = numbers(k.c);
    std::vector<double> stats(2 * k.n * groups), sums(3 * k.n * k.c), spread(2 * k.n * k.c), more(5 * k.n * k.c);
    check(slaf_gate_norm_forward(x.data(), y.data(), k.dtype, k.n, k.c, k.s, last, groups, 0, 0.1, weight.data(), v.data(), bias.data(),
                                 stats.data(), k.threads));
    keep(k, y), keep(stats);
    check(slaf_gate_norm_backward(x.data(), g.data(), y.data(), k.dtype, k.n, k.c, k.s, last, groups, 0, weight.data(), v.data(),
                                  stats.data(), sums.data(), k.threads));
    keep(k, y), keep(sums);
    check(slaf_gate_norm_backward(x.data(), g.data(), nullptr, k.dtype, k.n, k.c, k.s, last, groups, 1, nullptr, nullptr, stats.data(),
                                  sums.data(), k.threads));
    keep(sums);
    check(slaf_sample_spreads(x.data(), k.dtype, k.n, k.c, k.s, last, spread.data(), k.threads));
    keep(spread);
    for (int step = 0; step < 3; ++step) {
      std::vector<float> rows = numbers(QUOTIENT_WIDTH[step] * k.n * k.c);
      for (int64_t i = 0; i < k.n * k.c; ++i) rows[i * QUOTIENT_WIDTH[step]] = 2.0f;
      check(slaf_quotient_norm(step, x.data(), step ? g.data() : nullptr, step == 1 ? nullptr : y.data(), k.dtype, k.n, k.c, k.s, last,
                               rows.data(), step == 1 ? more.data() : nullptr, k.threads));
      if (step == 1) keep(more);
      else keep(k, y);
    }
  }

  void bumps(const Case& k, int terms) {
    const std::vector<char> x = tensor(k), g = tensor(k);
    std::vector<char> y(x.size());
    const std::vector<float> coef = numbers(k.c * (terms + 1)), center = numbers(k.c, 0.1f), rscale(k.c, 0.9f), line = numbers(2 * k.c);
    const double spacing = 2.0 / terms;
    check(slaf_bumps_forward(x.data(), y.data(), k.dtype, k.n, k.c, k.s, terms, spacing, 1.0, coef.data(), center.data(), rscale.data(),
                             k.threads));
    keep(k, y);
    std::vector<double> gcoef(coef.size()), slopes(2 * k.c);
    check(slaf_bumps_backward(x.data(), g.data(), y.data(), k.dtype, k.n, k.c, k.s, terms, spacing, 1.0, coef.data(), nullptr, nullptr,
                              gcoef.data(), slopes.data(), k.threads));
    keep(k, y), keep(gcoef), keep(slopes);
    check(slaf_bumps_backward(x.data(), g.data(), nullptr, k.dtype, k.n, k.c, k.s, terms, spacing, 1.0, coef.data(), center.data(),
                              rscale.data(), gcoef.data(), slopes.data(), k.threads));
    keep(gcoef);
    check(slaf_bumps_input(x.data(), g.data(), y.data(), k.dtype, k.n, k.c, k.s, terms, spacing, 1.0, coef.data(), center.data(),
                           rscale.data(), line.data(), k.threads));
    keep(k, y);
    const std::vector<float> weight = numbers(k.c * terms), bias = numbers(k.c);
    std::vector<float> table(coef.size()), gweight(weight.size()), gbias(k.c);
    check(slaf_sites_bumps_forward(x.data(), y.data(), k.dtype, k.n, k.c, k.s, terms, spacing, 1.0, k.c, 0.5, nullptr, weight.data(),
                                   bias.data(), center.data(), rscale.data(), table.data(), k.threads));
    keep(k, y);
    check(slaf_sites_bumps_backward(x.data(), g.data(), y.data(), k.dtype, k.n, k.c, k.s, terms, spacing, 1.0, k.c, 0.5, nullptr,
                                    gweight.data(), gbias.data(), center.data(), rscale.data(), table.data(), k.threads));
    keep(k, y), keep({gweight.begin(), gweight.end()}), keep({gbias.begin(), gbias.end()});
  }

  // Sites in reverse order of memory, as far as there is one row for each.
  std::vector<int64_t> backwards(const Case& k) {
    std::vector<int64_t> out(k.c);
    for (int64_t i = 0; i < k.c; ++i) out[i] = k.c - 1 - i;
    return out;
  }

  void sites(const Case& k, int family, int degree, int64_t rows) {
    const std::vector<char> x = tensor(k), g = tensor(k);
    const std::vector<int64_t> position = backwards(k);
    const int64_t* at = rows > 1 ? position.data() : nullptr;
    std::vector<char> y(x.size());
    const std::vector<float> weight = numbers(rows * degree), bias = numbers(rows), center = numbers(k.c, 0.1f), rscale(k.c, 0.9f);
    std::vector<float> table(k.c * (degree + 3)), gweight(weight.size()), gbias(rows), mean(k.c), var(k.c, 0.33f);
    check(slaf_sites_series_forward(x.data(), y.data(), k.dtype, k.n, k.c, k.s, family, degree, rows, 0.5, at, weight.data(), bias.data(),
                                    center.data(), rscale.data(), table.data(), k.threads));
    keep(k, y);
    check(slaf_sites_series_backward(x.data(), g.data(), y.data(), k.dtype, k.n, k.c, k.s, family, degree, rows, 0.5, at, gweight.data(),
                                     gbias.data(), table.data(), k.threads));
    keep(k, y), keep({gweight.begin(), gweight.end()}), keep({gbias.begin(), gbias.end()});
    std::vector<double> state(4 * k.c);
    int64_t batches = 0;
    const int status = slaf_standardise(x.data(), y.data(), k.dtype, k.n, k.c, k.s, family, degree, rows, 0.5, at, weight.data(),
                                        bias.data(), mean.data(), var.data(), &batches, 0.1, 1, degree % 2, 1e-5, 1.0 / 3, table.data(),
                                        state.data(), k.threads);
    if (status == INACCURATE && batches == 0) return;  // few elements a site
    check(status), keep(k, y);
    check(slaf_standardised_backward(x.data(), g.data(), y.data(), k.dtype, k.n, k.c, k.s, family, degree, rows, 0.5, at, gweight.data(),
                                     gbias.data(), table.data(), state.data(), k.threads));
    keep(k, y), keep({gweight.begin(), gweight.end()}), keep({mean.begin(), mean.end()}), keep({var.begin(), var.end()});
  }

  // By moments about the batch's own place, so that few elements a site are not refused.
  void terms(const Case& k, int family, int degree, int64_t rows, bool map) {
    const std::vector<char> x = tensor(k), g = tensor(k);
    const std::vector<int64_t> position = backwards(k);
    const int64_t* at = rows > 1 ? position.data() : nullptr;
    std::vector<char> y(x.size());
    const std::vector<float> weight = numbers(rows * degree), bias = numbers(rows);
    std::vector<float> table(k.c * (degree + 3)), gweight(weight.size()), gbias(rows), mean(k.c * degree), var(k.c * degree, 0.5f);
    std::vector<float> input_mean(k.c), input_var(k.c, 0.33f);
    std::vector<double> about(2 * k.c), state(k.c * (3 * degree + 6));
    for (int64_t i = 0; i < k.c; ++i) about[2 * i + 1] = 0.6;
    int64_t batches = 0, input_batches = 3;
    const auto normalise = [&](const double* by) {
      return slaf_normalise(x.data(), y.data(), k.dtype, k.n, k.c, k.s, family, degree, rows, 0.5, at, weight.data(), bias.data(), mean.data(),
                            var.data(), &batches, 0.1, map ? input_mean.data() : nullptr, map ? input_var.data() : nullptr,
                            map ? &input_batches : nullptr, 1e-5, degree % 2, 1.0 / 3, 0.1, 1, by, table.data(), state.data(), k.threads);
    };
    if (const int status = normalise(nullptr); status != INACCURATE || batches != 0) check(status);
    check(normalise(about.data()));
    keep(k, y), keep({mean.begin(), mean.end()}), keep({input_var.begin(), input_var.end()});
    for (void* gx : {static_cast<void*>(y.data()), static_cast<void*>(nullptr)}) {
      check(slaf_normalised_backward(x.data(), g.data(), gx, k.dtype, k.n, k.c, k.s, family, degree, rows, 0.5, at, gweight.data(), gbias.data(),
                                     0.1, map, table.data(), state.data(), k.threads));
      if (gx) keep(k, y);
      keep({gweight.begin(), gweight.end()}), keep({gbias.begin(), gbias.end()});
    }
  }

  void sites_rational(const Case& k, int form, int m, int d, int64_t rows) {
    const std::vector<char> x = tensor(k), g = tensor(k);
    const std::vector<int64_t> position = backwards(k);
    std::vector<char> y(x.size());
    const int count = count_of(form, d);
    const std::vector<float> num = numbers(m + 1), den = numbers(rows * count);
    std::vector<float> table(k.c * (m + 1 + count)), gnum(num.size()), gden(den.size());
    check(slaf_sites_rational_forward(x.data(), y.data(), k.dtype, k.n, k.c, k.s, form, m, d, 1, rows, position.data(), num.data(),
                                      den.data(), table.data(), k.threads));
    keep(k, y);
    check(slaf_sites_rational_backward(x.data(), g.data(), y.data(), k.dtype, k.n, k.c, k.s, form, m, d, 1, rows, position.data(),
                                       gnum.data(), gden.data(), table.data(), k.threads));
    keep(k, y), keep({gnum.begin(), gnum.end()}), keep({gden.begin(), gden.end()});
  }
};

// Rows and columns that go past the caches have the bits of those that do not.
int past(int64_t n, int64_t c, int64_t s) {
  struct alignas(64) Line {
    float v[16];
  };
  const int64_t size = n * c * s;
  std::vector<Line> x(size / 16), y(x.size()), z(x.size());
  for (int64_t i = 0; i < size; ++i) x[i / 16].v[i % 16] = (float)(i % 37) / 20 - 0.9f;
  const std::vector<float> coef(6 * c, 0.3f);
  std::vector<double> sums(coef.size());
  auto run = [&](std::vector<Line>& to, bool backward) {
    return backward ? slaf_series_backward(x.data(), x.data(), to.data(), 0, n, c, s, 0, 5, coef.data(), nullptr, nullptr, sums.data(), nullptr,
                                           nullptr, 2)
                    : slaf_series_forward(x.data(), to.data(), 0, n, c, s, 0, 5, coef.data(), nullptr, nullptr, 2);
  };
  int failures = 0;
  for (bool backward : {false, true}) {
    Run().check(run(y, backward));
    const int64_t before = slaf_go_past_from(0);
    Run().check(run(z, backward));
    slaf_go_past_from(before);
    failures += memcmp(y.data(), z.data(), 4 * size) != 0;
  }
  if (failures) std::printf("past the caches: other bits for (%lld, %lld, %lld)\n", (long long)n, (long long)c, (long long)s);
  return failures;
}

std::vector<double> everything(const Case& k) {
  Run run;
  for (int family : {0, 1})
    for (int degree : {0, 1, 2, 5, 9, 10, 15}) run.series(k, family, degree, degree % 2);
  for (int form = 0; form < 4; ++form) run.rational(k, form, 5, 4, false), run.rational(k, form, 3, 2, true), run.rational(k, form, 10, 10, false), run.rational(k, form, 2, 0, false);
  for (int degree : {1, 2, 3, 5}) run.pieces(k, degree, 1), run.pieces(k, degree, 17), run.pieces(k, degree, 40);
  run.pieces(k, 1, 32), run.pieces(k, 3, 16);
  for (int degree : {1, 3}) run.sites_pieces(k, degree, 17);
  for (int count : {0, 3, 64}) run.hinges(k, count);
  for (int slots : {16, 32, 64, 128, 200})
    for (int degree : {1, 2, 3, 6}) run.folded(k, 0, degree, slots);
  run.folded(k, 1, 1, 0), run.folded(k, 1, 24, 0), run.folded(k, 2, 0, 0);
  for (bool last : {false, true}) run.norm_act(k, last, 1), run.norm_act(k, last, k.c);
  for (int terms : {1, 5, 8, 11, 18}) run.bumps(k, terms);
  for (int64_t rows : {(int64_t)1, k.c})
    for (int family : {0, 1}) run.terms(k, family, 3, rows, false), run.terms(k, family, 4, rows, true), run.terms(k, family, 15, rows, rows == 1);
  for (int64_t rows : {(int64_t)1, k.c})
    for (int family : {0, 1}) run.sites(k, family, 3, rows), run.sites(k, family, 4, rows), run.sites_rational(k, 2 * family, 5, 4, rows);
  return run.results;
}

int compare(const char* name, const Case& k, const std::vector<double>& got, const std::vector<double>& want) {
  const double tolerance = k.dtype ? 0.05 : 2e-3;  // a sanity check; tests/kernels/test_native.py is the exact one
  for (size_t i = 0; i < want.size(); ++i)
    if (!(std::fabs(got[i] - want[i]) <= tolerance * (1 + std::fabs(want[i])))) {
      std::printf("%s: dtype %d shape (%lld, %lld, %lld) result %zu: %g, portable %g\n", name, k.dtype, (long long)k.n, (long long)k.c,
                  (long long)k.s, i, got[i], want[i]);
      return 1;
    }
  return 0;
}

}  // namespace

// With an argument: only the cases that take several threads.
int main(int count, char**) {
  const Case cases[] = {{0, 1, 1, 1, 1},  {0, 3, 5, 7, 1},   {0, 9, 2, 1, 1},     {0, 37, 17, 1, 2}, {0, 2, 3, 33, 1},   {0, 1, 300, 1, 1},
                        {0, 2, 3, 2077, 1}, {0, 5, 1, 40, 1}, {1, 3, 3, 41, 1},   {1, 33, 19, 1, 1}, {2, 2, 2, 1031, 1}, {2, 7, 10, 3, 1},
                        {0, 260, 600, 1, 3}, {0, 2, 2, 70001, 2}, {0, 40, 18, 1000, 3}, {1, 9, 66, 600, 2}};
  int failures = 0;
  for (const Case& k : cases) {
    if (count > 1 && k.threads == 1) continue;
    chosen.store(portable_kernels());
    const std::vector<double> want = everything(k);
    if (avx512_kernels())  // 16 lanes, for the instructions this build was given
      chosen.store(avx512_kernels()), failures += compare("16 lanes", k, everything(k), want);
    if (find("avx2")) chosen.store(find("avx2")), failures += compare("avx2", k, everything(k), want);
  }
  for (const Kernels* set : {portable_kernels(), find("avx2"), avx512_kernels()})
    if (set) chosen.store(set), failures += past(3, 5, 1040) + past(150, 48, 1) + past(70, 80, 16);
  std::printf(failures ? "%d failures\n" : "clean\n", failures);
  return failures != 0;
}
