"""Networks of polynomials on encrypted inputs, with CKKS from TenSEAL. Imports surgery and below, TenSEAL only when keys are made.

The package can be called: ``slaf.export.encrypted(…)`` is :func:`slaf.export.encrypted.program.encrypted`.
"""

from slaf.core.rooms import make_callable

from .client import Encrypted, Keys, PublicKeys
from .parameters import Parameters
from .program import Program, encrypted

__all__ = ["Encrypted", "Keys", "Parameters", "Program", "PublicKeys", "encrypted"]

make_callable(__name__, encrypted)
