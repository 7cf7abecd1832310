// A series whose terms are standardised by the statistics of a training batch, see fold.hpp: one call forward, one backward.
// Every pass is over the whole tensor, as it lies in memory: a few channels at a time would be near when they are read again, but took up
// to twice as long, whatever the tensor's size, for hardware prefetches along memory.
#include <atomic>

#include "batch.hpp"
#include "fold.hpp"
#include "pool.hpp"
#include "series_pass.hpp"
#include "sites.hpp"

namespace slaf {
namespace {

constexpr int64_t TOGETHER = 64;      // sites that are folded by one thread

// A tensor, and of g and the output what there is.
struct Tensors {
  const void *x, *g;
  void* out;
  Extent extent;
  int64_t c() const { return extent.c; }
  double share() const { return (double)(extent.n * extent.s); }
};

// step(first, last) for runs of sites.
template <class F>
void by_sites(const Tensors& of, F step) {
  parallel((of.c() + TOGETHER - 1) / TOGETHER, of.extent.threads, of.extent.threads, [&](int64_t i) {
    const int64_t first = i * TOGETHER;
    step(first, std::min(of.c(), first + TOGETHER));
  });
}

// What backward needs of a site, after its 2·degree moments and its degree weights.
struct Home {
  double middle, scale, center, rscale, by_center, by_rscale;
};

struct State {
  double* at;
  int degree;
  int64_t width() const { return 3 * degree + sizeof(Home) / sizeof(double); }
  double* t(int64_t k) const { return at + k * width(); }
  double* a(int64_t k) const { return t(k) + 2 * degree; }
  Home& home(int64_t k) const { return *reinterpret_cast<Home*>(a(k) + degree); }

  // The sites k …, the last of which stands in for those beyond it. map: the terms are of (x - center)·rscale, not of x.
  void load(int64_t k, int64_t last, bool map, TermFold& f) const {
    f.t[0] = vd{} + 1.0;
    for (int i = 0; i < SITES; ++i) {
      const int64_t site = std::min(k + i, last - 1);
      for (int j = 0; j < 2 * degree; ++j) f.t[j + 1][i] = t(site)[j];
      for (int j = 0; j < degree; ++j) f.a[j + 1][i] = a(site)[j];
      const Home& h = home(site);
      f.alpha[i] = map ? h.rscale / h.scale : 1 / h.scale, f.beta[i] = map ? (h.middle - h.center) * h.rscale : h.middle;
    }
  }
};

// Running statistics by site: (c, columns) each, and how many batches were counted.
struct Kept {
  float *mean, *var;
  int64_t* batches;
  double eps;
  float weight;  // of the batch that is counted
};

struct Settings {
  int family, degree;
  double unit;
  bool renorm;
};

// The new running statistics, kept apart until every site has been found accurate.
struct Next {
  std::vector<float> mean, var;
  int64_t columns;
  Next(int64_t c, int64_t columns) : mean(c * columns), var(c * columns), columns(columns) {}
  void count(const Kept& kept, int64_t site, int64_t j, double m, double v) {
    const int64_t i = site * columns + j;
    mean[i] = moved(kept.mean[i], (float)m, kept.weight), var[i] = moved(kept.var[i], (float)v, kept.weight);
  }
  void keep(const Kept& kept) const {
    if (mean.empty()) return;
    std::copy(mean.begin(), mean.end(), kept.mean), std::copy(var.begin(), var.end(), kept.var);
    *kept.batches += 1;
  }
};

struct Normalising {
  const Kernels& set;
  const Settings& settings;
  const Kept &inputs, &terms;
  const std::vector<int64_t>& site_of;  // empty: in order
  const Rows& rows;
  const float *weight, *bias;
  const double* about;
  float* table;
  State state;
  Next &next_inputs, &next_terms;

  float* middle() const { return table + rows.c * rows.width; }
  float* scale() const { return middle() + rows.c; }
  int64_t site(int64_t k) const { return site_of.empty() ? k : site_of[k]; }
  bool map() const { return inputs.mean != nullptr; }

  // Where the moments are taken.
  void home(int64_t k) const {
    const int64_t i = site(k);
    double center, std;
    if (about) {
      center = about[2 * i], std = about[2 * i + 1];
    } else if (map()) {
      center = inputs.mean[i], std = std::sqrt(inputs.var[i] + inputs.eps);
    } else {
      center = terms.mean[i * settings.degree], std = std::sqrt((double)terms.var[i * settings.degree]);
      if (!(std > 1e-6 * std::fabs(center) + 1e-30)) std = 1;
    }
    middle()[k] = (float)center, scale()[k] = (float)(settings.unit / std);
  }

  void measure(const Tensors& of) const {
    const int count = 2 * settings.degree;
    const std::vector<double> sums = run_moments(set, of.extent, of.x, settings.family, count, middle(), scale());
    for (int64_t k = 0; k < of.c(); ++k)
      for (int j = 0; j < count; ++j) state.t(k)[j] = sums[k * count + j] / of.share();
  }

  // What the terms are of: the input standardised by the new statistics, or as it is.
  void standardise(int64_t k) const {
    const double *t = state.t(k), spread = second_moment(settings.family, t[1]) - t[0] * t[0];
    const double m = middle()[k], s = scale()[k], mean = m + t[0] / s, var = spread / (s * s);
    const int64_t i = site(k);
    next_inputs.count(inputs, i, 0, mean, std::max(var, 0.0));
    const InputMap by(mean, var, settings.renorm, next_inputs.mean[i], next_inputs.var[i], inputs.eps, settings.unit);
    state.home(k) = {m, s, by.center, by.rscale, by.by_center, by.by_rscale};
  }

  // Takes the moments again, where the terms are series of one coefficient.
  void measure_terms(const Tensors& of) const {
    for (int64_t k = 0; k < of.c(); ++k) {
      Home& h = state.home(k);
      h.middle = middle()[k] = map() ? (float)h.center : 0.0f, h.scale = scale()[k] = map() ? (float)h.rscale : 1.0f;
    }
    measure(of);
  }

  // Whether no coefficients of the terms cancelled.
  bool fold(int64_t first, int64_t last) const {
    const int degree = settings.degree;
    bool exact = true;
    const int64_t run = rows.c / rows.rows;
    TermFold f;
    f.family = {settings.family}, f.degree = degree, f.eps = terms.eps;
    for (int64_t k = first; k < last; k += SITES) {
      const int64_t some = std::min<int64_t>(SITES, last - k);
      for (int64_t i = k; i < k + some; ++i) {
        const float* w = weight + site(i) / run * degree;
        for (int j = 0; j < degree; ++j) state.a(i)[j] = rows.factor * w[j];
      }
      state.load(k, last, map(), f);
      f.run();
      exact = exact && !f.cancels();
      vd b = {};
      for (int64_t i = 0; i < some; ++i) b[i] = rows.factor * bias[site(k + i) / run];
      b = f.constant(b);
      for (int64_t i = 0; i < some; ++i) {
        float* to = table + (k + i) * (degree + 1);
        to[0] = (float)b[i];
        for (int j = 1; j <= degree; ++j) {
          to[j] = (float)f.linear[j][i];
          next_terms.count(terms, site(k + i), j - 1, f.mean[j][i], f.var(j)[i]);
        }
      }
    }
    return exact;
  }

  bool fold(const Tensors& of) const {
    std::atomic<bool> exact{true};
    by_sites(of, [&](int64_t first, int64_t last) {
      if (!fold(first, last)) exact = false;
    });
    return exact;
  }

  // Whether the moments held their digits.
  bool operator()(const Tensors& of) const {
    for (int64_t k = 0; k < of.c(); ++k) home(k);
    measure(of);
    for (int64_t k = 0; k < of.c(); ++k) {
      if (!about && !accurate(settings.family, state.t(k)[0], state.t(k)[1], settings.unit)) return false;
      if (map()) standardise(k);
      else state.home(k) = {middle()[k], scale()[k], 0, 0, 0, 0};
    }
    if (!fold(of)) measure_terms(of), fold(of);
    run_forward(set, of.extent, of.x, of.out, {settings.family, settings.degree, table, middle(), scale()});
    return true;
  }
};

struct Differentiating {
  const Kernels& set;
  const Settings& settings;
  bool map;
  double eps;
  const float* table;
  State state;
  double* gradients;  // (c, degree + 1): of bias and weight by site

  // From the sums of the sites to their gradients, and to q, (sites, 2·degree).
  void adjoint(int64_t first, int64_t last, double share, const double* sums, float* q) const {
    const int degree = settings.degree;
    TermFold f;
    f.family = {settings.family}, f.degree = degree, f.eps = eps;
    for (int64_t k = first; k < last; k += SITES) {
      state.load(k, last, map, f);
      f.run();
      const int64_t some = std::min<int64_t>(SITES, last - k);
      vd gc[MAX_DEGREE + 1] = {};
      for (int64_t i = 0; i < some; ++i)
        for (int j = 0; j <= degree; ++j) gc[j][i] = sums[(k - first + i) * (degree + 1) + j];
      TermAdjoint back(f, gc, map);
      for (int64_t i = 0; i < some; ++i) {
        double* to = gradients + (k + i) * (degree + 1);
        to[0] = gc[0][i];
        for (int j = 1; j <= degree; ++j) to[j] = back.ga[j][i];
        double gt[MAX_MOMENTS + 1];
        for (int j = 1; j <= 2 * degree; ++j) gt[j] = back.gt[j][i];
        if (map) through_map(k + i, back.galpha[i], back.gbeta[i], gt);
        if (q) slope(gt, 2 * degree, state.home(k + i).scale / share, q + (k - first + i) * 2 * degree);
      }
    }
  }

  void through_map(int64_t k, double galpha, double gbeta, double* gt) const {
    const Home& h = state.home(k);
    const double gcenter = -gbeta * h.rscale, grscale = galpha / h.scale + gbeta * (h.middle - h.center);
    const double gvar = (gcenter * h.by_center + grscale * h.by_rscale) / (h.scale * h.scale);
    gt[1] += gcenter / h.scale - 2 * state.t(k)[0] * gvar;
    gt[2] += gvar / (settings.family ? 2 : 1);
  }

  // The derivative of Σ gt_j φ_j in the family.
  void slope(const double* gt, int count, double scale, float* q) const {
    double d[MAX_MOMENTS + 3] = {};
    for (int j = count; j >= 1; --j) d[j - 1] = settings.family ? d[j + 1] + 2 * j * gt[j] : j * gt[j];
    if (settings.family) d[0] *= 0.5;
    for (int j = 0; j < count; ++j) q[j] = (float)(d[j] * scale);
  }

  void operator()(const Tensors& of) const {
    const int degree = settings.degree;
    const float *middle = table + of.c() * (degree + 1), *scale = middle + of.c();
    const Series series{settings.family, degree, table, middle, scale};
    const std::vector<double> sums = run_backward(set, of.extent, of.x, of.g, nullptr, series);
    std::vector<float> q(of.out ? of.c() * 2 * degree : 0);
    by_sites(of, [&](int64_t first, int64_t last) {
      adjoint(first, last, of.share(), &sums[first * (degree + 1)], q.empty() ? nullptr : &q[first * 2 * degree]);
    });
    if (!q.empty()) run_input(set, of.extent, of.x, of.g, of.out, series, 2 * degree - 1, q.data());
  }
};

std::vector<int64_t> inverse(const int64_t* position, int64_t c) {
  std::vector<int64_t> out(position ? c : 0);
  for (int64_t site = 0; site < (int64_t)out.size(); ++site) out[position[site]] = site;
  return out;
}

bool good_terms(int family, int degree) { return (family == 0 || family == 1) && degree >= 1 && degree <= MAX_DEGREE; }

}  // namespace
}  // namespace slaf

using namespace slaf;

// Counts the batch in the running statistics of the terms, mean and var (c, degree), and, where there are any, of the input, (c); fills y,
// table, c·(degree + 3) floats, and state, c·(3·degree + 6) doubles. eps: NaN for a floor relative to a term's second moment.
// about: (c, 2), mean and standard deviation to take the moments by; null: the running ones, and then it may return 3, and has changed
// nothing but y, table and state, because they are too far from the batch's.
SLAF_ENTRY(normalise, const void* x, void* y, int dtype, int64_t n, int64_t c, int64_t s, int family, int degree, int64_t rows,
           double factor, const int64_t* position, const float* weight, const float* bias, float* mean, float* var, int64_t* batches,
           double eps, float* input_mean, float* input_var, int64_t* input_batches, double input_eps, int renorm, double unit,
           double momentum, int warm_up, const double* about, float* table, double* state, int threads) {
  const Rows r = part(rows, degree, c, degree + 1, 1, position, factor);
  const bool map = input_mean != nullptr;
  if (!good_shape(x, dtype, n, c, s, threads) || !r.good() || !good_terms(family, degree) || !y || !weight || !bias || !mean || !var ||
      !batches || (map && (!input_var || !input_batches)) || !table || !state)
    return BAD_ARGUMENT;
  return guarded([&](const Kernels& set) {
    const auto weight_of = [&](const int64_t* b) { return b ? newest(*b + 1, momentum, warm_up) : 0.0f; };
    const Kept inputs{input_mean, input_var, input_batches, input_eps, weight_of(input_batches)};
    const Kept terms{mean, var, batches, eps, weight_of(batches)};
    const Settings settings{family, degree, unit, renorm != 0};
    const std::vector<int64_t> site_of = inverse(position, c);
    Next next_inputs(map ? c : 0, 1), next_terms(c, degree);
    const Normalising run{set, settings, inputs, terms, site_of, r, weight, bias, about, table, {state, degree}, next_inputs, next_terms};
    if (!run(Tensors{x, nullptr, y, {dtype, n, c, s, threads}})) return INACCURATE;
    next_inputs.keep(inputs), next_terms.keep(terms);
    return OK;
  });
}

// map: whether there were statistics of the input. gx may be null.
SLAF_ENTRY(normalised_backward, const void* x, const void* g, void* gx, int dtype, int64_t n, int64_t c, int64_t s, int family, int degree,
           int64_t rows, double factor, const int64_t* position, float* gweight, float* gbias, double eps, int map, const float* table,
           const double* state, int threads) {
  const Rows b = part(rows, 1, c, degree + 1, 0, position, factor), w = part(rows, degree, c, degree + 1, 1, position, factor);
  if (!good_shape(x, dtype, n, c, s, threads) || !g || !b.good() || !good_terms(family, degree) || !gweight || !gbias || !table || !state)
    return BAD_ARGUMENT;
  return guarded([&](const Kernels& set) {
    std::vector<double> gradients(c * (degree + 1));
    const Settings settings{family, degree, 1.0, false};
    const Differentiating run{set, settings, map != 0, eps, table, {const_cast<double*>(state), degree}, gradients.data()};
    run(Tensors{x, g, gx, {dtype, n, c, s, threads}});
    b.from_sums(gradients.data(), gbias), w.from_sums(gradients.data(), gweight);
    return OK;
  });
}
