"""Chebyshev polynomials of the first kind: φ_k(u) = cos(k arccos u), bounded by 1 on [-1, 1]."""

from slaf.kernels import Recurrence

from .base import Basis, register_basis

chebyshev = register_basis(Basis("chebyshev", Recurrence(a=(1.0, 2.0), b=(0.0, 1.0))))
