"""Under torch.compile the kernels are one operator: bit for bit what eager code has, for every family, and nothing where none may run."""

import copy
import threading

import pytest
import torch
from families import FAMILIES, SHAPE, equal, made, pair, step
from torch import nn
from torch._dynamo.testing import CompileCounter, CompileCounterWithBackend
from torch.utils.checkpoint import checkpoint

import slaf
from slaf.kernels import use

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # Dynamo's, of what is no leaf

PLAIN = ("slaf(squash=tanh)", "slaf(basis=hermite, degree=18)", "slaf(basis=bspline)", "gelu", "prelu", "frn", "polynorm")


@pytest.fixture(autouse=True)
def _also_small(monkeypatch):
    monkeypatch.setattr("slaf.kernels.compiled.LEAST", 1)


def operators(function, *given):
    """How many there are in the graphs that a function is traced to."""
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    torch.compile(function, backend=counter, fullgraph=True)(*given)
    return sum("slaf.activate" in str(node.target) for graph in counter.graphs for node in graph.graph.nodes)


def compiled(module, backend="aot_eager", **options):
    torch._dynamo.reset()
    return torch.compile(module, backend=backend, fullgraph=True, **options)


# -- the same as eager code --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("spec", FAMILIES.values(), ids=FAMILIES)
def test_every_family_is_one_operator_with_the_bits_of_eager_code(spec, training):
    act = made(spec).train(training)
    twin = copy.deepcopy(act)
    run = compiled(twin)
    for dtype in (torch.float32, torch.bfloat16):
        for _ in range(2):  # statistics move
            equal(step(run, twin, *pair(dtype=dtype)), step(act, act, *pair(dtype=dtype)))
            equal(twin.buffers(), act.buffers())
    assert operators(act, pair()[0]) == 1


def test_what_others_note_of_the_compiler_is_no_state():
    act = made(FAMILIES["rational"])
    act._compile_kwargs = {"backend": object()}  # Lightning's, once it is imported
    assert operators(act, pair()[0]) == 1
    act.anything = object()
    assert operators(act, pair()[0]) == 0


@pytest.mark.parametrize("spec", PLAIN)
def test_what_no_kernel_takes_is_compiled_as_it_is_written(spec):
    assert operators(made(spec), pair()[0]) == 0


class Twice(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.act = made(spec)

    def forward(self, x):
        return self.act(self.act(x) + x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("spec", ["slaf", "slaf(degree=5, normalize=batch)", "slaf(degree=3, input=batch)"])
def test_statistics_that_move_twice_in_a_graph(spec, dtype):
    """By the operator, and in float64 by the definition."""
    net = Twice(spec).to(dtype)
    twin = copy.deepcopy(net)
    found, wanted = step(compiled(twin), twin, *pair(dtype=dtype)), step(net, net, *pair(dtype=dtype))
    for a, b in zip([*found, *twin.buffers()], [*wanted, *net.buffers()], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12) if dtype == torch.float64 else equal([a], [b])


class Network(nn.Module):
    """Activations between layers, one of them twice: what they take is memory that a compiler would use again."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.acts = nn.ModuleList(map(made, ("slaf(degree=5, normalize=batch)", "rational", "piecewise_linear")))

    def forward(self, x):
        h = self.acts[0](self.first(x) + 1)
        h = self.acts[1](h) * 0.5 + x
        h = self.acts[0](self.second(h)).sin()
        return self.acts[2](h - 1).transpose(1, 2)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_in_a_network_by_inductor(memory):
    torch.manual_seed(0)
    net = Network()
    twin = copy.deepcopy(net)
    run = compiled(twin, "inductor")
    for _ in range(2):
        x, g = (t.detach().contiguous(memory_format=memory) for t in pair())
        found, wanted = (step(f, m, x.requires_grad_(), g.transpose(1, 2)) for f, m in ((run, twin), (net, net)))
        for a, b in zip(found, wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * max(1.0, float(b.detach().abs().max())))
        for a, b in zip(twin.buffers(), net.buffers(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert operators(net, pair()[0]) == 4


@pytest.mark.parametrize(
    "lay", [lambda x: x.transpose(1, 3).contiguous().transpose(1, 3), lambda x: torch.cat([x, x], 3)[..., ::2], lambda x: x.mT]
)
def test_memory_in_any_order(lay):
    act = made("slaf")
    twin, (x, _) = copy.deepcopy(act), pair()
    found, wanted = (step(lambda x, f=f: f(lay(x)), m, x, lay(pair()[1])) for f, m in ((compiled(twin), twin), (act, act)))
    equal(found, wanted)


@pytest.mark.parametrize("frozen", ["x", "weight", "all"])
def test_only_the_gradients_that_are_needed(frozen):
    act = made("rational")
    act.numerator.requires_grad_(frozen == "x")
    act.denominator.requires_grad_(frozen == "x")
    x, g = pair()
    x.requires_grad_(frozen == "weight")
    run = compiled(act)
    if frozen == "all":
        assert not run(x).requires_grad
        assert torch.equal(run(x), act(x))
    else:
        equal(step(run, act, x, g), step(act, act, x, g))
    with torch.inference_mode():
        assert torch.equal(run(x.detach()), act(x.detach()))


@torch._functorch.config.patch(donated_buffer=False)  # by default no compiled graph allows retain_graph=True
def test_backward_passes_in_any_order_and_twice():
    act = made("rational")
    run, (x, g) = compiled(act), pair()
    first, second = run(x), run(2 * x)
    later = torch.autograd.grad(second, x, g)[0]
    equal([torch.autograd.grad(first, x, g, retain_graph=True)[0] for _ in range(2)], [torch.autograd.grad(act(x), x, g)[0]] * 2)
    assert torch.equal(later, torch.autograd.grad(act(2 * x), x, g)[0])


def test_nothing_is_kept_once_the_graph_is_gone():
    from slaf.kernels import operator

    act = made("rational")
    run, (x, g) = compiled(act), pair()
    before = len(operator._tokens)
    y = run(x)
    assert len(operator._tokens) == before + 1
    y.backward(g)
    del y
    run(x)  # without a backward pass
    assert len(operator._tokens) == before


def test_checkpoint_inside_and_around():
    act = made("slaf(degree=5, input=identity)")
    x, g = pair()
    wanted = step(act, act, x, g)
    run = compiled(lambda x: checkpoint(lambda t: act(t.sin()).cos(), x, use_reentrant=False))
    equal(step(run, act, x, g), step(lambda x: act(x.sin()).cos(), act, x, g))
    inner = compiled(act)
    equal(step(lambda x: checkpoint(inner, x, use_reentrant=False), act, x, g), wanted)


def test_threads_at_once():
    act = made("rational")
    run, (x, g) = compiled(act), pair()
    wanted = step(act, act, x, g)
    step(run, act, x, g)
    found = []
    threads = [threading.Thread(target=lambda: found.append(step(run, act, x, g))) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(found) == 4
    for each in found:
        equal(each, wanted)


def test_errors_are_those_of_eager_code():
    act = made("slaf")
    with pytest.raises(slaf.SlafError, match="channel"):
        compiled(act)(torch.randn(2, 7, 3, 3))


# -- what a graph serves -------------------------------------------------------------------------------------------------------------------


def test_sizes_that_vary_need_two_graphs():
    torch._dynamo.reset()
    counter, act = CompileCounter(), made("slaf")
    run = torch.compile(act, backend=counter, fullgraph=True)
    for n in (3, 5, 6, 9, 12):
        run(torch.randn(n, *SHAPE[1:]))
    assert counter.frame_count <= 2


def test_small_inputs_are_not_worth_a_call(monkeypatch):
    monkeypatch.setattr("slaf.kernels.compiled.LEAST", pair()[0].numel())
    assert operators(made("slaf"), pair()[0]) == 1
    assert operators(made("slaf"), pair()[0][1:]) == 0


def test_equal_modules_share_a_graph_and_others_do_not():
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    run = torch.compile(lambda act, x: act(x), backend=counter, fullgraph=True)
    specs = ("slaf(basis=power, degree=3, input=identity)", "slaf(basis=chebyshev, degree=3, input=identity)")
    acts, (x, _) = [made(s, seed) for s in specs for seed in range(3)], pair()
    for act in acts:
        equal([run(act, x)], [act(x)])
    assert counter.frame_count == len(specs)


def test_a_change_of_the_module_is_seen():
    act = made("slaf(degree=3, interval=(-2.0, 2.0))")
    run, (x, _) = compiled(act), pair()
    before = run(x)
    act.stretch_to(-4, 4)
    assert not torch.equal(before, run(x))
    assert torch.equal(run(x), act(x))
    act = made("slaf")
    run = compiled(act)
    run(x)
    act.input_statistics.momentum = 1.0
    run(x)
    torch.testing.assert_close(act.input_statistics.mean, x.detach().mean((0, 2, 3)), rtol=1e-5, atol=1e-6)
    act.eval()
    assert torch.equal(run(x), act(x))


# -- where the definition is traced --------------------------------------------------------------------------------------------------------


class Derived(type(slaf.make("rational"))):
    def forward(self, x):
        return super().forward(x) + 1


def test_nothing_but_plain_modules_of_ours():
    x = pair()[0]
    assert operators(Derived(num_channels=4), x) == 0
    act = made("rational")
    nn.utils.parametrize.register_parametrization(act, "numerator", nn.Tanh())
    assert operators(act, x) == 0
    assert operators(made("rational").double(), x.double()) == 0
    assert operators(made("rational"), x.double()) == 0
    with use("reference"):
        assert operators(made("rational"), x) == 0


def test_transforms_and_exports_see_the_definition():
    act, (x, v) = made("rational"), pair()
    x = x.detach()
    wanted = act.derivative(x.double().float()) * v
    torch.testing.assert_close(compiled(lambda x: torch.func.jvp(act, (x,), (v,))[1])(x), wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(compiled(torch.func.vmap(lambda t: act(t[None])[0]))(x), act(x), rtol=1e-5, atol=1e-5)
    gradient = torch.func.grad(lambda x: act(x).sum())
    torch.testing.assert_close(compiled(gradient)(x), gradient(x), rtol=1e-4, atol=1e-4)
    for strict in (True, False):
        assert "slaf" not in str(torch.export.export(act, (x,), strict=strict).graph)


def test_no_graph_is_differentiated_twice():
    act, (x, g) = made("rational"), pair()
    first = torch.autograd.grad(compiled(act)(x), x, g, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="double backward"):
        first.sum().backward()
