"""The client's side and what travels: keys, encrypted images, encrypted results."""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slaf.core import SlafError

from .ckks import Cipher, Evaluation, Scheme, from_bytes, sealapi, to_bytes
from .parameters import Parameters

__all__ = ["Encrypted", "Keys", "PublicKeys"]

Array = NDArray[Any]


@dataclass(frozen=True)
class PublicKeys:
    """What a server gets: the parameters, the public key (to encrypt) and the relinearisation keys (to multiply). It cannot decrypt."""

    scheme: Scheme
    public_key: Any
    relin_keys: Any

    def to_bytes(self) -> bytes:
        """In memory."""
        return _pack({"parameters": asdict(self.scheme.parameters)}, [to_bytes(self.public_key), to_bytes(self.relin_keys)])

    @classmethod
    def from_bytes(cls, data: bytes) -> PublicKeys:
        """What :meth:`to_bytes` gave.

        Raises:
            SlafError: it is something else.
        """
        head, (public, relin) = _unpack(data, "parameters", 2)
        p = head["parameters"]
        scheme = Scheme(Parameters(int(p["ring"]), tuple(int(b) for b in p["bits"]), int(p["scale_bits"])))
        return cls(scheme, from_bytes("PublicKey", public, scheme), from_bytes("RelinKeys", relin, scheme))

    def encryptor(self) -> Any:
        s = sealapi()
        return s.Encryptor(self.scheme.context, self.public_key).encrypt


class Keys:
    """A client's keys, the secret one among them, in memory only; :meth:`public` is what a server gets."""

    def __init__(self, parameters: Parameters) -> None:
        s = sealapi()
        self.scheme = Scheme(parameters)
        generator = s.KeyGenerator(self.scheme.context)
        self._secret = generator.secret_key()
        public, relin = s.PublicKey(), s.RelinKeys()
        generator.create_public_key(public)
        generator.create_relin_keys(relin)
        self._public = PublicKeys(self.scheme, public, relin)

    def public(self) -> PublicKeys:
        """Without the secret key."""
        return self._public

    def encryptor(self) -> Any:
        s = sealapi()
        return s.Encryptor(self.scheme.context, self._secret).encrypt_symmetric

    def decrypt(self, cipher: Any) -> Array:
        """All slots of one ciphertext: (N/2,)."""
        s, plain = sealapi(), self.scheme.Plaintext()
        s.Decryptor(self.scheme.context, self._secret).decrypt(cipher, plain)
        return np.asarray(self.scheme.encoder.decode_double(plain))

    def __reduce__(self) -> Any:
        raise SlafError("keys hold the secret key, which is not pickled; keys.public().to_bytes() is what a server gets")


@dataclass(frozen=True)
class Encrypted:
    """Images or results: one ciphertext per feature, image i in slot i; a number where a result does not depend on the image."""

    public: PublicKeys
    values: list[Cipher | float]
    images: int

    def to_bytes(self) -> bytes:
        """In memory."""
        numbers = [v if isinstance(v, float) else None for v in self.values]
        ciphers = [v for v in self.values if isinstance(v, Cipher)]
        return _pack({"images": self.images, "numbers": numbers, "levels": [c.level for c in ciphers]}, [to_bytes(c.ct) for c in ciphers])

    @classmethod
    def from_bytes(cls, data: bytes, public: PublicKeys) -> Encrypted:
        """What :meth:`to_bytes` gave, under the keys that it was made with.

        Raises:
            SlafError: it is something else.
        """
        head, blobs = _unpack(data, "numbers")
        at = Evaluation(public.scheme, public.relin_keys)
        ciphers = iter([_cipher(at, blob, level) for blob, level in zip(blobs, head["levels"], strict=True)])
        return cls(public, [next(ciphers) if n is None else float(n) for n in head["numbers"]], int(head["images"]))


def _cipher(at: Evaluation, blob: bytes, level: int) -> Cipher:
    ct = from_bytes("Ciphertext", blob, at.scheme)
    if not 0 <= level <= at.scheme.top or ct.parms_id() != at.scheme.ids[level] or ct.scale != at.scheme.scales[level]:
        raise SlafError("a ciphertext has another level or scale than these keys' parameters give it")
    return Cipher(at, ct, level)


_MAGIC = b"slaf-ckks-1"


def _pack(head: dict[str, Any], blobs: list[bytes]) -> bytes:
    parts = [json.dumps(head).encode(), *blobs]
    return _MAGIC + b"".join(struct.pack("<Q", len(part)) + part for part in parts)


def _unpack(data: bytes, key: str, count: int | None = None) -> tuple[dict[str, Any], list[bytes]]:
    parts, at = [], len(_MAGIC)
    wrong = SlafError(f"these {len(data)} bytes are not what to_bytes() made here")
    if data[:at] != _MAGIC:
        raise wrong
    while at < len(data):
        size = int.from_bytes(data[at : at + 8], "little")
        if at + 8 + size > len(data):
            raise wrong
        parts.append(data[at + 8 : at + 8 + size])
        at += 8 + size
    try:
        head = json.loads(parts[0])
    except (ValueError, IndexError):
        raise wrong from None
    if not isinstance(head, dict) or key not in head or count not in (None, len(parts) - 1):
        raise wrong
    return head, parts[1:]
