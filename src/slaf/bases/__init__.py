"""The bases φ_k of the learnable families, one small file each: data that a family needs, no parameters, no modules.

Imports core and kernels alone.
"""

from .base import Basis, bases, basis, register_basis

__all__ = ["Basis", "bases", "basis", "register_basis"]
