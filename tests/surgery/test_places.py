"""What cannot be rerouted says why; places without column positions."""

import sys

import pytest
import torch
import torch.nn.functional as F
import tracing
import written
from torch import nn
from torch.utils.checkpoint import checkpoint
from tracing import Function, calls

import slaf
from slaf.surgery.rewriting import sources
from slaf.surgery.rewriting.places import locate
from slaf.surgery.rewriting.rewrite import reroute

_x = torch.ones(3, 4)


class Operator(written.Block):
    def forward(self, x):
        return F.relu(x) if x is None else x**2


class Out(written.Block):
    def forward(self, x):
        return torch.tanh(x, out=torch.empty(3, 4))


class Starred(written.Block):
    def forward(self, x):
        return F.relu(*(x,))


class OddKeyword(written.Block):
    def forward(self, x):
        return F.relu(**{"input": x})  # noqa: PIE804


class SideEffect(written.Block):
    def forward(self, x):
        return F.elu(x, self._log())

    def _log(self):
        return 1.0


class WalrusArgument(written.Block):
    def forward(self, x):
        return F.elu(x, alpha=(a := 2.0)) + a


class Item(written.Block):
    def forward(self, x):
        kept = [x * 1.0]
        kept[0].relu_()
        return kept[0]


class Free(written.Block):
    def forward(self, x):
        x = x * 1.0

        def inner():
            x.relu_()

        inner()
        return x


class Shadowed(written.Block):
    def forward(self, x):
        def inner(self):
            return F.relu(self)

        return inner(x)


class Reassigned(written.Block):
    def forward(self, x):
        y = F.relu(x)
        self = None
        return y if self is None else x


class LocalVariable(written.Block):
    def forward(self, x):
        act = written.helper
        return act(x)


class Partial(written.Block):
    def __init__(self):
        super().__init__()
        import functools

        self.act = functools.partial(written.helper, scale=2.0)

    def forward(self, x):
        return self.act(x)


class Mapped(written.Block):
    def forward(self, x):
        return torch.stack(list(map(F.relu, x)))


class Passed(written.Block):
    def forward(self, x):
        return checkpoint(F.relu, x, use_reentrant=False)


class Made(written.Block):
    def forward(self, x):
        return self.make()(x)

    def make(self):
        return F.relu


class Callable:
    def __init__(self, function):
        self.function = function

    def __get__(self, instance, owner):
        return lambda *args: self.function(instance, *args)


class ByObject(written.Block):
    @Callable
    def forward(self, x):
        return F.relu(x)


class Property(written.Block):
    @property
    def gate(self):
        return F.relu(_x)

    def forward(self, x):
        return x * self.gate


class ClassMethod(written.Block):
    @classmethod
    def act(cls, x):
        return F.relu(x)

    def forward(self, x):
        return self.act(x)


class OtherInALoop(written.Block):
    def forward(self, x):
        for other in (written.Other(),):
            x = other.compute(x, 2.0)
        return x


class UnknownFlag(written.Block):
    def forward(self, x):
        x, flag = x * 1.0, bool(x.sum() > 0)
        F.relu(x, inplace=flag)
        return x


class OnInstance(written.Block):
    def __init__(self):
        super().__init__()
        self.forward = lambda x: F.relu(x)


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (Operator, r"an operator, not a call: x \*\* 2"),
        (Out, "writes to out="),
        (Starred, "first argument is starred"),
        (OddKeyword, "not passed positionally"),
        (SideEffect, r"argument self._log\(\) calls a function"),
        (WalrusArgument, "does more than give a value"),
        (Item, r"kept\[0\] in place, and that is not a plain name"),
        (Free, "x in place, which is not a local variable"),
        (Shadowed, "self is another variable in the nested function"),
        (Reassigned, "self is assigned to"),
        (LocalVariable, "act is a local variable"),
        (Partial, "decorated or wrapped in a way that cannot be rebuilt"),
        (Mapped, r"it is called by list\(...\)"),
        (Passed, r"it is called by checkpoint\(...\), which F.relu is passed to"),
        (Made, r"what is called, self.make\(\), calls a function"),
        (ByObject, "is not a method of ByObject"),
        (Property, "without a call that is written there"),
        (ClassMethod, "a method of another object"),
        (OtherInALoop, "other is a local variable"),
        (UnknownFlag, "known only when it runs"),
        (OnInstance, "is not a method of OnInstance"),
    ],
)
def test_a_call_that_cannot_be_rerouted_says_why(case, reason):
    model = case()
    _, place, _ = calls(model, _x, names=(*tracing.PLAIN, "pow"))[0]
    assert place.line > 0
    assert place.text
    assert place.file in (__file__, written.__file__)
    with pytest.raises(slaf.SlafError, match=reason):
        reroute(model, {place: "a"})
    assert type(model) is case


def test_code_without_source():
    space = {"F": F, "nn": nn}
    exec("class Typed(nn.Module):\n    def forward(self, x):\n        return F.relu(x)", space)
    _, place, _ = calls(space["Typed"](), _x)[0]
    assert place.problem == "there is no source for <string>"
    assert place.function == "Typed.forward"
    assert "torch's own" in locate([], nn.ReLU()).problem


class Shared(written.Block):
    def __init__(self, inplace):
        super().__init__()
        self.act = nn.ReLU(inplace=inplace)
        self.acts = nn.ModuleDict({"tanh": nn.Tanh()})

    def forward(self, x):
        x = self.act(self.first(x))
        y = x - 0.2
        self.act(y)
        z = self.act(self.second(self.acts["tanh"](y)))
        return x + y * self.act(z)


def _module_calls(model, modules):
    found = []

    def note(*_):
        frames, frame = [], sys._getframe(1)
        while not (frame.f_code.co_name == "_call_impl" and frame.f_locals["self"] is model):
            if not frame.f_code.co_filename.startswith(tracing._TORCH):
                frames.append(frame)
            frame = frame.f_back
        found.append(locate(frames, model))

    hooks = [module.register_forward_pre_hook(note) for module in modules]
    model(_x)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("inplace", [True, False])
def test_calls_of_a_shared_module_get_modules_of_their_own(inplace):
    torch.manual_seed(0)
    model = Shared(inplace)
    expected = model(_x)
    found = _module_calls(model, [model.act, model.acts["tanh"]])
    assert [p.text for p in found if "tanh" not in p.text] == ["self.act(self.first(x))", "self.act(y)", "self.act(z)"]
    names = {place: f"act_{k}" for k, place in enumerate(found)}
    assert len(names) == 5
    for place, name in names.items():
        model.add_module(name, Function("tanh" if place.text.startswith("self.acts") else "relu"))
    reroute(model, names)
    model.act = model.acts = None
    assert torch.equal(model(_x), expected)
    assert [p.text for p in _module_calls(model, [model.act_1])] == ["self.act(y)"]


@pytest.fixture
def _no_columns(monkeypatch):
    monkeypatch.setattr(sources, "_span", lambda *_: None)


@pytest.mark.usefixtures("_no_columns")
@pytest.mark.skipif(sys.version_info >= (3, 13), reason="calls are made by other instructions")
@pytest.mark.parametrize("case", [written.Functional, written.Nested, written.SeveralLines, written.Several, written.InplaceStatements])
def test_without_columns_the_calls_of_a_line_are_counted(case):
    torch.manual_seed(0)
    plain, model = case(), case()
    model.load_state_dict(plain.state_dict())
    tracing.rerouted(model, _x.clone())
    assert torch.equal(model(_x.clone()), plain(_x.clone()))
    assert all(isinstance(owner, Function) for owner, _, _ in calls(model, _x.clone()))


class Ambiguous(written.Block):
    def forward(self, x):
        return [F.relu(F.tanh(r)) for r in x] and x + F.relu(x)


@pytest.mark.usefixtures("_no_columns")
def test_without_columns_an_ambiguous_line_is_refused():
    problems = [place.problem for _, place, _ in calls(Ambiguous(), _x)]
    assert all("more than one call" in problem for problem in problems)
