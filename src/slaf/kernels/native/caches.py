"""How large the processor's last-level cache is, and from where on an output had better go past it."""

from __future__ import annotations

from pathlib import Path

__all__ = ["last_level", "outputs_past"]

SMALLEST = 8 << 20
"""Bytes of the smallest output that was seen to gain, see ``benchmarks/nontemporal.py``."""


def last_level(caches: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> int | None:
    """Bytes of the highest level that Linux tells of; ``None`` where it tells of none above the second, which is a core's own."""
    found: dict[int, int] = {}
    for cache in caches.glob("index*"):
        try:
            level, size = int((cache / "level").read_text()), (cache / "size").read_text().strip()
        except (OSError, ValueError):
            continue
        if level > 2 and size.endswith("K") and size[:-1].isdecimal():
            found[level] = 1024 * int(size[:-1])
    return found[max(found)] if found else None


def outputs_past(cache: int | None) -> int | None:
    """From how many bytes on: where x, y and their gradients, a step's four tensors, fill the cache."""
    return None if not cache else max(SMALLEST, cache // 4)
