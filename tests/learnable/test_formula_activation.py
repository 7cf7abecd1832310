"""Activations from formulas that somebody typed."""

import pickle

import pytest
import torch

import slaf
from slaf.core import SlafError
from slaf.learnable import from_formula
from slaf.testing import parametrize_with_checks

SPECS = [
    "formula('x*sigmoid(beta*x)', beta=1.5, trainable=beta)",
    "formula('x*tanh(log(1 + exp(x)))')",
    "formula('max(x, a*x) + b', a=0.1, b=0.2, trainable=(a, b))",
    "formula('x**3/(1 + x**2)')",
]


@parametrize_with_checks(SPECS)
def test_contract(activation, check):
    check(activation)


def test_it_is_the_registered_function():
    x = torch.linspace(-9, 9, 101)
    assert torch.allclose(from_formula("x*tanh(log(1 + exp(x)))")(x), slaf.make("mish")(x), atol=1e-6)


def test_trainable_parameters_learn_a_sharpness():
    act = from_formula("x*sigmoid(beta*x)", trainable={"beta": 0.1})
    x = torch.linspace(-4, 4, 201)
    optimizer = torch.optim.Adam(act.parameters(), 0.1)
    for _ in range(500):
        loss = (act(x) - slaf.make("swish(beta=1.702)")(x)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert act.beta.item() == pytest.approx(1.702, abs=1e-2)


def test_parameters_per_channel_and_fixed_ones():
    act = slaf.make("formula('a*x + c', a=2.0, c=1.0, trainable=a)", num_channels=3)
    assert [tuple(p.shape) for p in act.parameters()] == [(3,)]
    assert act(torch.ones(2, 3)).tolist() == [[3.0] * 3] * 2
    again = pickle.loads(pickle.dumps(act))
    assert repr(again) == repr(act)
    assert torch.equal(again(torch.ones(2, 3)), act(torch.ones(2, 3)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: from_formula("x*beta"), "'beta' has no value"),
        (lambda: from_formula("x", a=1.0), "no parameter 'a'"),
        (lambda: from_formula("a*x", a=1.0, trainable="b"), "trainable names 'b'"),
        (lambda: from_formula("forward*x", forward=1.0), "called 'forward'"),
        (lambda: from_formula("a*x", a="1"), "a must be a number"),
        (lambda: from_formula("x*("), "position 4"),
        (lambda: from_formula("__import__(x)"), "unknown function '__import__'"),
        (lambda: from_formula("x", inplace=True), "inplace"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(SlafError, match=message):
        call()
