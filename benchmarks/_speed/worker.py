"""One process of a table: ``python -m _speed.worker '{"table": "4d", …}'`` prints its rows as a JSON array, last on standard output."""

from __future__ import annotations

import copy
import json
import sys
import time
from typing import Any

import torch
from torch import Tensor

from .cases import FLOORS, PEERS, TABLES, Table, build, titles
from .measure import Contender, compare, contender, floor, interval, kernels_alone, relative_error, saved_bytes

__all__ = ["measured"]


def measured(table: str, process: int, threads: int, quick: bool, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """The rows of one process of a table, with one thread by processor time, with more by wall time."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    made = next(t for t in TABLES if t.name == table)
    return _Room(made, quick).rows(process, rounds, seconds, time.process_time if threads == 1 else time.perf_counter)


class _Room:
    """The tensors of a table and the contenders that share them."""

    def __init__(self, table: Table, quick: bool) -> None:
        self.table = table
        self.shape = table.small if quick else table.shape
        self.calls = 2 if quick and table.calls > 1 else table.calls
        self.tensors = {dtype: self._pair(dtype) for dtype in ([torch.float32, torch.bfloat16] if table.bfloat16 else [torch.float32])}
        self.dtype = torch.bfloat16 if table.bfloat16 else torch.float32
        base = contender("relu", build("relu", 1, len(self.shape)), *self.tensors[self.dtype], self.calls)
        self.bases = {"relu": base} | {n: self._contender(n)[0] for n in table.against if n != "relu"}
        self.relu_saves = saved_bytes(build("relu", 1, len(self.shape)), self.tensors[self.dtype][0])

    def _pair(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        x, weight = torch.randn(self.shape), torch.randn(self.shape)
        if self.table.channels_last:
            x, weight = (t.contiguous(memory_format=torch.channels_last) for t in (x, weight))
        return x.to(dtype).requires_grad_(), weight.to(dtype)

    def _contender(self, name: str) -> tuple[Contender, dict[str, Any]]:
        """With what is known without timing it."""
        x, weight = self.tensors[self.dtype]
        if name in FLOORS:
            return floor(name, x, weight, self.calls, name == "floor_allocating"), {}
        module = build(name, self.shape[1], len(self.shape)).train()
        single = contender(name, copy.deepcopy(module), *self.tensors[torch.float32], self.calls) if self.table.bfloat16 else None
        if self.dtype != torch.float32:  # rational-activations cannot do .to(dtype)
            module = module.to(self.dtype)
        found = contender(name, module, x, weight, self.calls)
        found.step()  # some modules make their tables at the first call
        if self.table.overhead and (kernels := kernels_alone(found)) is not None:
            found.against["kernels"] = kernels
        about: dict[str, Any] = {"parameters": sum(p.numel() for p in module.parameters()), "saved_bytes": saved_bytes(module, x)}
        if single is not None:
            found.against["float32"] = single
            about["relative_error"] = relative_error(module, x.detach())
        return found, about

    def rows(self, process: int, rounds: int, seconds: float, clock: Any) -> list[dict[str, Any]]:
        names = self.table.processes[process].rows
        made: dict[str, tuple[Contender, dict[str, Any]]] = {name: self._contender(name) for name in names}
        for found, _ in made.values():
            found.against |= {name: self.bases[name] for name in self.table.against}
        if "prelu" in made and "prelu_torch" in made:
            made["prelu"][0].against["prelu_torch"] = made["prelu_torch"][0]
        compare([found for found, _ in made.values()], clock, rounds, seconds)
        rows = [self._row(*pair, self.table.processes[process].allocator) for pair in made.values()]
        gelu = next((row.get("relative_error") for row in rows if row["name"] == "gelu"), None)
        return [row | ({"error": row["relative_error"] / gelu} if gelu and "relative_error" in row else {}) for row in rows]

    def _row(self, found: Contender, about: dict[str, Any], allocator: str) -> dict[str, Any]:
        row: dict[str, Any] = {"name": found.name, "title": titles(found.name), "allocator": allocator}
        if found.name in PEERS:
            row["title"] = f"{PEERS[found.name].package} {PEERS[found.name].installed()}: {PEERS[found.name].title}"
        row["milliseconds"] = [1e3 * v for v in interval([s["own"] for s in found.samples])]
        row["ratio"] = {key: interval([s["own"] / s[key] for s in found.samples]) for key in found.against if key != "kernels"}
        if self.table.overhead:
            row["ratio"]["overhead"] = interval([(s["own"] - s.get("kernels", 0)) / s["relu"] for s in found.samples])
        if "saved_bytes" in about:
            row["saved"] = about["saved_bytes"] / self.relu_saves
        return row | about | {"samples": len(found.samples)}


if __name__ == "__main__":
    print(json.dumps(measured(**json.loads(sys.argv[1]))))
