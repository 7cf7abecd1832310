// The statistics of a training batch and what becomes of them: running ones, and the map that standardises the input.
#pragma once
#include <stdint.h>

#include <algorithm>
#include <cmath>

namespace slaf {
namespace {

// Moments hold their digits where the batch's mean lies within FAR of its variance from where they were taken, and that variance between
// SMALL and LARGE of the unit; or where the channel is constant and lies there.
constexpr double FAR = 1.0, SMALL = 0.04, LARGE = 6.0, CONSTANT = 1e-12;

// The mean of u² from that of φ_2.
inline double second_moment(int family, double phi) { return family == 0 ? phi : (phi + 1) / 2; }

// first, phi: the means of φ_1 and φ_2. unit: u over the standardised input.
inline bool accurate(int family, double first, double phi, double unit) {
  const double second = second_moment(family, phi), square = first * first, spread = second - square, unit2 = unit * unit;
  const bool near = square <= FAR * spread && spread >= SMALL * unit2 && spread <= LARGE * unit2;
  return near || second <= CONSTANT * unit2;
}

// As Tensor.lerp_.
inline float moved(float from, float to, float weight) {
  return weight < 0.5f ? from + weight * (to - from) : to - (to - from) * (1 - weight);
}

// The weight of the batch that is counted as the ``batches``-th.
inline float newest(int64_t batches, double momentum, bool warm_up) {
  return warm_up ? std::max(1.0f / (float)batches, (float)momentum) : (float)momentum;
}

// u = (x - center)·rscale, by the running statistics, which the batch has been counted in, under renormalisation, else by the batch's.
struct InputMap {
  double center, rscale, offset;  // offset: center - mean
  double by_center, by_rscale;    // d/dvar = by_center·gcenter + by_rscale·grscale; d/dmean = gcenter

  // var: of the batch as it comes, below 0 by rounding.
  InputMap(double mean, double var, bool renorm, float running_mean, float running_var, double eps, double unit) {
    const double std = std::sqrt(std::max(var, 0.0) + eps), half = var >= 0 ? 0.5 / std : 0.0;
    const double own = renorm ? std::sqrt(running_var + eps) : std;
    center = renorm ? running_mean : mean, rscale = unit / own, offset = center - mean;
    by_center = renorm ? offset / std * half : 0.0, by_rscale = -unit / (own * std) * half;
  }
};

}  // namespace
}  // namespace slaf
