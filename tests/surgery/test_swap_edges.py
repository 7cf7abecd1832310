"""Swaps of unusual models: the root, ties, hooks, fused layers, dtypes, graphs, checkpoints, compilation, and what is refused."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, parametrize
from torch.utils.checkpoint import checkpoint

import slaf
from slaf import SlafError

RATIONAL, LINES = "rational(5,4)", "piecewise_linear(knots=32)"


class Small(nn.Module):
    """A call and a module."""

    def __init__(self):
        super().__init__()
        self.first, self.act, self.last = nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)

    def forward(self, x):
        return self.last(self.act(torch.tanh(self.first(x))))


@pytest.fixture
def x():
    torch.manual_seed(0)
    return torch.randn(64, 6)


def rebuilt(fresh, swapped):
    fresh = slaf.rebuild(fresh, swapped.slaf_recipe)
    fresh.load_state_dict(swapped.state_dict())
    return fresh


# -- the structure of the model ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("root", [nn.ReLU(), slaf.make("gelu")])
@pytest.mark.parametrize("inplace", [False, True])
def test_a_model_that_is_the_activation_itself(root, inplace, x):
    with pytest.raises(SlafError, match=r"model is itself the activation .* nn\.Sequential"):
        slaf.swap(root, "silu", x, inplace=inplace)
    assert isinstance(slaf.swap(nn.Sequential(root), "silu", x)[0], type(slaf.make("silu")))


def test_one_layer_and_one_activation_registered_twice(x):
    layer, act = nn.Linear(6, 6), nn.ReLU()
    model = nn.Sequential(layer, act, layer, act)
    apart, shared = slaf.swap(model, RATIONAL, x), slaf.swap(model, RATIONAL, x, share="module")
    assert apart[0] is apart[2]
    assert apart[1] is not apart[3]
    assert shared[1] is shared[3]
    for swapped in (apart, shared):
        fresh = rebuilt(copy.deepcopy(model), swapped)
        assert (fresh[1] is fresh[3]) == (swapped[1] is swapped[3])
        assert torch.equal(fresh(x), swapped(x))
        slaf.undo(swapped)
        assert swapped[1] is swapped[3]


class Containers(nn.Module):
    """Modules registered at several places, and a dict with None as the output."""

    def __init__(self):
        super().__init__()
        self.acts = nn.ModuleDict({"a": nn.ReLU(), "b": nn.GELU()})
        self.listed = nn.ModuleList([self.acts["a"], nn.Linear(6, 6)])
        self.alias = self.acts["b"]

    def forward(self, x):
        return {"first": self.acts["b"](self.listed[1](self.acts["a"](x))), "rest": (self.listed[0](x), None)}


def test_modules_in_containers_are_replaced_wherever_they_are_registered(x):
    model = Containers()
    swapped = slaf.swap(model, {"relu": RATIONAL, "gelu": "silu"}, x, share="module")
    assert swapped.alias is swapped.acts["b"]
    assert swapped.alias.name == "silu"
    assert swapped.acts["a"] is swapped.listed[0]
    assert swapped.acts["a"].name == "extended"
    assert torch.equal(rebuilt(Containers(), swapped)(x)["first"], rebuilt(Containers(), swapped)(x)["first"])
    slaf.undo(swapped)
    assert swapped.alias is swapped.acts["b"]
    assert swapped.acts["a"] is swapped.listed[0]
    assert torch.equal(swapped(x)["first"], model(x)["first"])


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.hidden, self.head = nn.Embedding(9, 6), nn.Linear(6, 6), nn.Linear(6, 9, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, index):
        return self.head(F.gelu(self.hidden(self.embedding(index))))


def test_tied_parameters_stay_tied():
    torch.manual_seed(0)
    model, index = Tied(), torch.randint(0, 9, (8, 5))
    swapped = slaf.swap(model, RATIONAL, index)
    state = swapped.state_dict(keep_vars=True)
    assert state["head.weight"] is state["embedding.weight"]
    assert swapped.head.weight is not model.head.weight
    fresh = rebuilt(Tied(), swapped)
    assert fresh.head.weight is fresh.embedding.weight
    slaf.undo(swapped)
    assert swapped.head.weight is swapped.embedding.weight


def test_parametrized_layers(x):
    model = Small()
    parametrizations.weight_norm(model.last)
    parametrizations.orthogonal(model.first)
    swapped = slaf.swap(model, {"tanh": RATIONAL, "relu": LINES}, x)
    assert not swapped.slaf_report.missed
    assert parametrize.is_parametrized(swapped.last, "weight")
    torch.testing.assert_close(swapped(x), model(x), rtol=0, atol=0.02)
    assert torch.equal(slaf.undo(swapped)(x), model(x))


# -- who listens, how it runs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [False, True])
def test_hooks_listen_to_the_new_modules(shared, x):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin, self.act = nn.Linear(6, 6), nn.ReLU()

        def forward(self, x):
            x = self.act(self.lin(x))
            return self.act(self.lin(x)) if shared else x

    model, seen = Twice(), []
    model.act.register_forward_hook(lambda module, _args, _kwargs, out: seen.append((type(module).__name__, out)), with_kwargs=True)
    swapped = slaf.swap(model, {"relu": "gelu"}, x)
    seen.clear()
    y = swapped(x)
    assert [name for name, _ in seen] == ["Gelu"] * (2 if shared else 1)
    assert seen[-1][1] is y
    changed = slaf.swap(model, {"relu": "gelu"}, x, inplace=True)
    seen.clear()
    slaf.undo(changed)(x)
    assert {name for name, _ in seen} == {"ReLU"}


@pytest.mark.parametrize("activation", ["relu", "gelu", F.silu])
def test_fused_transformer_layers_call_the_new_activation(activation):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation=activation)
    model, z = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval(), torch.randn(3, 5, 8)
    swapped = slaf.swap(model, "slaf(degree=2, interval=(-4.0, 4.0))", z)
    flags = [layer.activation_relu_or_gelu for layer in model.layers]
    with torch.no_grad():
        fused = swapped(z)
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            plain = swapped(z)
        finally:
            torch.backends.mha.set_fastpath_enabled(True)
        torch.testing.assert_close(fused, plain, rtol=1e-5, atol=1e-5)
        assert float((plain - model(z)).abs().max()) > 1e-3
        assert torch.equal(rebuilt(copy.deepcopy(model), swapped)(z), fused)
        assert torch.equal(slaf.undo(swapped)(z), model(z))
    assert [layer.activation_relu_or_gelu for layer in swapped.layers] == flags


class Checkpointed(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.lin, self.outer = Small(), nn.Linear(3, 6), Small()

    def part(self, x):
        return F.gelu(self.lin(x))

    def forward(self, x):
        y = checkpoint(self.inner, x, use_reentrant=False)
        return self.outer(checkpoint(self.part, y, use_reentrant=False))


def test_checkpointed_parts_have_the_same_gradients(x):
    model = Checkpointed()
    swapped = slaf.swap(model, RATIONAL, x)
    assert len(slaf.audit(swapped, x).activations) == 5
    swapped(x).square().sum().backward()
    gradients = {name: p.grad.clone() for name, p in swapped.named_parameters()}
    swapped.zero_grad()
    y = swapped.outer(swapped.part(swapped.inner(x)))
    y.square().sum().backward()
    for name, parameter in swapped.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad)


def test_compiled_copied_and_pickled(x):
    model = Small()
    swapped = slaf.swap(model, RATIONAL, x)
    compiled = torch.compile(swapped, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), swapped(x))
    with pytest.raises(SlafError, match=r"_orig_mod"):
        slaf.swap(compiled, {"extended": "gelu"}, x)
    for twin in (copy.deepcopy(swapped), pickle.loads(pickle.dumps(swapped))):
        assert torch.equal(twin(x), swapped(x))
        assert twin.slaf_recipe == swapped.slaf_recipe
        assert torch.equal(slaf.undo(twin)(x), model(x))
    assert isinstance(swapped.act, slaf.Activation)


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*")  # torch's own copy of a pytree
@pytest.mark.parametrize("make", [torch.fx.symbolic_trace, lambda m: torch.export.export(m, (torch.randn(64, 6),)).module()])
def test_graph_modules(make, x):
    torch.manual_seed(0)
    model = make(Small())
    code = model.code
    swapped = slaf.swap(model, {"relu": RATIONAL, "tanh": LINES}, x)
    assert {s.kind for s in slaf.audit(swapped, x).activations} == {"extended", "piecewise_linear"}
    assert model.code == code
    assert torch.equal(rebuilt(make(Small()), swapped)(x), swapped(x))
    slaf.undo(swapped)
    assert swapped.code == code
    assert torch.equal(swapped(x), model(x))


# -- numbers, modes, examples ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("old", [nn.ReLU, nn.PReLU])
def test_models_in_other_dtypes(dtype, old, x):
    model = nn.Sequential(nn.Linear(6, 8), old(), nn.Linear(8, 3)).to(dtype)
    swapped = slaf.swap(model, LINES, x.to(dtype))
    assert {p.dtype for p in swapped.parameters()} == {dtype}
    assert swapped(x.to(dtype)).dtype == dtype
    assert swapped.slaf_report.sites[0].drift <= 4 * torch.finfo(dtype).eps + 1e-6
    fresh = rebuilt(copy.deepcopy(model), swapped)
    assert {p.dtype for p in fresh.parameters()} == {dtype}
    assert torch.equal(fresh(x.to(dtype)), swapped(x.to(dtype)))


def test_parameters_stay_in_float32_where_only_the_inputs_are_half(x):
    class Mixed(Small):
        def forward(self, x):
            with torch.autocast("cpu", torch.bfloat16):
                return super().forward(x)

    swapped = slaf.swap(Mixed(), RATIONAL, x)
    assert {p.dtype for p in swapped.parameters()} == {torch.float32}
    assert swapped(x).dtype == torch.bfloat16
    swapped(x).sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in swapped.parameters())


def test_modes_follow_the_model(x):
    model = Small()
    model.act.eval()
    swapped = slaf.swap(model, {"relu": RATIONAL, "tanh": "slaf(degree=3, normalize=batch)"}, x)
    assert not swapped.act.training
    assert swapped.tanh_1.training
    frozen = slaf.swap(model.eval(), RATIONAL, x)
    assert not any(m.training for m in frozen.modules())
    assert not any(m.training for m in slaf.rebuild(Small().eval(), frozen.slaf_recipe).modules())
    assert all(m.training for m in slaf.undo(frozen.train()).modules())
    swapped.eval()
    assert not any(m.training for m in slaf.undo(swapped).modules())


def test_several_batches_are_fitted_but_the_last(x):
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    swapped = slaf.swap(model, LINES, [x, x[:5], 2 * x[:17]])
    assert swapped.slaf_report.held_out
    assert swapped.slaf_report.output.max_abs <= 1e-5
    assert swapped.slaf_report.sites[0].outside_share < 0.2
    alone = slaf.swap(model, LINES, x, held_out=2 * x[:17])
    assert alone.slaf_report.sites[0].interval == swapped.slaf_report.sites[0].interval


def test_the_examples_are_not_overwritten(x):
    model, held_out = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(6, 3)), torch.randn(9, 6)
    before = x.clone(), held_out.clone()
    swapped = slaf.swap(model, LINES, x, held_out=held_out)
    assert torch.equal(x, before[0])
    assert torch.equal(held_out, before[1])
    assert swapped.slaf_report.output.max_abs <= 1e-5
    assert swapped.slaf_report.sites[0].interval[0] < -1


# -- what is refused ---------------------------------------------------------------------------------------------------------------------


class Loop(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(6, 6)

    def forward(self, x):
        for _ in range(2 if x.shape[0] > 10 else 3):
            x = F.relu(self.lin(x))
        return x


def test_a_loop_that_is_longer_later(x):
    swapped = slaf.swap(Loop(), LINES, x)
    with pytest.raises(SlafError, match=r"more often than its 2 modules .* share='module'"):
        swapped(x[:4])
    assert slaf.swap(Loop(), LINES, x, share="module")(x[:4]).shape == (4, 6)


@pytest.mark.parametrize("change", [{"relu": None}, {"relu": lambda _: None, "tanh": None}])
def test_rules_that_keep_everything(change, x):
    with pytest.raises(SlafError, match="keep every activation"):
        slaf.swap(Small(), change, x)


def test_arguments_that_do_not_fit(x):
    model = Small()
    with pytest.raises(SlafError, match=r"Small fails on the example: .*\(3x4 and 6x8\)"):
        slaf.swap(model, "gelu", x, held_out=torch.randn(3, 4), inplace=True)
    assert isinstance(model.act, nn.ReLU)
    assert not hasattr(model, "tanh_1")
    with pytest.raises(SlafError, match="rule 'relu' must give an activation string"):
        slaf.swap(model, {"relu": lambda _: 3}, x)
    for wrong in (lambda: slaf.swap("no", "gelu", x), lambda: slaf.undo("no"), lambda: slaf.rebuild("no", {})):
        with pytest.raises(SlafError, match=r"model must be a torch\.nn\.Module; got str"):
            wrong()


def test_calls_that_share_one_activation_cannot_become_two(x):
    model = nn.Sequential(nn.Linear(6, 6), act := nn.ReLU(), nn.Linear(6, 6), act)
    rules = {lambda site: site.call == 0: "gelu", "relu": "silu"}
    with pytest.raises(SlafError, match="have one activation together, and the rules want gelu and silu"):
        slaf.swap(model, rules, x, share="module")
    assert [m.name for m in slaf.swap(model, rules, x)[1::2]] == ["gelu", "silu"]
