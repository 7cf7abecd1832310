"""CKKS through SEAL's own interface in TenSEAL: exact scales per level, late relinearisation, and objects as bytes in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from slaf.bases.paterson_stockmeyer import is_free
from slaf.core import SlafError
from slaf.core.extras import optional

from .parameters import Parameters

__all__ = ["Cipher", "Scheme", "from_bytes", "relinearised_if_used", "sealapi", "to_bytes"]

RELINEARISE_BEYOND = 40
"""Uses in one affine map from which three parts instead of two cost more than one relinearisation."""


def sealapi() -> Any:
    """SEAL as TenSEAL binds it."""
    return optional("tenseal.sealapi", "encrypted", "encrypted inference")


class Scheme:
    """Parameters made real: what client and server share, no key in it.

    At level l, with l rescalings left, every ciphertext has exactly the scale S_l: S_top = 2^scale_bits, S_{l-1} = S_l²/q_l, as after a
    product. Numbers are encoded at the scale that leads there, so no error comes from primes that are not powers of two (as in Kim,
    Papadimitriou, Polyakov, CT-RSA 2022; from memory). The primes are below 2^scale_bits, so S_l never falls below it.
    """

    def __init__(self, parameters: Parameters) -> None:
        s = sealapi()
        self.parameters = parameters
        given = s.EncryptionParameters(s.SCHEME_TYPE.CKKS)
        given.set_poly_modulus_degree(parameters.ring)
        moduli = s.CoeffModulus.Create(parameters.ring, list(parameters.bits))
        given.set_coeff_modulus(moduli)
        self.context = s.SEALContext(given, True, s.SEC_LEVEL_TYPE.TC128)
        if not self.context.parameters_set():
            raise SlafError(f"SEAL refuses {parameters}: {self.context.parameters_error_message()}")
        self.primes = [m.value() for m in moduli[:-1]]
        self.scales = [0.0] * parameters.levels + [2.0**parameters.scale_bits]
        for level in range(parameters.levels, 0, -1):
            self.scales[level - 1] = self.scales[level] ** 2 / self.primes[level]
        data, ids = self.context.first_context_data(), []
        while data is not None:
            ids.append(data.parms_id())
            data = data.next_context_data()
        self.ids = ids[::-1]
        self.encoder, self.evaluator = s.CKKSEncoder(self.context), s.Evaluator(self.context)
        self.Ciphertext, self.Plaintext = s.Ciphertext, s.Plaintext

    @property
    def top(self) -> int:
        return self.parameters.levels

    def number(self, value: float, level: int, scale: float) -> Any:
        """One number for all slots."""
        out = self.Plaintext()
        self.encoder.encode(float(value), self.ids[level], scale, out)
        return out

    def whole(self, value: int, level: int) -> Any:
        """A whole number at scale 1: a product with it needs no rescaling."""
        out = self.Plaintext()
        self.encoder.encode(int(value), self.ids[level], out)
        return out

    def slots(self, values: Any) -> Any:
        """A vector, one entry per image, at the top level."""
        out = self.Plaintext()
        self.encoder.encode(np.asarray(values, dtype=np.float64).tolist(), self.ids[-1], self.scales[-1], out)
        return out


class Evaluation:
    """A server at work: the scheme and the client's relinearisation keys."""

    def __init__(self, scheme: Scheme, relin_keys: Any) -> None:
        self.scheme, self.relin_keys = scheme, relin_keys


class _Total:
    """A running sum of ciphertexts at one level; the first one is not copied before something is added to it."""

    def __init__(self, scheme: Scheme) -> None:
        self.scheme, self.ct, self.owned = scheme, None, False

    def add(self, ct: Any, own: bool = True) -> None:
        if ct is None:
            return
        if self.ct is None:
            self.ct, self.owned = ct, own
        elif self.owned:
            self.scheme.evaluator.add_inplace(self.ct, ct)
        else:
            before, self.ct, self.owned = self.ct, self.scheme.Ciphertext(), True
            self.scheme.evaluator.add(before, ct, self.ct)

    def add_times(self, ct: Any, factor: int, level: int) -> None:
        """factor·ct, a whole factor."""
        if 1 <= factor <= 2:
            for _ in range(factor):
                self.add(ct, own=False)
        elif factor:
            out = self.scheme.Ciphertext()
            if factor == -1:
                self.scheme.evaluator.negate(ct, out)
            else:
                self.scheme.evaluator.multiply_plain(ct, self.scheme.whole(factor, level), out)
            self.add(out)

    def add_number(self, value: float, level: int) -> None:
        number, before = self.scheme.number(value, level, self.scheme.scales[level]), self.ct
        if self.owned:
            self.scheme.evaluator.add_plain_inplace(before, number)
        else:
            self.ct, self.owned = self.scheme.Ciphertext(), True
            self.scheme.evaluator.add_plain(before, number, self.ct)

    def rescale(self, level: int) -> None:
        """From ``level`` one down, to that level's exact scale."""
        if self.ct is not None:
            self.scheme.evaluator.rescale_to_next_inplace(self.ct)
            self.ct.scale = self.scheme.scales[level - 1]


class Cipher:
    """One ciphertext, a feature of all images; an element of a ring for evaluation plans.

    A product keeps its three parts until a further product, or an affine map with many uses, needs two: sums come first.
    """

    __slots__ = ("at", "ct", "level")

    def __init__(self, at: Evaluation, ct: Any, level: int) -> None:
        self.at, self.ct, self.level = at, ct, level

    def relinearised(self) -> Cipher:
        """With two parts; changed in place."""
        if self.ct.size() > 2:
            self.at.scheme.evaluator.relinearize_inplace(self.ct, self.at.relin_keys)
        return self

    def __mul__(self, other: Cipher) -> Cipher:
        scheme, level = self.at.scheme, min(self.level, other.level)
        a, b = self.relinearised().lowered(level), other.relinearised().lowered(level)
        total = _Total(scheme)
        total.add(scheme.Ciphertext())
        if self is other:
            scheme.evaluator.square(a.ct, total.ct)
        else:
            scheme.evaluator.multiply(a.ct, b.ct, total.ct)
        total.rescale(level)
        return Cipher(self.at, total.ct, level - 1)

    def lowered(self, level: int) -> Cipher:
        """At a lower level, with exactly the scale of that level."""
        if self.level == level:
            return self
        total = _Total(self.at.scheme)
        total.add(self.scaled(1.0, level))
        total.rescale(level + 1)
        return Cipher(self.at, total.ct, level)

    def scaled(self, factor: float, level: int) -> Any:
        """factor·self at level + 1, at the scale that a rescaling takes to that of ``level``; None where the factor rounds to 0."""
        scheme, above, ct = self.at.scheme, level + 1, self.ct
        scale = scheme.scales[above] ** 2 / scheme.scales[self.level]
        if abs(factor) * scale < 1:
            return None
        if self.level > above:
            ct = scheme.Ciphertext()
            scheme.evaluator.mod_switch_to(self.ct, scheme.ids[above], ct)
        out = scheme.Ciphertext()
        scheme.evaluator.multiply_plain(ct, scheme.number(factor, above, scale), out)
        return out

    @staticmethod
    def linear_combination(terms: list[tuple[Cipher, Any]], constant: Any) -> Any:
        """Σ factor·value + constant with one rescaling, or none where all factors are small whole numbers."""
        at = terms[0][0].at
        total = _Total(at.scheme)
        level = min(v.level - (not is_free(f)) for v, f in terms)
        for value, factor in terms:
            if value.level > level:
                total.add(value.scaled(float(factor), level))
        total.rescale(level + 1)
        for value, factor in terms:
            if value.level == level:
                total.add_times(value.ct, round(factor), level)
        if total.ct is None:
            return float(constant)
        if constant != 0:
            total.add_number(float(constant), level)
        return Cipher(at, total.ct, level)


def relinearised_if_used(value: Any, uses: int) -> None:
    """Before an affine map that reads ``value`` so often."""
    if uses > RELINEARISE_BEYOND and isinstance(value, Cipher):
        value.relinearised()


def to_bytes(thing: Any) -> bytes:
    """A key or ciphertext as SEAL writes it: SEAL only writes to files, so into one that is memory alone.

    Raises:
        SlafError: the system has no such files (they are Linux's).
    """
    with _memory_file() as descriptor:
        thing.save(f"/proc/self/fd/{descriptor}")
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def from_bytes(kind: str, data: bytes, scheme: Scheme) -> Any:
    """The ``kind`` of SEAL object that ``data`` holds, checked against the scheme's parameters.

    Raises:
        SlafError: it is something else.
    """
    thing = getattr(sealapi(), kind)()
    with _memory_file() as descriptor:
        os.write(descriptor, data)
        try:
            thing.load(scheme.context, f"/proc/self/fd/{descriptor}")
        except Exception as error:
            raise SlafError(f"these {len(data)} bytes hold no {kind} for {scheme.parameters}: {error}") from error
    return thing


@contextmanager
def _memory_file() -> Iterator[int]:
    if not hasattr(os, "memfd_create"):
        raise SlafError("keys and ciphertexts become bytes only on Linux: elsewhere SEAL would write them to the disk")
    descriptor = os.memfd_create("slaf")
    try:
        yield descriptor
    finally:
        os.close(descriptor)
