"""Checks of construction, configuration and saving."""

from __future__ import annotations

import copy
import io
import pickle
import re

import torch
from torch import Tensor, nn

from slaf.core import SlafError, Spec, activations, make

from .case import Case
from .check import check, expect, same

GROUP = "construction"


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return dict(module.state_dict())


def _disturbed(module: nn.Module) -> nn.Module:
    """Move every parameter and floating buffer a little, so that a copy that forgot one is noticed."""
    with torch.no_grad():
        for tensor in _tensors(module).values():
            if tensor.is_floating_point():
                tensor.add_(0.0625 * (1 + torch.arange(tensor.numel(), dtype=tensor.dtype).reshape(tensor.shape) / max(1, tensor.numel())))
    return module


def _agree(case: Case, a: nn.Module, b: nn.Module, what: str) -> None:
    x = case.input()
    same(b.eval()(x), a.eval()(x), what, rounding=0.5)


@check(GROUP)
def construct(case: Case) -> None:
    """A fresh module has finite parameters and keeps the shape of its input, a layer its batch, in training and in evaluation."""
    module, x = case.build(), case.input()
    for name, parameter in module.named_parameters():
        expect(bool(torch.isfinite(parameter).all()), f"{name} is not finite")
    for name, tensor in _tensors(module).items():  # a least value that nothing was seen of is infinite
        expect(not bool(torch.isnan(tensor).any()), f"{name} is NaN")
    for mode in (True, False):
        y = module.train(mode)(x)
        expect(y.shape == case.output_shape(x), f"output of shape {tuple(y.shape)} for an input of shape {tuple(x.shape)}")
        expect(bool(torch.isfinite(y).all()), "output is not finite")


@check(GROUP, fresh=True)
def meta_device(case: Case) -> None:
    """``device="meta"`` allocates nothing; ``to_empty`` and ``reset_parameters`` then give a fresh module."""
    module = case.build(device="meta")
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        expect(tensor.device.type == "meta", f"{name} is on {tensor.device}")
    module = module.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in _tensors(module).values():
            tensor.fill_(7)  # to_empty may find zeros by luck
    torch.manual_seed(0)
    module.reset_parameters()  # type: ignore[operator]
    _equal_state(case, module)


def _nothing_to_reset(case: Case) -> str | None:
    module = case.module64
    return None if _tensors(module) or hasattr(module, "reset_parameters") else "holds nothing to reset"


@check(GROUP, unless=_nothing_to_reset)
def reset_parameters(case: Case) -> None:
    """``reset_parameters`` sets parameters and statistics to their initial values."""
    module = _disturbed(case.build())
    torch.manual_seed(0)
    module.reset_parameters()  # type: ignore[operator]
    _equal_state(case, module)


def _equal_state(case: Case, module: nn.Module) -> None:
    fresh = case.build()
    if case.layer or (isinstance(case.subject, nn.Module) and case.spec is None):  # its parts may have drawn numbers of their own before
        torch.manual_seed(0)
        fresh.reset_parameters()  # type: ignore[operator]
    state = _tensors(module)
    for name, wanted in _tensors(fresh).items():
        expect(
            torch.equal(state[name], wanted), f"{name} is {state[name].flatten()[:3].tolist()} instead of {wanted.flatten()[:3].tolist()}"
        )
    _agree(case, fresh, module, "a module that was reset differs from a fresh one")


@check(GROUP, fresh=True)
def factory_arguments(case: Case) -> None:
    """``device=`` and ``dtype=`` decide where and in which precision parameters are made."""
    for dtype in (torch.float64, torch.bfloat16):
        for name, parameter in case.build(device="cpu", dtype=dtype).named_parameters():
            expect(parameter.dtype == dtype, f"{name} has dtype {parameter.dtype}; {dtype} was asked for")
    y = case.build(dtype=torch.float64).eval()(case.input(torch.float64))
    expect(y.dtype == torch.float64, f"a float64 module gives {y.dtype}")


@check(GROUP, named=True)
def unknown_argument(case: Case) -> None:
    """An argument that does not exist is refused by a SlafError that names it."""
    assert case.spec is not None
    try:
        make(Spec(case.spec.name, case.spec.args, case.spec.kwargs | {"no_such_argument": 1}), num_channels=3)
    except SlafError as error:
        expect("no_such_argument" in str(error), f"the message does not name the argument: {error}")
    else:
        raise AssertionError("an unknown argument is accepted silently")


@check(GROUP, named=True)
def repr_roundtrip(case: Case) -> None:
    """``slaf.make(repr(module))`` makes an equal module, and its ``repr`` is the same."""
    module = case.build()
    again = make(repr(module))
    expect(repr(again) == repr(module), f"repr {module!r} reads back as {again!r}")
    expect(type(again) is type(module), f"{module!r} reads back as another class")
    again.load_state_dict(_disturbed(module).state_dict())
    _agree(case, module, again, "the module made from repr differs")


@check(GROUP, named=True)
def config_roundtrip(case: Case) -> None:
    """``config()`` holds plain values, which make an equal module."""
    module = case.build()
    config = module.config()  # type: ignore[operator]
    for key, value in config.items():
        plain = isinstance(value, (str, int, float, bool, tuple, Spec)) or value is None
        expect(plain, f"config() holds {key}={value!r} of type {type(value).__name__}")
    again = make(Spec(str(module.name), (), config))
    expect(again.config() == config, f"config {config} becomes {again.config()}")  # type: ignore[operator]
    again.load_state_dict(_disturbed(module).state_dict())
    _agree(case, module, again, "the module made from config() differs")


@check(GROUP)
def pickle_roundtrip(case: Case) -> None:
    """Pickling keeps the function and the representation (worker processes and ``torch.save`` need it)."""
    module = _disturbed(case.build())
    again = pickle.loads(pickle.dumps(module))
    expect(repr(again) == repr(module), f"{module!r} unpickles as {again!r}")
    _agree(case, module, again, "the unpickled module differs")


@check(GROUP)
def deepcopy(case: Case) -> None:
    """A deep copy computes the same and shares no tensor with the original."""
    module = _disturbed(case.build())
    again = copy.deepcopy(module)
    _agree(case, module, again, "the copy differs")
    own = {t.data_ptr() for t in _tensors(module).values() if t.numel()}
    expect(not any(t.data_ptr() in own for t in _tensors(again).values() if t.numel()), "the copy shares memory with the original")


@check(GROUP)
def state_dict_roundtrip(case: Case) -> None:
    """The state dict survives ``torch.save`` and ``torch.load(weights_only=True)``, and holds everything that was learned."""
    module = _disturbed(case.build())
    module(case.input())  # in training, so that statistics move
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    again = case.build()
    again.load_state_dict(torch.load(file, weights_only=True))
    _agree(case, module, again, "the module with the loaded state differs")


@check(GROUP, named=True)
def inplace(case: Case) -> None:
    """``inplace=True`` writes the result into the input and still differentiates, or is refused by a SlafError that says so."""
    try:
        module = case.build(inplace=True).eval()
    except SlafError as error:
        expect("inplace" in str(error), f"the refusal does not name inplace: {error}")
        return
    plain = case.evaluated()
    if not getattr(module, "inplace", False):
        raise AssertionError("inplace=True is neither honoured nor refused")
    x = case.input()
    leaf, leaf_plain = x.clone().requires_grad_(), x.clone().requires_grad_()
    inner = leaf * 1
    y, wanted = module(inner), plain(leaf_plain)
    expect(y.data_ptr() == inner.data_ptr(), "the result is not in the input's memory")
    same(y, wanted, "the result in place differs")
    y.sum().backward()
    wanted.sum().backward()
    assert leaf.grad is not None
    assert leaf_plain.grad is not None
    same(leaf.grad, leaf_plain.grad, "the gradient in place differs")


def _is_registered(case: Case) -> str | None:
    return None if case.spec is not None and case.spec.name in activations else "not registered under a name"


@check(GROUP, unless=_is_registered)
def identity_of_facts(case: Case) -> None:
    """Facts carry the registered name, a summary, and a well-formed source."""
    assert case.spec is not None
    facts = case.facts
    expect(facts.name == activations.canonical(case.spec.name), f"facts.name is {facts.name!r}")
    expect(bool(facts.summary.strip()), "facts.summary is empty")
    paper = facts.paper
    if paper is not None:
        expect(bool(paper.title and paper.authors) and 1700 < paper.year < 2100, f"incomplete source: {paper}")
        expect(paper.status in ("read", "from memory"), f"paper.status is {paper.status!r}")
        known = re.fullmatch(r"|arXiv:\d{4}\.\d{4,5}|arXiv:[a-z-]+/\d{7}|doi:10\.\d+/\S+", paper.id)
        expect(bool(known), f"paper.id {paper.id!r} is neither arXiv:… nor doi:…")
