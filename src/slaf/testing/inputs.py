"""Checks of the inputs that a module accepts: shapes, layouts, dtypes."""

from __future__ import annotations

import torch

from .case import Case
from .check import check, close, expect, same

GROUP = "inputs"
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


@check(GROUP)
def empty_input(case: Case) -> None:
    """An empty batch gives an empty output and an empty gradient in evaluation."""
    shape = list(case.shape())
    shape[case.batch_dim] = 0
    x = torch.empty(shape, requires_grad=True)
    y = case.evaluated()(x)
    expect(y.shape == case.output_shape(x), f"output of shape {tuple(y.shape)} for an empty input of shape {tuple(x.shape)}")
    y.sum().backward()
    expect(x.grad is not None and x.grad.shape == x.shape, "no gradient for an empty input")


def _needs_no_sizes(case: Case) -> str | None:
    return None if case.unsized is not None else "needs an input with channels"


@check(GROUP, scalar=True, unless=_needs_no_sizes)
def scalar_input(case: Case) -> None:
    """A 0-d tensor gives a 0-d tensor, equal to the vector's entry."""
    assert case.unsized is not None
    module = case.unsized.evaluated()
    for value in (-1.7, 0.3):
        y = module(torch.tensor(value))
        expect(y.dim() == 0, f"a 0-d input gives shape {tuple(y.shape)}")
        same(y, module(torch.tensor([value]))[0], "a 0-d input gives another value")


@check(GROUP)
def noncontiguous_input(case: Case) -> None:
    """A transposed, a strided and an expanded input give the values of their contiguous copies."""
    module, x = case.evaluated(), case.input()
    transposed = x.transpose(-1, 0).contiguous().transpose(-1, 0)
    strided = torch.stack([x, -x], -1)[..., 0]
    expanded = x.narrow(case.batch_dim, 0, 1).expand_as(x)
    for name, view in (("transposed", transposed), ("strided", strided), ("expanded", expanded)):
        expect(not view.is_contiguous(), f"{name} input is contiguous: the check is void")
        same(module(view), module(view.contiguous()), f"{name} input")


def _has_images(case: Case) -> str | None:
    if case.layer:
        return "a layer may lay out its output as it likes"
    dim = 1 if case.sharing is None or not case.own else case.sharing.channel_dim
    return None if len(case.shape()) == 4 and dim in (1, -3) else "takes no images"


@check(GROUP, unless=_has_images)
def channels_last(case: Case) -> None:
    """A channels-last image batch stays channels-last and gets the same values."""
    x = case.input()
    for training in (False, True) if not case.scalar else (False,):
        plain = case.build().train(training)(x)
        y = case.build().train(training)(x.to(memory_format=torch.channels_last))
        expect(y.is_contiguous(memory_format=torch.channels_last), "the memory format is lost")
        same(y, plain, "channels-last values", rounding=64)


@check(GROUP, unless=lambda case: "takes any number of channels" if case.feature_dim is None else None)
def wrong_size(case: Case) -> None:
    """One channel or feature more is refused by a ValueError (SlafError is one) of one line that tells the shape that came."""
    dim = case.feature_dim
    assert dim is not None
    x = case.input()
    x = torch.cat([x, x.narrow(dim, 0, 1)], dim)
    for training in (True, False):
        try:
            y = case.build().train(training)(x)
        except ValueError as error:
            message = str(error)
            told = str(tuple(x.shape)) in message or str(x.shape[dim]) in message
            expect(told and "\n" not in message, f"the refusal does not tell the shape in one line: {message}")
        except Exception as error:
            raise AssertionError(f"an input of shape {tuple(x.shape)} is refused by a {type(error).__name__}: {error}") from error
        else:
            raise AssertionError(f"an input of shape {tuple(x.shape)} is accepted and gives {tuple(y.shape)}")


@check(GROUP)
def dtype_kept(case: Case) -> None:
    """Output and gradient have the dtype of the input, in training and evaluation, whether or not the module (no layer) is cast too."""
    for dtype in DTYPES:
        for module in (case.build().to(dtype),) if case.layer else (case.build(), case.build().to(dtype)):
            for training in (True, False):
                x = case.input(dtype).requires_grad_()
                y = module.train(training)(x)
                expect(y.dtype == dtype, f"{dtype} in, {y.dtype} out (training={training})")
                y.sum().backward()
                assert x.grad is not None
                expect(x.grad.dtype == dtype, f"{dtype} in, gradient of {x.grad.dtype}")


@check(GROUP)
def autocast(case: Case) -> None:
    """Under autocast output and gradient keep the input's dtype (a layer's output may be bfloat16), and the values stay right."""
    for dtype in (torch.float32, torch.bfloat16):
        module, x = case.evaluated(dtype if case.layer else None), case.input(dtype).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            y = module(x)
        expect(y.dtype == dtype or (case.layer and y.dtype == torch.bfloat16), f"under autocast {dtype} in, {y.dtype} out")
        y.sum().backward()
        assert x.grad is not None
        expect(x.grad.dtype == dtype, f"under autocast {dtype} in, gradient of {x.grad.dtype}")
        wanted = module(x.detach())
        close(y, wanted, 8 * torch.finfo(torch.bfloat16).eps * wanted.double().abs().clamp(min=1), "values under autocast")


@check(GROUP)
def input_unchanged(case: Case) -> None:
    """Forward and backward leave the input as it was."""
    for training in (True, False):
        x = case.input()
        leaf = x.clone().requires_grad_()
        case.build().train(training)(leaf).sum().backward()
        expect(torch.equal(leaf.detach(), x), "the input was changed")


@check(GROUP)
def evaluation_is_a_function(case: Case) -> None:
    """In evaluation the same input gives the same output, no state changes, and no sample sees another."""
    module, x = case.evaluated(), case.input()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    y = module(x)
    expect(torch.equal(module(x), y), "two calls differ")
    for key, value in module.state_dict().items():
        expect(torch.equal(value, before[key]), f"{key} changed in evaluation")
    dim = case.batch_dim
    alone = torch.cat([module(part) for part in x.split(1, dim)], dim)
    same(alone, y, "a sample alone gives another value than in a batch", rounding=16)


@check(GROUP)
def training_step(case: Case) -> None:
    """A training step gives finite gradients for the input and every parameter, and a finite output after the step."""
    module = case.build()
    x = case.input(batch=8).requires_grad_()
    module(x).square().mean().backward()
    assert x.grad is not None
    expect(bool(torch.isfinite(x.grad).all()), "the input's gradient is not finite")
    for name, parameter in module.named_parameters():
        expect(parameter.grad is not None, f"{name} gets no gradient")
        expect(bool(torch.isfinite(parameter.grad).all()), f"the gradient of {name} is not finite")  # type: ignore[arg-type]
    if list(module.parameters()):
        torch.optim.SGD(module.parameters(), 1e-3).step()
    expect(bool(torch.isfinite(module.eval()(x)).all()), "the output after a step is not finite")
