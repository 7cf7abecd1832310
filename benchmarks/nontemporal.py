"""When non-temporal stores pay: past the caches, by size, over ordinary stores; then with readers of what was written.

python benchmarks/nontemporal.py                needs a C compiler (cc) on x86-64, and slaf's kernels; some minutes
python benchmarks/nontemporal.py --threads 2    the second table with two threads, by wall time

An ordinary store to a line that is not in the cache reads it first; a non-temporal one does not, and leaves the line out of the cache. So
it saves over a quarter of the traffic where the result would not have stayed in the cache anyway, and costs a read from memory where it
would. The first table is the stores alone: y ← x, gx ← x·g. The second is a step of slaf's kernels, forward and backward, for a SLAF of
degree 5. A column with readers adds what follows in a network: passes that read what was written.
"""

from __future__ import annotations

import argparse
import ctypes
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

import slaf
from _speed.allocator import start_warm
from slaf.kernels import native

CODE = r"""
#include <stddef.h>
#include <xmmintrin.h>
#define LOOP(NAME, STORE) \
void NAME(const float *x, const float *g, float *y, float *gx, size_t n) { \
    for (size_t i = 0; i < n; i += 4) STORE(y + i, _mm_load_ps(x + i)); \
    for (size_t i = 0; i < n; i += 4) STORE(gx + i, _mm_mul_ps(_mm_load_ps(x + i), _mm_load_ps(g + i))); \
    _mm_sfence(); \
}
LOOP(ordinary, _mm_store_ps)
LOOP(past, _mm_stream_ps)
float reader(const float *y, size_t n) {
    __m128 a = _mm_setzero_ps(), b = a, c = a, d = a;
    for (size_t i = 0; i < n; i += 16) {
        a = _mm_add_ps(a, _mm_load_ps(y + i)); b = _mm_add_ps(b, _mm_load_ps(y + i + 4));
        c = _mm_add_ps(c, _mm_load_ps(y + i + 8)); d = _mm_add_ps(d, _mm_load_ps(y + i + 12));
    }
    return _mm_cvtss_f32(_mm_add_ps(_mm_add_ps(a, b), _mm_add_ps(c, d)));
}
"""


def library() -> ctypes.CDLL:
    """The loops, compiled."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise SystemExit("this needs a C compiler: none of cc, gcc, clang is there")
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "loops.c", Path(folder) / "loops.so"
        source.write_text(CODE)
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", str(source), "-o", str(out)], check=True)
        loaded = ctypes.CDLL(str(out))
    for name in ("ordinary", "past"):
        getattr(loaded, name).argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_size_t]
    loaded.reader.argtypes, loaded.reader.restype = [ctypes.c_void_p, ctypes.c_size_t], ctypes.c_float
    return loaded


def ratio(
    own: Callable[[], object], other: Callable[[], object], rounds: int, repeats: int, clock: Callable[[], float] = time.process_time
) -> float:
    """The median ratio of paired times."""

    def seconds(step: Callable[[], object]) -> float:
        step()
        start = clock()
        for _ in range(repeats):
            step()
        return clock() - start

    return statistics.median(seconds(own) / seconds(other) for _ in range(rounds))


def stores(quick: bool) -> None:
    """The first table."""
    loops = library()
    print(f"{'MiB a tensor':>12} {'MiB in all':>10} {'non-temporal':>13} {'with a reader':>14}   (× ordinary stores)")
    for mib in (0.25, 0.5) if quick else (0.25, 1, 2, 4, 8, 16, 32, 64):
        count = int(mib * 2**18)
        x, g, y, gx = tensors = [torch.randn(count) for _ in range(4)]
        assert all(t.data_ptr() % 64 == 0 for t in tensors)
        pointers = [t.data_ptr() for t in tensors]

        def step(name: str, read: bool, given: list[int] = pointers, n: int = count) -> None:
            getattr(loops, name)(*given, n)
            if read:
                loops.reader(given[2], n)

        rounds, repeats = (2, 1) if quick else (21, max(1, int(16 / mib)))
        found = [ratio(lambda r=r: step("past", r), lambda r=r: step("ordinary", r), rounds, repeats) for r in (False, True)]
        assert torch.equal(y, x)
        assert torch.equal(gx, x * g)
        print(f"{mib:12g} {4 * mib:10g} {found[0]:13.2f} {found[1]:14.2f}", flush=True)


def kernels(quick: bool, clock: Callable[[], float]) -> None:
    """The second table."""
    print(f"\n{'MiB a tensor':>12} {'dense':>10} {'with readers':>13} {'convolutional':>14} {'with readers':>13}   (× ordinary stores)")
    for mib in (0.25, 0.5) if quick else (2, 8, 16, 32, 64):
        found = []
        for shape in ((int(mib * 256), 1024), (int(mib * 4), 64, 32, 32)):
            act = slaf.make("slaf(basis=power, degree=5, share=channel, normalize=none, input=identity)", num_channels=shape[1])
            x, g = torch.randn(shape).requires_grad_(), torch.randn(shape)
            wanted = [x, *act.parameters()]

            def step(read: bool, least: int, act: nn.Module = act, x: Tensor = x, g: Tensor = g, wanted: list[Tensor] = wanted) -> None:
                with native.past_caches_from(least):
                    y = act(x)
                    if read:
                        y.detach().sum()
                    gx = torch.autograd.grad(y, wanted, g)[0]
                    if read:
                        gx.sum()

            rounds, repeats = (2, 1) if quick else (21, max(1, int(32 / mib)))
            found += [
                ratio(lambda r=r, s=step: s(r, 0), lambda r=r, s=step: s(r, native.NEVER), rounds, repeats, clock) for r in (False, True)
            ]
        print(f"{mib:12g} {found[0]:10.2f} {found[1]:13.2f} {found[2]:14.2f} {found[3]:13.2f}", flush=True)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, two rounds: no time means anything")
    parser.add_argument("--threads", type=int, default=1, help="of slaf's kernels (default: 1)")
    given = parser.parse_args()
    if not given.quick:
        start_warm()
    torch.set_num_threads(1)
    stores(given.quick)
    if not native.available():
        raise SystemExit(f"slaf's kernels are not there: {native.reason()}")
    torch.set_num_threads(given.threads)
    kernels(given.quick, time.process_time if given.threads == 1 else time.perf_counter)
    return 0


if __name__ == "__main__":
    sys.exit(main())
