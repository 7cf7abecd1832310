"""Compiles every Triton kernel on the CUDA device at hand, compares it with its definition in float64, and times it.

    python benchmarks/gpu.py [--json FILE] [--only NAME] [--quick]

Times are medians of forward + backward with all coefficient gradients, the L2 cache flushed between runs. "floor" is what the bytes that
any such activation must move (x → y, then x, g → gx) take at the bandwidth of a copy measured here: 1.00 is the limit. Without a GPU,
``TRITON_INTERPRET=1 python benchmarks/gpu.py --interpreter`` makes the comparisons alone, on small tensors.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import slaf
from slaf.kernels import gpu, use

SHAPES = {
    "4D": ((32, 64, 32, 32), False),
    "4D, large": ((128, 256, 56, 56), False),
    "channels-last": ((32, 64, 32, 32), True),
    "channels-last, large": ((128, 256, 56, 56), True),
    "7×7 rows": ((256, 512, 7, 7), False),
    "2D": ((8192, 1024), False),
    "2D, large": ((131072, 1024), False),
}
SMALL = {"4D": ((2, 2, 5, 7), False), "channels-last": ((2, 2, 3, 5), True), "2D": ((5, 40), False)}
FAMILIES = {
    **{f"polynomial {k}": f"slaf(basis=power, degree={k}, share=channel, input=identity)" for k in (3, 5, 9)},
    "chebyshev 5": "slaf(basis=chebyshev, degree=5, share=channel, input=identity)",
    "normalised 5": "slaf(basis=power, degree=5, share=channel, normalize=batch)",
    **{f"rational 5/4 {form}": f"rational(5, 4, denominator={form})" for form in ("even", "per_term", "joint", "square")},
    "PReLU, ours": "prelu",
    "APL 5": "apl(hinges=5)",
    "piecewise linear 32": "piecewise_linear(knots=32)",
    "cubic spline 16": "spline(knots=14)",
    "B-spline terms 16": "slaf(basis=bspline, terms=16, share=channel, input=identity)",
    "Gaussians 8": "slaf(basis=rbf, terms=8, share=channel, input=identity)",
    "Gaussians 8, batch": "slaf(basis=rbf, terms=8, share=channel)",
    **{f"EvoNorm {kind}": f"evonorm_{kind.lower()}" for kind in ("B0", "B1", "B2", "S0", "S1", "S2")},
    "PolyNorm": "polynorm",
}
ONLY = {"EvoNorm": 4, "PolyNorm": 2}
"""Names that begin so are for inputs of so many dimensions."""
BUILTINS: dict[str, Callable[[int], nn.Module]] = {
    "ReLU": lambda _: nn.ReLU(),
    "GELU": lambda _: nn.GELU(),
    "PReLU": nn.PReLU,
    "BatchNorm + ReLU": lambda c: nn.Sequential(nn.BatchNorm2d(c), nn.ReLU()),
}
PASSES = 5
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2}


def inputs_of(shape: tuple[int, ...], channels_last: bool, dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor]:
    """x and the gradient of y, multiples of 1/256: so none is so near to a knot that rounding decides on which side it lies."""
    torch.manual_seed(0)
    memory = torch.channels_last if channels_last else torch.contiguous_format
    steps = (torch.randn(shape, device=device).clamp(-3, 3).mul_(256).round_().div_(256) for _ in range(2))
    x, g = (t.to(dtype).contiguous(memory_format=memory) for t in steps)
    return x.requires_grad_(), g


def made(name: str, channels: int, device: str) -> nn.Module:
    """The activation, with coefficients of which none is special."""
    torch.manual_seed(1)
    act = slaf.make(FAMILIES[name], **({} if name == "PolyNorm" else {"num_channels": channels}))
    with torch.no_grad():
        for p in act.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return act.to(device)


def both(act: nn.Module, x: Tensor, g: Tensor) -> tuple[Tensor, ...]:
    y = act(x)
    return y.detach(), *torch.autograd.grad(y, [x, *act.parameters()], g)


def suits(name: str, shape: tuple[int, ...]) -> bool:
    return ONLY.get(name.split()[0], len(shape)) == len(shape)


def error(got: Tensor, exact: Tensor) -> float:
    """Relative to the largest value; infinite if they are not finite in the same places."""
    if not torch.equal(got.isfinite(), exact.isfinite()):
        return float("inf")
    return float((got.double() - exact).abs().nan_to_num(0).max() / exact.abs().max().clamp(min=1e-30))


def compared(act: nn.Module, x: Tensor, g: Tensor, mode: str) -> dict[str, Any]:
    """Errors of y and all gradients against the definition in float64, whether a second run has the same bits, and which kernels ran."""
    called: list[str] = []
    function = gpu.function
    twins = [copy.deepcopy(act) for _ in range(2)]

    def watched(name: str) -> Any:
        called.append(name)
        return function(name)

    gpu.function = watched  # type: ignore[assignment]
    try:
        start = time.perf_counter()
        with use(mode):
            found, again = (both(twin, x, g) for twin in twins)
        seconds = time.perf_counter() - start
    finally:
        gpu.function = function
    with use("reference"):
        exact = both(copy.deepcopy(act).double(), x.detach().double().requires_grad_(), g.double())
    return {
        "errors": [error(a, b) for a, b in zip(found, exact, strict=True)],
        "same bits": all(torch.equal(a, b) for a, b in zip(found, again, strict=True)),
        "kernels": sorted(set(called)),
        "first seconds": seconds,
    }


def is_right(result: dict[str, Any], dtype: torch.dtype) -> bool:
    """Also that no part of it was the definition's."""
    kinds = {"forward", "backward"} <= {k.rsplit("_", 1)[-1] for k in result["kernels"]} or "quotient_norm" in result["kernels"]
    return max(result["errors"]) < TOLERANCE[dtype] and result["same bits"] and kinds


def milliseconds(run: Callable[[], Any], quick: bool) -> float:
    from triton.testing import do_bench

    return float(do_bench(run, warmup=5 if quick else 25, rep=20 if quick else 200, return_mode="median"))


def timed(x: Tensor, g: Tensor, modules: dict[str, nn.Module], quick: bool) -> dict[str, float | str]:
    """Milliseconds of forward + backward; the error's text where one does not run."""
    out: dict[str, float | str] = {}
    for name, module in modules.items():
        try:
            out[name] = milliseconds(lambda module=module: both(module, x, g), quick)
        except Exception as e:  # one that does not compile must not end the table
            out[name] = f"{type(e).__name__}: {e}".splitlines()[0]
    return out


def rivals(x: Tensor, device: str) -> dict[str, nn.Module]:
    made = {name: make(x.shape[1]).to(device) for name, make in BUILTINS.items() if x.dim() == 4 or name != "BatchNorm + ReLU"}
    return {name: module.to(x.dtype) if name == "PReLU" else module for name, module in made.items()}


def one_shape(label: str, shape: tuple[int, ...], channels_last: bool, dtype: torch.dtype, names: list[str], quick: bool) -> list[dict]:
    """The table's rows for one shape and dtype."""
    x, g = inputs_of(shape, channels_last, dtype, "cuda")
    size, spare = x.numel() * x.element_size(), torch.empty_like(x.detach())
    copied = milliseconds(lambda: spare.copy_(x.detach()), quick)
    floor = PASSES / 2 * copied
    rows = [{"name": "copy", "ms": copied, "GB/s": 2 * size / copied / 1e6}]
    rows += [{"name": n, "ms": ms} for n, ms in timed(x, g, rivals(x, "cuda"), quick).items()]
    for name in (n for n in names if suits(n, shape)):
        act = made(name, shape[1], "cuda")
        try:
            checked = compared(act, x, g, "native")
        except Exception as e:
            rows.append({"name": name, "ms": f"{type(e).__name__}: {e}".splitlines()[0], "right": False})
            continue
        torch._dynamo.reset()
        both_ways = {"own": act, "compiled": torch.compile(copy.deepcopy(act))}
        ms = timed(x, g, both_ways if not quick else {"own": act}, quick)
        rows.append({"name": name, "ms": ms["own"], "torch.compile": ms.get("compiled"), "right": is_right(checked, dtype), **checked})
    return [{"shape": label, "dtype": str(dtype).removeprefix("torch."), "floor": floor, **row} for row in rows]


def shown(row: dict) -> str:
    def number(value: Any) -> str:
        return f"{value:9.4f}" if isinstance(value, float) else f"{value or '':>9}"

    share = f"{row['floor'] / row['ms']:5.0%}" if isinstance(row["ms"], float) and row["name"] != "copy" else "     "
    verdict = "" if "right" not in row else "right" if row["right"] else f"WRONG {row.get('errors')} {row.get('kernels')}"
    return f"{row['name']:24}{number(row['ms'])} ms  of the floor {share}  compiled {number(row.get('torch.compile'))}  {verdict}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write all numbers here")
    parser.add_argument("--only", default="", help="families whose name contains this")
    parser.add_argument("--quick", action="store_true", help="short runs, no torch.compile, no large shapes")
    parser.add_argument("--interpreter", action="store_true", help="compare on the CPU, under Triton's interpreter")
    args = parser.parse_args()
    names = [n for n in FAMILIES if args.only in n]
    sys.exit(interpreted(names) if args.interpreter else measured(names, args.quick, args.json))


def interpreted(names: list[str]) -> str | None:
    if not gpu.interpreted():
        return "The interpreter needs triton and TRITON_INTERPRET=1 in the environment."
    wrong = []
    for name in names:
        for label, (shape, channels_last) in SMALL.items():
            if not suits(name, shape):
                continue
            x, g = inputs_of(shape, channels_last, torch.float32, "cpu")
            result = compared(made(name, shape[1], "cpu"), x, g, "triton")
            wrong += [] if is_right(result, torch.float32) else [f"{name}, {label}"]
            print(f"{name:24}{label:16}{max(result['errors']):.1e}  {', '.join(result['kernels'])}")
    return f"wrong: {'; '.join(wrong)}" if wrong else None


def measured(names: list[str], quick: bool, target: Path | None) -> str | None:
    if not torch.cuda.is_available():
        return "There is no CUDA device here; with --interpreter the kernels are compared on the CPU."
    if why := gpu.reason(torch.device("cuda", torch.cuda.current_device())):
        return f"The kernels do not run on this device: {why}."
    about = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "slaf": slaf.__version__, "cuda": gpu.describe()}
    print("  ".join(about.values()))
    rows: list[dict] = []
    for label, (shape, channels_last) in SHAPES.items():
        if quick and "large" in label:
            continue
        for dtype in TOLERANCE:
            if torch.cuda.mem_get_info()[0] < 20 * 8 * torch.Size(shape).numel():  # the comparison in float64 takes most of it
                print(f"\n{label}: not enough memory on the device")
                continue
            found = one_shape(label, shape, channels_last, dtype, names, quick)
            print(f"\n{label} {shape}, {dtype}, floor {found[0]['floor']:.4f} ms, copy {found[0]['GB/s']:.0f} GB/s")
            print("\n".join(map(shown, found)), flush=True)
            rows += found
            if target is not None:  # after every table: a run that is cut off leaves what it had
                target.write_text(json.dumps({"about": about, "rows": rows}, indent=1))
    wrong = [f"{r['name']} ({r['shape']}, {r['dtype']})" for r in rows if r.get("right") is False]
    return f"wrong: {'; '.join(wrong)}" if wrong else None


if __name__ == "__main__":
    main()
