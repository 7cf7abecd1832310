"""Powers: φ_k(u) = u^k, the Taylor basis of the SLAF paper (arXiv:1906.09529)."""

from slaf.kernels import Recurrence

from .base import Basis, register_basis

power = register_basis(Basis("power", Recurrence(a=(1.0,), b=(0.0,))))
