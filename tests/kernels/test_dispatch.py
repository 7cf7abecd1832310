"""Which tensors reach a raw pointer, and how their memory is described to a kernel."""

import struct
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

import slaf
from slaf.bases import basis
from slaf.kernels import dispatch, moments, native, series, tables
from slaf.kernels.dispatch import fits, layout_of, place, refusal, use
from slaf.kernels.recurrence import Recurrence

needs_native = pytest.mark.skipif(not native.available(), reason="the compiled kernels are not there")


class Subclass(torch.Tensor):
    pass


def fake():
    with FakeTensorMode():
        return torch.empty(4, 4)


SUPPORTED = {
    "float32": lambda: torch.randn(4, 3),
    "bfloat16": lambda: torch.randn(4, 3).bfloat16(),
    "float16": lambda: torch.randn(4, 3).half(),
    "parameter": lambda: torch.nn.Parameter(torch.randn(4, 3)),
    "one element": lambda: torch.randn(1),
    "channels-last": lambda: torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
    "transposed": lambda: torch.randn(4, 3).T,
    "a piece at an odd address": lambda: torch.randn(13)[1:],
    "expanded over one entry": lambda: torch.randn(4, 1).expand(4, 1),
    "result of an operation": lambda: torch.randn(4, requires_grad=True) * 2,
}
REFUSED = {
    "float64": (lambda: torch.randn(4, dtype=torch.float64), "dtype"),
    "int": (lambda: torch.arange(4), "dtype"),
    "bool": (lambda: torch.ones(4, dtype=torch.bool), "dtype"),
    "float8": (lambda: torch.randn(4).to(torch.float8_e4m3fn), "dtype"),
    "quantised": (lambda: torch.quantize_per_tensor(torch.randn(4), 0.1, 0, torch.quint8), "dtype"),
    "complex": (lambda: torch.randn(4, dtype=torch.complex64), "dtype"),
    "complex, lazily conjugated": (lambda: torch.randn(4, dtype=torch.complex64).conj(), "dtype"),
    "lazily negated": (lambda: torch.randn(4, dtype=torch.complex64).conj().imag, "lazy"),
    "zero tensor": (lambda: torch._efficientzerotensor((4,)), "lazy"),
    "functionalised": (lambda: torch._to_functional_tensor(torch.randn(4)), "lazy"),
    "meta": (lambda: torch.empty(4, device="meta"), "on meta"),
    "huge on meta": (lambda: torch.empty(1 << 33, device="meta"), "on meta"),
    "huge by expansion": (lambda: torch.randn(1).expand(1 << 33), "dense"),
    "expanded": (lambda: torch.randn(4, 1).expand(4, 3), "dense"),
    "slice": (lambda: torch.randn(4, 6)[:, ::2], "dense"),
    "overlapping": (lambda: torch.randn(9).as_strided((4, 4), (1, 1)), "dense"),
    "sparse": (lambda: torch.randn(4, 3).to_sparse(), "layout"),
    "sparse by rows": (lambda: torch.randn(4, 3).to_sparse_csr(), "layout"),
    "of another library's layout": (lambda: torch.randn(4, 3).to_mkldnn(), "layout"),
    "nested": (lambda: torch.nested.nested_tensor([torch.randn(2), torch.randn(3)]), "lazy"),
    "nested, jagged": (lambda: torch.nested.nested_tensor([torch.randn(2), torch.randn(3)], layout=torch.jagged), "NestedTensor"),
    "0-d": (lambda: torch.tensor(1.0), "dimension"),
    "empty": (lambda: torch.empty(0, 3), "empty"),
    "freed": (lambda: (t := torch.randn(4), t.untyped_storage().resize_(0))[0], "memory"),
    "subclass": (lambda: torch.randn(4).as_subclass(Subclass), "Subclass"),
    "fake": (fake, "FakeTensor"),
}


@pytest.mark.parametrize("name", SUPPORTED)
def test_plain_dense_tensors_fit(name):
    x = SUPPORTED[name]()
    assert refusal(x) is None
    assert fits(x)


pytestmark = [
    pytest.mark.filterwarnings("ignore:slaf's fast path"),
    pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta"),
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype"),
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor"),
]


@pytest.mark.parametrize("name", REFUSED)
def test_everything_else_is_refused_and_the_reason_says_why(name):
    make, reason = REFUSED[name]
    x = make()
    assert not fits(x)
    assert reason in refusal(x)
    assert place(x, (1,) * x.dim()) is None


def test_wrapped_tensors_are_refused():
    seen = []

    def look(v):
        seen.append((fits(v), place(v, (1,))))
        return v.sum()

    torch.func.vmap(look)(torch.randn(3, 4))
    torch.func.grad(look)(torch.randn(4))
    torch.func.jvp(look, (torch.randn(4),), (torch.randn(4),))
    assert seen == [(False, None)] * 3


def test_a_mode_that_watches_operations_sees_the_definition():
    from torch.utils._python_dispatch import TorchDispatchMode

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            return func(*args, **(kwargs or {}))

    with Watch():
        assert place(torch.randn(4), (1,)) is None


# -- pointers --------------------------------------------------------------------------------------------------------------------

PRIMITIVES = {
    "series": lambda x: series(x, torch.ones(3, *(1,) * x.dim()), None, None, basis("power").recurrence),
    "moments": lambda x: moments(x, 4, (1,) * x.dim(), None, None, basis("power").recurrence),
    **{
        spec: lambda x, spec=spec: slaf.make(spec)(x)
        for spec in (
            "slaf(input=identity, share=layer)",
            "slaf(interval=(-1.0,1.0))",
            "rational",
            "prelu",
            "apl",
            "piecewise_linear",
            "spline",
        )
    },
}
WITHOUT_EVALUATION = ("huge on meta", "huge by expansion", "freed")
"""The result would not fit in memory, or torch itself would follow a null pointer."""


@pytest.fixture
def calls(monkeypatch):
    """(addresses, integers) of every call of a kernel, of which none runs; all fit their C types."""
    found = []

    def recorder(types):
        def record(*arguments):
            given = [a.data_ptr() if isinstance(a, torch.Tensor) else id(a) if isinstance(a, bytearray) else a for a in arguments]
            struct.pack(types, *(a or 0 for a in given))  # raises where one does not fit
            pointers = [a for a, t in zip(given, types, strict=True) if t == "P" and a is not None]
            found.append((pointers, [a for a, t in zip(given, types, strict=True) if t in "iq"]))
            return True

        return record

    for name, entry in vars(native._library()[0]).items():
        if callable(entry) and not name.startswith("_"):
            monkeypatch.setattr(native.entries, name, recorder(entry.__doc__))
    return found


def extent(x):
    """The addresses that belong to ``x``."""
    try:
        start = x.untyped_storage().data_ptr()
        return range(start, start + x.untyped_storage().nbytes())
    except (RuntimeError, NotImplementedError, UserWarning):  # it has no memory
        return range(0)


def pointers_into(x, calls):
    inside = extent(x)
    return [pointer for pointers, _ in calls for pointer in pointers if pointer in inside]


@needs_native
@pytest.mark.parametrize("primitive", PRIMITIVES)
def test_only_plain_dense_memory_reaches_a_pointer(primitive, calls):
    run, reached = PRIMITIVES[primitive], set()
    for name, make in SUPPORTED.items():
        x = make().detach().requires_grad_()
        y = run(x)
        y.sum().backward()
        reached |= {name} if pointers_into(x, calls) else set()
        calls.clear()
    assert reached in (set(), set(SUPPORTED))  # a family without kernels takes none
    for name in REFUSED.keys() - set(WITHOUT_EVALUATION):
        x = REFUSED[name][0]()
        with suppress(Exception):  # what torch cannot do with it is not the point
            run(x).sum().backward()
        assert not pointers_into(x, calls), name
        assert all(pointers.count(0) == 0 for pointers, _ in calls), name
        calls.clear()


@needs_native
def test_huge_tensors_are_counted_in_64_bits(calls):
    """Memory that is never touched: the kernels are given all of it, and no integer is cut."""
    x = torch.empty((1 << 31) + 8, dtype=torch.bfloat16)
    with torch.no_grad():
        PRIMITIVES["series"](x)
    (((pointer, *_), integers),) = calls
    assert pointer == x.data_ptr()
    assert x.numel() in integers
    assert layout_of((1 << 20, 64, 1 << 12), (1 << 18, 1 << 12, 1), (1, 64, 1))[:3] == (1 << 20, 64, 1 << 12)


@needs_native
@pytest.mark.parametrize("spec", ["slaf(basis=power, input=identity)", "slaf", "rational"])
@pytest.mark.parametrize("training", [True, False])
def test_parameters_elsewhere_are_refused_before_a_pointer_is_taken(spec, training, calls):
    act = slaf.make(spec, num_channels=3).to("meta").train(training)
    with pytest.raises(RuntimeError, match=r"on the CPU|device"):
        act(torch.randn(4, 3))
    assert not calls


@needs_native
def test_transforms_reach_no_pointer(calls):
    for run in PRIMITIVES.values():
        for transform in (torch.func.vmap, lambda f: torch.func.grad(lambda x: f(x).sum()), torch.func.jacrev):
            transform(run)(torch.randn(3, 4))
        torch.func.jvp(run, (torch.randn(3, 4),), (torch.randn(3, 4),))
        torch.func.functionalize(run)(torch.randn(3, 4))
    assert not calls


# -- layout --------------------------------------------------------------------------------------------------------------------


@st.composite
def dense_tensors(draw):
    """A dense tensor in any order of memory, and a shape of θ: a subset of its dimensions."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    order = draw(st.permutations(range(len(sizes))))
    x = torch.arange(float(np.prod(sizes))).reshape([sizes[d] for d in order]).permute([order.index(d) for d in range(len(sizes))])
    theta = tuple(size if draw(st.booleans()) else 1 for size in sizes)
    return x, theta


@settings(deadline=None, max_examples=300)
@given(dense_tensors())
def test_layout_puts_every_element_beside_its_theta(case):
    x, theta = case
    assert fits(x)
    layout = layout_of(x.shape, x.stride(), theta)
    if layout is None:  # then θ is no single run of memory: some other dimension lies between its own
        own = [d for d in sorted(range(x.dim()), key=lambda d: -x.stride(d)) if x.shape[d] > 1]
        flags = "".join("1" if theta[d] > 1 else "0" for d in own)
        assert "0" in flags.strip("0")
        return
    values = torch.randn(theta)
    rows = tables.table(values[None], layout)[:, 0]
    memory = x.as_strided((x.numel(),), (1,))
    spread_out = rows.repeat_interleave(layout.s).repeat(layout.n)
    wanted = torch.empty(x.numel())
    wanted[x.reshape(-1).long()] = values.expand(x.shape).reshape(-1)
    torch.testing.assert_close(spread_out, wanted[memory.long()], rtol=0, atol=0)
    sums = torch.zeros(layout.c, dtype=torch.float64).index_add_(
        0, torch.arange(layout.c).repeat_interleave(layout.s).repeat(layout.n), memory.double()
    )
    torch.testing.assert_close(tables.spread(sums[:, None], theta, layout)[0], x.double().sum_to_size(theta))


def test_layout_of_the_usual_formats():
    x = torch.empty(2, 3, 4, 5)
    assert layout_of(x.shape, x.stride(), (1, 3, 1, 1))[:3] == (2, 3, 20)
    last = x.contiguous(memory_format=torch.channels_last)
    assert layout_of(last.shape, last.stride(), (1, 3, 1, 1))[:3] == (40, 3, 1)
    assert layout_of(x.shape, x.stride(), (1, 3, 4, 5))[:3] == (2, 60, 1)
    assert layout_of(last.shape, last.stride(), (1, 1, 1, 1))[:3] == (1, 1, 120)
    assert layout_of(x.shape, x.stride(), (2, 1, 4, 1)) is None
    assert layout_of(x.shape, x.stride(), (1, 1, 1, 1), (1, 3, 1, 1))[:3] == (2, 3, 20)
    huge = torch.empty(1 << 20, 64, 64, device="meta")
    assert layout_of(huge.shape, huge.stride(), (1, 64, 1))[:3] == (1 << 20, 64, 64)


def test_families():
    assert [basis(n).recurrence.code for n in ("power", "chebyshev", "legendre", "hermite")] == [0, 1, None, None]
    assert Recurrence((1.0, 2.0), (1.0,)).code == 1  # b₀ is not used
    assert Recurrence((1.0, 2.0, 2.0, 2.0, 3.0), (1.0,)).code is None


@pytest.mark.parametrize("spec", ["slaf(input=identity)", "slaf(normalize=batch)", "rational"])
def test_a_hook_may_give_the_saved_input_back_in_another_order_of_memory(spec):
    torch.manual_seed(0)
    act = slaf.make(spec, num_channels=3)
    with torch.no_grad():
        for p in act.parameters():
            p.add_(0.1 * torch.randn_like(p))
    x = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last).requires_grad_()
    inputs, g = [x, *act.parameters()], torch.randn(x.shape)
    plain = torch.autograd.grad(act(x), inputs, g)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(memory_format=torch.contiguous_format), lambda t: t):
        y = act(x)
    for one, other in zip(plain, torch.autograd.grad(y, inputs, g), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("spec", ["slaf(input=identity)", "slaf", "rational"])
def test_parameters_that_no_kernel_can_read_take_the_definition(spec):
    torch.manual_seed(0)
    act, x = slaf.make(spec, num_channels=6).eval(), torch.randn(5, 6)
    y = act(x)
    torch.testing.assert_close(act.double()(x), y, rtol=1e-4, atol=1e-5)
    for p in act.float().parameters():
        p.data = torch._neg_view(-p.data)
    torch.testing.assert_close(act(x), y, rtol=1e-4, atol=1e-5)
    for p in act.parameters():
        p.data = p.data.resolve_neg().as_subclass(Subclass)
    torch.testing.assert_close(act(x).as_subclass(torch.Tensor), y, rtol=1e-4, atol=1e-5)
    with pytest.raises((RuntimeError, NotImplementedError)), torch.no_grad():
        act.to("meta")(x).sum().item()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("spec", ["slaf(input=identity, share=unit)", "rational(share=unit)"])
def test_a_theta_for_every_unit_in_any_order_of_memory(spec, layout):
    torch.manual_seed(0)
    act = slaf.make(spec, num_features=(3, 4, 5))
    with torch.no_grad():
        for p in act.parameters():
            p.add_(0.1 * torch.randn_like(p))
    x = torch.randn(2, 3, 4, 5).contiguous(memory_format=layout).requires_grad_()
    g, found = torch.randn(x.shape), []
    for mode in ("auto", "reference"):
        with use(mode):
            y = act(x)
            found.append([y, *torch.autograd.grad(y, [x, *act.parameters()], g)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


# -- the switch ----------------------------------------------------------------------------------------------------------------


def test_backend_says_what_runs_and_why():
    found = slaf.kernels.backend()
    if native.available():
        assert found.name == "native"
        assert found.instruction_set in native.ISAS
        assert found.library in str(found)
    else:
        assert found.name == "reference"
        assert found.reason == native.reason() != ""
    with use("reference"):
        assert slaf.kernels.backend().name == "reference"
        assert "use" in str(slaf.kernels.backend())
    assert slaf.kernels.backend() == found


def test_an_unknown_mode_names_the_known_ones():
    with pytest.raises(ValueError, match="auto, native, reference"), use("fast"):
        pass


@needs_native
def test_native_mode_says_why_a_kernel_cannot_run():
    power = basis("power").recurrence
    c = torch.randn(3, 1)
    with use("native"):
        series(torch.randn(4), c, None, None, power)
        with pytest.raises(RuntimeError, match="its dtype"):
            series(torch.randn(4).double(), c, None, None, power)


def test_without_the_library_everything_runs_on_the_definition(monkeypatch):
    x = torch.randn(8, 4, requires_grad=True)
    act = slaf.make("slaf(normalize=batch)", num_channels=4)
    expected = act.eval()(x)
    monkeypatch.setattr(native, "available", lambda: False)
    monkeypatch.setattr(native, "reason", lambda: "gone")
    torch.testing.assert_close(act(x), expected, rtol=1e-4, atol=1e-5)
    assert str(slaf.kernels.backend()).startswith("reference: gone")
    act.train()(x).sum().backward()


@needs_native
def test_a_large_input_that_could_be_dense_warns_once():
    dispatch._warn_once.cache_clear()
    x = torch.randn(1024, 256)[:, ::2]
    c = torch.randn(3, 1, 1)
    with pytest.warns(UserWarning, match="contiguous"):
        y = series(x, c, None, None, basis("power").recurrence)
    torch.testing.assert_close(series(x, c, None, None, basis("power").recurrence), y)  # and no second warning
    dispatch._warn_once.cache_clear()
    series(x.double(), c, None, None, basis("power").recurrence)  # float64 is no mistake
