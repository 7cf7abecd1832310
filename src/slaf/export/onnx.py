"""ONNX: a graph of standard operators, compared with the model in ONNX Runtime."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from slaf.core import SlafError
from slaf.core.errors import blame
from slaf.core.exporting import quiet, session
from slaf.core.extras import optional
from slaf.core.writing import whole_file

from .capture import Captured, capture, compared
from .example import Example
from .exported import Difference, Exported

__all__ = ["export_onnx"]

LIMIT = 2**31 - 1
"""Bytes that a protobuf may have."""


def export_onnx(
    model: nn.Module | ExportedProgram,
    path: Path,
    example: Any = None,
    check: bool = True,
    *,
    opset: int | None = None,
    dynamic: str | None = "batch",
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
) -> Exported:
    """Write ``model``, in evaluation mode, as an ONNX file; see :func:`slaf.export.api.export`."""
    for package in ("onnx", "onnxscript"):
        optional(package, "export", "an export to ONNX")
    runtime = optional("onnxruntime", "export", "the check of an ONNX file") if check else None
    _check_opset(opset)
    captured = capture(model, example, dynamic)
    names = _names(captured, input_names, output_names)
    proto = _converted(captured, names, opset)
    operators, standard = _operators(proto)
    try:
        content = proto.SerializeToString()
    except ValueError:
        content = None
    if content is None or len(content) > LIMIT:
        raise SlafError("model has more than 2 GB, which one ONNX file cannot hold; export to .pt2 instead")
    found = _checked(runtime, content, captured) if check else None
    with whole_file(path) as temporary:
        temporary.write_bytes(content)
    return Exported(
        path=path,
        format="onnx",
        size=len(content),
        measured=found,
        opset=next(o.version for o in proto.opset_import if o.domain in STANDARD),
        operators=operators,
        standard_only=standard,
        inputs=tuple(i.name for i in proto.graph.input),
        outputs=tuple(o.name for o in proto.graph.output),
        dynamic=captured.dynamic,
    )


STANDARD = ("", "ai.onnx")


def _check_opset(opset: int | None) -> None:
    if opset is None:
        return
    import onnx

    most = onnx.defs.onnx_opset_version()
    if isinstance(opset, bool) or not isinstance(opset, int) or not 18 <= opset <= most:
        raise SlafError(f"opset must be an integer from 18 to {most}; got {opset!r}")


def _names(captured: Captured, inputs: Sequence[str] | None, outputs: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """Of the graph's inputs and outputs: given, or from the signature of ``forward`` and the structure of what it returns."""
    taken = [*captured.names]
    names = []
    returned = _natural_outputs(captured, inputs or taken)
    for argument, given, natural in (("input_names", inputs, taken), ("output_names", outputs, returned)):
        chosen = natural if given is None else [given] if isinstance(given, str) else [str(n) for n in given]
        if len(chosen) != len(natural) or len(set(chosen)) != len(chosen):
            raise SlafError(f"{argument} must be {len(natural)} different names; got {given!r}")
        names.append(chosen)
    if clash := set(names[0]) & set(names[1]):
        raise SlafError(f"an input and an output of the graph cannot both be called {min(clash)!r}")
    return names[0], names[1]


def _natural_outputs(captured: Captured, taken: Sequence[str]) -> list[str]:
    first = captured.inputs[0]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        returned = captured.model(*first.args, **first.kwargs)
    paths = [path for path, leaf in pytree.tree_flatten_with_path(returned)[0] if isinstance(leaf, Tensor)]
    out = []
    for path in paths:
        parts = [str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", "")))) for key in path]
        name = "_".join(parts if parts and not parts[0].isdigit() else ["output", *parts])
        out.append(f"{name}_out" if name in taken else name)
    return out


def _converted(captured: Captured, names: tuple[list[str], list[str]], opset: int | None) -> Any:
    """The optimised graph; a plainer one where the optimiser breaks it, as that of onnxscript 0.7 does to two clips of one tensor."""
    import onnx

    proto = _graph(captured, names, opset, optimize=True)
    try:
        onnx.checker.check_model(proto)
    except ValueError:  # 2 GB, which is told later
        pass
    except onnx.checker.ValidationError:
        from onnxscript import optimizer

        proto = _graph(captured, names, opset, optimize=False)
        with quiet():
            optimizer.inline(proto)
            optimizer.fold_constants(proto)
            optimizer.remove_unused_nodes(proto)
    if captured.dynamic:
        _name_batch(proto, captured)
    return proto


def _graph(captured: Captured, names: tuple[list[str], list[str]], opset: int | None, optimize: bool) -> Any:
    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                captured.program,
                dynamo=True,
                verbose=False,
                optimize=optimize,
                external_data=False,
                opset_version=opset,
                input_names=names[0],
                output_names=names[1],
            )
            assert program is not None
            return program.model_proto
    except Exception as error:
        raise SlafError(f"model cannot be written in ONNX: {blame(error)}") from error


def _name_batch(proto: Any, captured: Captured) -> None:
    """Call the free dimension ``batch`` wherever it stands."""
    first = captured.inputs[0]
    named = zip(proto.graph.input, first.tensors(), strict=False)
    found = {value.type.tensor_type.shape.dim[0].dim_param for value, tensor in named if first.is_batched(tensor)} - {""}
    if not found:
        return
    symbol = re.compile(rf"\b({'|'.join(map(re.escape, sorted(found)))})\b")
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = symbol.sub("batch", dim.dim_param)


def _nodes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _nodes(inner)


def _operators(proto: Any) -> tuple[dict[str, int], bool]:
    """How often each operator occurs, and whether all are standard ones."""
    nodes = [(n.domain, n.op_type) for n in _nodes(proto.graph)]
    counts = Counter(name if domain in STANDARD else f"{domain}.{name}" for domain, name in nodes)
    return dict(sorted(counts.items())), all(domain in STANDARD for domain, _ in nodes) and not proto.functions


def _checked(runtime: Any, content: bytes, captured: Captured) -> Difference:
    try:
        with quiet():
            running = session(runtime, content)
    except Exception as error:
        raise SlafError(f"ONNX Runtime cannot load the exported model: {blame(error)}") from error
    names = [i.name for i in running.get_inputs()]

    def run(example: Example) -> list[Tensor]:
        try:
            feeds = {name: t.contiguous().numpy() for name, t in zip(names, example.tensors(), strict=True)}
            return [torch.from_numpy(y) for y in running.run(None, feeds)]
        except Exception as error:
            raise SlafError(f"ONNX Runtime cannot run the exported model: {blame(error)}; check=False skips it") from error

    return compared(run, captured)
