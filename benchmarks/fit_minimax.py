"""Maximum-norm fits by exchange against one linear program on a dense grid: error and time.

    python benchmarks/fit_minimax.py [ACTIVATION ...]

The reference is scipy's HiGHS on all points of a uniform grid of 20,001; "bound" is what no coefficients can beat.
"""

import sys
import time

import numpy as np
import torch

from slaf.fit.linear_program import linear_program
from slaf.fit.minimax import minimax
from slaf.fit.piecewise import bspline_terms, piecewise_linear_terms, polynomial_terms
from slaf.fit.target import as_function, kinks_of

LOW, HIGH, POINTS = -4.0, 4.0, 20_001


def knots(n: int) -> torch.Tensor:
    return torch.linspace(LOW, HIGH, n, dtype=torch.float64)


FAMILIES = {
    "polynomial, degree 7": polynomial_terms(7, LOW, HIGH),
    "polynomial, degree 15": polynomial_terms(15, LOW, HIGH),
    "piecewise linear, 32 knots": piecewise_linear_terms(knots(32)),
    "cubic spline, 16 knots": bspline_terms(knots(16), 3),
}


def reference(target, terms) -> float:
    x = torch.linspace(LOW, HIGH, POINTS, dtype=torch.float64)
    design, y = terms(x).numpy(), target(x).numpy()
    one = np.ones((POINTS, 1))
    cost = np.r_[np.zeros(design.shape[1]), 1]
    rows = np.vstack([np.hstack([design, -one]), np.hstack([-design, -one])])
    return linear_program(cost, rows, np.r_[y, -y])[1]


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    print(f"{'activation':<12} {'family':<28} {'max error':>11} {'bound':>11} {'seconds':>8} {'full LP':>11} {'seconds':>8}")
    for name in names:
        for family, terms in FAMILIES.items():
            target = as_function(name)
            start = time.perf_counter()
            found = minimax(target, terms, (LOW, HIGH), kinks_of(name))
            ours = time.perf_counter()
            full = reference(target, terms)
            end = time.perf_counter()
            line = f"{name:<12} {family:<28} {found.max_error:>11.4e} {found.lower_bound:>11.4e} {ours - start:>8.3f}"
            print(f"{line} {full:>11.4e} {end - ours:>8.2f}")


if __name__ == "__main__":
    main(sys.argv[1:] or ["gelu", "silu", "tanh", "relu"])
