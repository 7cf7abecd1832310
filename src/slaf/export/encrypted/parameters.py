"""CKKS parameters from the depth: the ring, the moduli, and the security that they have."""

from __future__ import annotations

from dataclasses import dataclass

from slaf.core import SlafError

__all__ = ["MAX_BITS", "Parameters", "choose"]

MAX_BITS = {4096: 109, 8192: 218, 16384: 438, 32768: 881}
"""log2 of the largest modulus, by ring degree N, at 128-bit classical security with ternary secrets: the HomomorphicEncryption.org
standard (Albrecht et al., 2018), which SEAL enforces."""
LARGEST_PRIME = 60
SPARE_BITS = 4


@dataclass(frozen=True)
class Parameters:
    """Ring degree N, and the bits of the moduli: the last one left, one for each level, the special one of key switching."""

    ring: int
    bits: tuple[int, ...]
    scale_bits: int

    @property
    def levels(self) -> int:
        return len(self.bits) - 2

    @property
    def slots(self) -> int:
        """Images in one ciphertext."""
        return self.ring // 2

    @property
    def security_bits(self) -> int:
        return 128

    def __str__(self) -> str:
        chain = f"[{self.bits[0]}, {self.scale_bits} × {self.levels}, {self.bits[-1]}]"
        total = f"{sum(self.bits)} of at most {MAX_BITS[self.ring]} bits"
        return f"N = {self.ring}, moduli {chain} = {total}, scale 2^{self.scale_bits}, {self.security_bits}-bit security"


def choose(levels: int, largest: float, ring: int | None = None, scale_bits: int = 40) -> Parameters:
    """The smallest ring that carries ``levels``, with room for results up to ``largest`` in magnitude.

    Raises:
        SlafError: no ring, or not the one that was asked for, carries that depth at that scale.
    """
    if not isinstance(scale_bits, int) or not 30 <= scale_bits <= 50:
        raise SlafError(f"scale_bits must be a whole number from 30 to 50; got {scale_bits!r}")
    if ring is not None and ring not in MAX_BITS:
        raise SlafError(f"ring must be one of {', '.join(map(str, MAX_BITS))}; got {ring!r}")
    whole = max(1, int(max(largest, 1.0)).bit_length()) + 1  # and the sign
    least = scale_bits + whole + SPARE_BITS
    if least > LARGEST_PRIME:
        raise SlafError(f"results of magnitude {largest:.3g} do not fit a modulus of {LARGEST_PRIME} bits at scale 2^{scale_bits}")
    for n, most in MAX_BITS.items():
        outer = min(LARGEST_PRIME, (most - levels * scale_bits) // 2)
        if outer >= least and ring in (None, n):
            return Parameters(n, (outer, *[scale_bits] * levels, outer), scale_bits)
    carried = {n: (most - 2 * least) // scale_bits for n, most in MAX_BITS.items()}
    needs = f"the network needs {levels} levels at scale 2^{scale_bits}"
    fits = next((n for n, some in carried.items() if some >= levels), None)
    if fits is None:
        raise SlafError(f"{needs}; the largest ring, N={max(carried)}, carries {carried[max(carried)]}: fewer or lower polynomials")
    raise SlafError(f"{needs}; ring={ring} carries {max(carried[ring or fits], 0)}, and {fits} is the smallest that can")
