"""Calls in the source become calls of submodules: the model computes the same, bit for bit, and is still a model."""

import copy
import json

import pytest
import torch
import written
from tracing import Function, calls, rerouted

from slaf.surgery.rewriting.places import Place
from slaf.surgery.rewriting.rewrite import restore

CASES = [*written.CLASSES, lambda: written.made(3)]
NAMES = [case.__qualname__ for case in CASES]


def _example():
    return torch.randn(3, 4, generator=torch.Generator().manual_seed(1))


def _make(case):
    torch.manual_seed(0)
    return case()


def _run(model, x):
    model.zero_grad()
    x = x.clone().requires_grad_()
    torch.manual_seed(2)
    y = model(x * 1.0)
    y.square().sum().backward()
    return [y.detach(), x.grad, *(p.grad for p in model.parameters() if p.grad is not None)]


def _same(a, b):
    return len(a) == len(b) and all(torch.equal(p, q) for p, q in zip(a, b, strict=True))


def _probe(case):
    """Calls of both modes: a place of training is not run in evaluation."""
    model = _make(case)
    rerouted(model.train(), _example().clone())
    return rerouted(model.eval(), _example().clone())


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_a_rerouted_model_computes_the_same_bit_for_bit(case):
    plain, model = _make(case), _probe(case)
    assert not [place for _, place, _ in calls(plain, _example()) if place.problem]
    for mode in (True, False):
        plain.train(mode), model.train(mode)
        assert _same(_run(model, _example()), _run(plain, _example()))
        assert all(isinstance(owner, Function) for owner, _, _ in calls(model, _example()))
    restore(model)
    assert not hasattr(model, "_slaf_original")
    assert _same(_run(model, _example()), _run(plain.eval(), _example()))


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_places_are_data(case):
    for _, place, name in calls(_make(case), _example()):
        assert Place.from_dict(json.loads(json.dumps(place.to_dict()))) == place
        assert name in place.text
        assert place.file.endswith("written.py")


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_a_rerouted_model_is_deep_copied(case):
    model = _probe(case)
    other = copy.deepcopy(model)
    assert type(other) is type(model)
    assert _same(_run(other, _example()), _run(model, _example()))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert not torch.equal(other.first.weight, model.first.weight)
