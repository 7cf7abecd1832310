"""Calls of an ``fx.GraphModule`` (also of ``torch.export.export(...).module()``) are changed in its graph: its source is generated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import fx

from slaf.core import SlafError

from .places import Place

__all__ = ["reroute", "restore"]

_META = "_slaf_graph_routes"  # by submodule, what its nodes were before, in the order of the graph
_Record = dict[str, Any]


def reroute(owner: fx.GraphModule, routes: Mapping[Place, str]) -> None:
    """Make the nodes of the places calls of submodules."""
    nodes = {node.name: node for node in owner.graph.nodes}
    planned: dict[fx.Node, tuple[Place, str]] = {}
    for place, name in routes.items():
        node = nodes.get(place.steps[0].node)
        if node is None:
            raise SlafError(f"{place.text!r} cannot be rerouted: the graph has no node {place.steps[0].node!r}")
        _input(node, place)
        planned[node] = (place, name)
    records = _records(owner)
    for node, (place, name) in planned.items():
        taken = _input(node, place)  # not what it was, if an earlier node changed that in place
        if node not in records:
            records[node] = _record(node, taken)
            if _changes_input(node):
                _forward_uses(node, taken)
        node.op, node.target, node.args, node.kwargs = "call_module", name, (taken,), {}
    _store(owner, records)


def restore(owner: fx.GraphModule) -> None:
    """Make the nodes what they were."""
    for node, record in _records(owner).items():
        taken = node.args[0]
        node.op, node.target = record["op"], record["target"]
        node.args = tuple(taken if i == record["position"] else a for i, a in enumerate(record["args"]))
        node.kwargs = {k: taken if k == record["position"] else v for k, v in record["kwargs"].items()}
    _store(owner, {})


def _input(node: fx.Node, place: Place) -> fx.Node:
    taken = node.args[0] if node.args else node.kwargs.get("input", node.kwargs.get("x"))
    if node.op not in ("call_function", "call_method", "call_module") or not isinstance(taken, fx.Node):
        raise SlafError(f"{place.text!r} cannot be rerouted: node {node.name!r} is not a call of a tensor")
    if node.kwargs.get("out") is not None:
        raise SlafError(f"{place.text!r} cannot be rerouted: it writes to out=")
    if node.all_input_nodes != [taken] or sum(a is taken for a in (*node.args, *node.kwargs.values())) != 1:
        raise SlafError(f"{place.text!r} cannot be rerouted: another argument is computed in the graph too")
    return taken


def _record(node: fx.Node, taken: fx.Node) -> _Record:
    """As plain data: a node would not survive pickling."""
    args = tuple(None if a is taken else a for a in node.args)
    kwargs = {k: None if v is taken else v for k, v in node.kwargs.items()}
    position = next((k for k, v in node.kwargs.items() if v is taken), 0)
    return {"op": node.op, "target": node.target, "args": args, "kwargs": kwargs, "position": position}


def _changes_input(node: fx.Node) -> bool:
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    inplace = name.split(".")[0].endswith("_") and not name.endswith("__")
    return node.op != "call_module" and (inplace or node.kwargs.get("inplace") is True)


def _forward_uses(node: fx.Node, taken: fx.Node) -> None:
    """What reads the input after it was changed in place reads the result."""
    order = {other: i for i, other in enumerate(node.graph.nodes)}
    for user in list(taken.users):
        if order[user] > order[node]:
            user.replace_input_with(taken, node)


def _records(owner: fx.GraphModule) -> dict[fx.Node, _Record]:
    found: dict[fx.Node, _Record] = {}
    stored = owner.meta.get(_META, owner.__dict__.get(_META, {}))
    for name, records in stored.items():
        nodes = [node for node in owner.graph.nodes if node.op == "call_module" and node.target == name]
        if len(nodes) != len(records):
            raise SlafError(f"the graph was edited since it was rerouted: it calls {name!r} {len(nodes)} times, not {len(records)}")
        found.update(zip(nodes, records, strict=True))
    return found


def _store(owner: fx.GraphModule, records: dict[fx.Node, _Record]) -> None:
    stored: dict[str, list[_Record]] = {}
    for node in owner.graph.nodes:
        if node in records:
            stored.setdefault(str(node.target), []).append(records[node])
    for kept in (owner.meta, owner.__dict__):  # a copy keeps the first, a pickle the second
        kept.pop(_META, None)
        if stored:
            kept[_META] = stored
    owner.recompile()
