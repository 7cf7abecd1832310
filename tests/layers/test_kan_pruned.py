"""Pruned networks, the diagram, and mixed layers, against sums over edges written out."""

# ruff: noqa: ARG005 - the cases of errors are called alike
from __future__ import annotations

import io
import itertools
import pickle

import pytest
import torch
from torch import Tensor, nn

from slaf import SlafError
from slaf.layers import KANLinear
from slaf.layers.kan import SymbolicKANLinear, plot, prune, scores, snap


@pytest.fixture
def x() -> Tensor:
    return 2 * torch.rand(300, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 1


def _network(*widths: int, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(*(KANLinear(a, b, dtype=torch.float64) for a, b in itertools.pairwise(widths)))


def _silent(layer: KANLinear, i: int, o: int) -> None:
    with torch.no_grad():
        layer.weight[:, i, o] = 0


def test_what_computes_nothing_goes_and_nothing_changes(x: Tensor) -> None:
    net = _network(3, 4, 3, 2)
    _silent(net[0], 0, 1)
    for o in range(3):
        _silent(net[1], 2, o)  # nothing comes from node 2 of the first hidden layer
    for i in range(4):
        _silent(net[2], i % 3, 0)  # the first output is constant: no edge to it stays
    found = prune(net, x, 0)
    assert found.nodes == ((0, 1, 2), (0, 1, 3), (0, 1, 2), (0, 1))
    assert found.edges == (8 + 9 + 3, 12 + 12 + 6)
    assert torch.allclose(found.model(x), net(x), rtol=0, atol=1e-14)
    assert found.change < 1e-14
    assert "3 → 3 → 3 → 2, 20 of 30 edges" in str(found)


def test_a_node_without_input_goes_and_takes_its_outputs_with_it_as_constants(x: Tensor) -> None:
    net = _network(3, 2, 1)
    for i in range(3):
        _silent(net[0], i, 1)
    found = prune(net, x, 0)
    assert [layer.weight.shape[1:] for layer in found.model] == [(3, 1), (1, 1)]
    assert torch.allclose(found.model(x), net(x), atol=1e-14)


def test_the_change_is_the_edges_about_their_means(x: Tensor) -> None:
    layer = _network(3, 2)[0]
    edges = layer.edges(x).detach()
    score = scores(layer, x).edges[0]
    assert torch.allclose(score, edges.std(0) / edges.sum(1).std(0))
    threshold = float(score.flatten().sort().values[2])
    found = prune(layer, x, threshold)  # the three least
    gone = score <= threshold
    missing = ((edges - edges.mean(0)) * gone).sum(1)
    assert found.worst == pytest.approx(float(missing.abs().max()))
    assert found.change == pytest.approx(float(missing.square().mean().sqrt() / edges.sum(1).std(0).square().mean().sqrt()))
    assert found.edges == (3, 6)


def test_scores_go_back_through_the_layers(x: Tensor) -> None:
    net = _network(3, 4, 2)
    h = net[0](x).detach()
    second = net[1].edges(h).detach().std(0) / net[1](h).detach().std(0)
    first = net[0].edges(x).detach().std(0) / h.std(0) * second.sum(1)
    found = scores(net, x)
    assert torch.allclose(found.edges[0], first)
    assert torch.allclose(found.edges[1], second)
    assert torch.allclose(found.nodes[0], first.sum(1))
    assert found.nodes[2].tolist() == [1, 1]


def test_hidden_keeps_the_greatest_nodes(x: Tensor) -> None:
    net = _network(3, 5, 1)
    best = scores(net, x).nodes[1].argsort(descending=True)[:2].sort().values
    assert prune(net, x, 0, hidden=(2,)).nodes[1] == tuple(best.tolist())


@pytest.mark.parametrize("base", ["silu", "tanh", None])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pruned_edges_stay_out_in_training_and_the_others_learn_as_ever(x: Tensor, base: str | None, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    whole = KANLinear(3, 2, base=base, dtype=dtype)
    kept = torch.tensor([[True, False], [True, True], [False, True]])
    every = torch.arange(3), torch.arange(2)
    layer = whole.restricted(kept, *every)
    x = x.to(dtype).requires_grad_()
    zeroed = KANLinear(3, 2, base=base, dtype=dtype)
    zeroed.load_state_dict(whole.state_dict())
    with torch.no_grad():
        zeroed.weight.mul_(kept)
    for a, b in zip(layer.restricted(~kept, *every).weight, whole.weight, strict=True):
        assert not a.any()
        assert b.any()
    assert torch.equal(layer(x), zeroed(x))
    grads = [torch.autograd.grad(m(x).square().sum(), (x, m.weight)) for m in (layer, zeroed)]
    assert torch.allclose(grads[0][0], grads[1][0])
    assert torch.allclose(grads[0][1], grads[1][1] * kept)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (layer(x) - 1).square().mean().backward()
        optimizer.step()
    assert not layer.weight[:, ~kept].any()
    assert layer.weight[:, kept].ne(whole.weight[:, kept]).all()
    layer.refit(x.detach(), margin=0.1)
    layer.refine(grid=10)
    assert not layer.weight[:, ~kept].any()


def test_a_pruned_network_is_saved_loaded_copied_and_exported(x: Tensor) -> None:
    model = prune(_network(3, 4, 2), x, 0.3).model
    assert model[0].kept is not None
    fresh = nn.Sequential(*(KANLinear(m.in_features, m.out_features, dtype=torch.float64) for m in model))
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh(x), model(x))
    assert torch.equal(fresh[0].kept, model[0].kept)
    fresh[0].load_state_dict(KANLinear(3, model[0].out_features, dtype=torch.float64).state_dict())
    assert fresh[0].kept is None
    assert torch.equal(pickle.loads(pickle.dumps(model))(x), model(x))
    exported = torch.export.export(model, (x,)).module()
    assert torch.allclose(exported(x), model(x))


def test_a_constant_network_keeps_one_node(x: Tensor) -> None:
    net = _network(3, 4, 1)
    with torch.no_grad():
        net[0].weight.zero_()
    found = prune(net, x, 0)
    assert found.model[0].out_features == 1
    assert torch.allclose(found.model(x), net(x))


def test_the_diagram_draws_every_function_over_what_it_gets(x: Tensor) -> None:
    net = prune(_network(3, 2, 1), x, 0.2).model
    net = snap(net, x, (1, 0, 0), "x^2")
    figure = plot(net, x, ["a$b", "c", "d"], ["e"])
    canvas, *boxes = figure.axes
    present = [(n, i, o) for n, layer in enumerate(net) for i, o in torch.nonzero(layer.present()).tolist()]
    assert len(boxes) == len(present)
    found = [x, net[0](x).detach()]
    for box, (n, i, o) in zip(boxes, present, strict=True):
        at, values = (torch.as_tensor(v) for v in box.lines[0].get_data())
        given = torch.zeros(len(at), net[n].in_features, dtype=torch.float64)
        given[:, i] = at
        assert torch.allclose(net[n].edges(given)[:, i, o].detach(), values)
        assert torch.allclose(at[[0, -1]], torch.stack(list(torch.aminmax(found[n][:, i]))))
    texts = [t.get_text() for t in canvas.texts]
    assert {"a$b", "c", "d", "e", "x^2"} <= set(texts)
    figure.savefig(io.BytesIO(), format="png")


def test_of_a_large_layer_only_the_first_functions_get_a_box(x: Tensor) -> None:
    assert len(plot(_network(3, 9, 4), x, most=5).axes) == 1 + 5 + 5


def test_a_mixed_layer_is_the_sum_of_its_parts(x: Tensor) -> None:
    net = _network(3, 2)
    mixed = snap(net, x, (0, 1, 0), "sin")
    mixed = snap(mixed, x, (0, 2, 1), "x^2")
    layer = mixed[0]
    assert isinstance(layer, SymbolicKANLinear)
    assert {e[:2] for e in layer.functions} == {(1, 0), (2, 1)}
    edges, old = layer.edges(x), net[0].edges(x)
    for i, o in ((0, 0), (0, 1), (1, 1), (2, 0)):
        assert torch.allclose(edges[:, i, o], old[:, i, o])
    assert torch.allclose(edges.sum(1) + layer.bias, layer(x))
    assert layer.present().all()
    for i in range(3):
        for o in range(2):
            mixed = snap(mixed, x, (0, i, o))
    assert mixed[0].rest is None
    part = mixed[0].restricted(torch.ones(3, 2, dtype=torch.bool), torch.tensor([2, 0]), torch.tensor([1]))
    assert torch.allclose(part.edges(x[:, [2, 0]])[..., 0], mixed[0].edges(x)[:, [2, 0], 1])


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda net, x: prune(nn.Linear(3, 2), x), "model must be a KANLinear or an nn.Sequential of KAN layers alone; got Linear"),
        (lambda net, x: prune(nn.Sequential(), x), "got an empty one"),
        (lambda net, x: prune(nn.Sequential(net[0], net[0]), x), "a layer of 2 outputs before one of 3 inputs"),
        (lambda net, x: prune(net, x[:, :2]), r"x must be two or more finite samples of 3 features, \(n, 3\); got shape \(300, 2\)"),
        (lambda net, x: prune(net, x / 0), "finite samples"),
        (lambda net, x: prune(net, x, -1), "threshold must be a number from 0 on; got -1"),
        (lambda net, x: prune(net, x, float("nan")), "threshold must be"),
        (lambda net, x: prune(net, x, hidden=(1, 2)), r"hidden must hold 1 sizes, one for each hidden layer; got \(1, 2\)"),
        (lambda net, x: prune(net, x, hidden=(0,)), "hidden must be a positive integer; got 0"),
        (lambda net, x: plot(net, x, ["a"]), r"inputs must be 3 names; got \['a'\]"),
        (lambda net, x: plot(net, x, outputs="ab"), "outputs must be 1 names; got 'ab'"),
        (lambda net, x: plot(net, x, most=0), "most must be a positive integer; got 0"),
    ],
)
def test_errors_are_one_sentence(x: Tensor, call, told: str) -> None:
    with pytest.raises(SlafError, match=told):
        call(_network(3, 2, 1), x)
