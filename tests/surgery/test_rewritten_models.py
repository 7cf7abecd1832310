"""A rerouted model is still a model: copies, pickles, compilation, export, tracing, transforms; its class is left alone."""

import copy
import gc
import inspect
import io
import linecache
import pickle
import traceback

import pytest
import torch
import written
from torch import fx, nn
from tracing import Function, calls, rerouted

import slaf
from slaf.surgery.rewriting.places import Place
from slaf.surgery.rewriting.rewrite import PerCall, reroute, restore

TRACEABLE = [written.Functional, written.SeveralLines, written.OwnMethods, written.Grandchild, written.Helpers, written.Loop]
COMPILABLE = [*TRACEABLE, written.InplaceStatements, written.Training, written.NestedFunction, written.Comprehension, written.Decorated]


def _x(rows=3):
    return torch.randn(rows, 4, generator=torch.Generator().manual_seed(1))


def _pair(case):
    torch.manual_seed(0)
    plain = case().eval()
    return plain, rerouted(copy.deepcopy(plain), _x())


@pytest.mark.parametrize("case", [written.Functional, written.Child, written.Helpers, written.Decorated, written.OtherObject])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_pickled_as_the_class_and_the_routes(case, protocol):
    plain, model = _pair(case)
    other = pickle.loads(pickle.dumps(model, protocol))
    assert isinstance(other, case)
    assert torch.equal(other(_x()), plain(_x()))
    assert not calls(other, _x(), names=("relu",))[0][1].function.startswith(case.__name__)
    restore(other)
    assert type(other) is case


def test_saved_whole():
    plain, model = _pair(written.Functional)
    file = io.BytesIO()
    torch.save(nn.Sequential(model, nn.Linear(4, 2)), file)
    file.seek(0)
    other = torch.load(file, weights_only=False)[0]
    assert type(other) is type(model)
    assert torch.equal(other(_x()), plain(_x()))
    assert torch.equal(copy.copy(model)(_x()), plain(_x()))


class Odd(written.Functional):
    """Pickles in its own way."""

    def __reduce__(self):
        return _make_odd, (self.first.in_features,)


def _make_odd(features):
    torch.manual_seed(0)
    made = Odd()
    for k in range(features):
        made.add_module(f"relu_{k}", Function("relu"))
    return made


def test_a_class_that_pickles_in_its_own_way():
    plain, model = _make_odd(4), rerouted(_make_odd(4), _x())
    other = pickle.loads(pickle.dumps(model))
    assert type(other) is type(model) is not Odd
    assert torch.equal(other(_x()), plain(_x()))


@pytest.mark.parametrize("case", COMPILABLE)
def test_compiles_as_one_graph(case):
    plain, model = _pair(case)
    torch._dynamo.reset()
    assert torch.equal(torch.compile(model, backend="aot_eager", fullgraph=True)(_x()), plain(_x()))


@pytest.mark.parametrize("case", COMPILABLE)
def test_is_exported(case):
    plain, model = _pair(case)
    exported = torch.export.export(model, (_x(),))
    assert torch.equal(exported.module()(_x()), plain(_x()))


@pytest.mark.parametrize("case", TRACEABLE)
def test_is_traced_symbolically(case):
    plain, model = _pair(case)
    assert torch.equal(fx.symbolic_trace(model)(_x()), plain(_x()))


@pytest.mark.parametrize("case", [written.Functional, written.Loop, written.Helpers])
def test_functional_calls_and_vmap(case):
    plain, model = _pair(case)
    parameters = dict(model.named_parameters())
    stacked = {k: torch.stack([v, v + 0.1]) for k, v in parameters.items()}

    def call(values, x):
        return torch.func.functional_call(model, values, (x,))

    def reference(values, x):
        return torch.func.functional_call(plain, values, (x,))

    assert torch.equal(torch.vmap(call, (0, None))(stacked, _x()), torch.vmap(reference, (0, None))(stacked, _x()))
    gradient = torch.func.grad(lambda values: call(values, _x()).square().sum())(parameters)
    expected = torch.func.grad(lambda values: reference(values, _x()).square().sum())(parameters)
    assert all(torch.equal(gradient[k], expected[k]) for k in expected)


def test_a_replica_uses_its_own_submodules():
    plain, model = _pair(written.Functional)
    replica = model._replicate_for_data_parallel()
    replica._modules = dict(model._modules, relu_0=Function("tanh"), relu_1=Function("tanh"))
    expected = torch.tanh(plain.second(torch.tanh(plain.first(_x()))))
    for name in ("first", "second"):
        replica._modules[name] = getattr(model, name)
    assert torch.equal(replica(_x()), expected)
    assert torch.equal(model(_x()), plain(_x()))


def test_the_class_and_other_instances_are_left_alone():
    before = dict(vars(written.Helpers))
    plain, model = _pair(written.Helpers)
    assert dict(vars(written.Helpers)) == before
    assert type(plain) is written.Helpers
    assert isinstance(model, written.Helpers)
    for name in ("__name__", "__qualname__", "__module__", "__doc__"):
        assert getattr(type(model), name) == getattr(written.Helpers, name)
    assert written.helper(torch.ones(1)) == 1.5


def test_signature_annotations_and_defaults_are_kept():
    plain, model = _pair(written.Arguments)
    assert inspect.signature(model.forward) == inspect.signature(plain.forward)
    assert type(model).forward.__kwdefaults__ == {"flag": True}
    assert type(model).forward.__annotations__ == written.Arguments.forward.__annotations__
    assert inspect.getsource(type(model).forward) == inspect.getsource(written.Arguments.forward)
    _, documented = _pair(written.Early)
    assert documented.forward.__doc__ == "Documented."


def test_decorators_are_applied_again():
    _, model = _pair(written.Decorated)
    assert type(model).forward is not written.Decorated.forward
    assert type(model).forward.__wrapped__ is not written.Decorated.forward.__wrapped__
    assert type(model).forward.__qualname__ == written.Decorated.forward.__qualname__


def test_blocks_with_the_same_routes_share_one_class_which_dies_with_them():
    models = [_pair(written.Functional)[1] for _ in range(3)]
    assert len({type(m) for m in models}) == 1
    other = _pair(written.Functional)[1]
    place = calls(written.Functional(), _x())[0][1]
    other.elsewhere = Function("tanh")
    reroute(other, {place: "elsewhere"})
    assert type(other) is not type(models[0])
    del models, other
    gc.collect()
    assert not [c for c in written.Functional.__subclasses__() if "_slaf_original" in vars(c)]


def test_two_instances_whose_helpers_differ_do_not_share():
    class Held(nn.Module):
        def __init__(self, helper):
            super().__init__()
            self.act = helper

        def forward(self, x):
            return self.act(x)

    def plus(k):
        return lambda x: torch.tanh(x) + k

    models = [rerouted(Held(plus(k)), _x()) for k in (1.0, 2.0)]
    assert [torch.equal(m(_x()), torch.tanh(_x()) + k) for m, k in zip(models, (1.0, 2.0), strict=True)] == [True, True]


def test_routes_are_added_and_replaced():
    plain = written.Functional()
    model = copy.deepcopy(plain)
    (_, inner, _), (_, outer, _) = calls(model, _x())
    model.a, model.b, model.c = Function("tanh"), Function("sigmoid"), Function("silu")
    reroute(model, {inner: "a"})
    assert torch.equal(model(_x()), torch.relu(plain.second(torch.tanh(plain.first(_x())))))
    found = next(place for owner, place, _ in calls(model, _x()) if owner is model)
    assert found == outer
    reroute(model, {outer: "b"})
    assert torch.equal(model(_x()), torch.sigmoid(plain.second(torch.tanh(plain.first(_x())))))
    reroute(model, {inner: "c"})
    assert torch.equal(model(_x()), torch.sigmoid(plain.second(nn.functional.silu(plain.first(_x())))))
    restore(model)
    restore(model)
    assert type(model) is written.Functional


def test_all_or_nothing():
    plain, model = written.Functional(), written.Functional()
    (_, inner, _), (_, outer, _) = calls(model, _x())
    elsewhere = calls(written.Torch(), _x())[0][1]
    for wrong in (elsewhere, Place.from_dict({**outer.to_dict(), "problem": "it is forbidden"})):
        with pytest.raises(slaf.SlafError, match="cannot be rerouted"):
            reroute(model, {inner: "a", wrong: "b"})
        assert type(model) is written.Functional
    for name in ("__a", "a b", "class", ""):
        with pytest.raises(slaf.SlafError, match="name of a route"):
            reroute(plain, {inner: name})


def test_tracebacks_show_the_line_of_the_file():
    _, model = _pair(written.SeveralLines)

    class Broken(nn.Module):
        def forward(self, _):
            raise RuntimeError("broken")

    for name, text in (("tanh_0", "self.first(x)"), ("relu_2", "return F.relu(")):
        other = copy.deepcopy(model)
        setattr(other, name, Broken())
        with pytest.raises(RuntimeError, match="broken") as error:
            other(_x())
        frame = next(f for f in traceback.extract_tb(error.tb) if f.filename == written.__file__)
        assert text in linecache.getline(frame.filename, frame.lineno)
        assert frame.name == "forward"


MODULE = """
import torch.nn as nn
import torch.nn.functional as F

class Model(nn.Module):
    def forward(self, x):
        return F.relu(x)
"""


def _imported(path, monkeypatch, name, text=MODULE):
    import importlib

    path.joinpath(f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(path)
    return importlib.import_module(name)


def test_a_source_that_has_changed_is_refused(tmp_path, monkeypatch):
    module = _imported(tmp_path, monkeypatch, "changed_on_disk")
    place = calls(module.Model(), _x())[0][1]
    tmp_path.joinpath("changed_on_disk.py").write_text(MODULE.replace("F.relu(x)", "F.relu(x) * 1.0"))
    with pytest.raises(slaf.SlafError, match=r"Model.forward in .*changed_on_disk.py is not what runs"):
        reroute(module.Model(), {place: "a"})
    assert "not what runs" in calls(module.Model(), _x())[0][1].problem
    newer = _imported(tmp_path, monkeypatch, "newer", MODULE.replace("F.relu(x)", "F.relu(x) * 1.0"))
    with pytest.raises(slaf.SlafError, match=r"Model.forward in .*newer.py has changed since the place was found"):
        reroute(newer.Model(), {place: "a"})
    same = _imported(tmp_path, monkeypatch, "moved", "\n\n# lines above do not matter\n" + MODULE)
    model = same.Model()
    model.a = Function("tanh")
    reroute(model, {place: "a"})
    assert torch.equal(model(_x()), torch.tanh(_x()))


def test_deleted_source(tmp_path, monkeypatch):
    module = _imported(tmp_path, monkeypatch, "deleted_later")
    tmp_path.joinpath("deleted_later.py").unlink()
    assert "no source" in calls(module.Model(), _x())[0][1].problem


class Graphed(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.act = nn.Linear(4, 4), nn.SiLU()

    def forward(self, x):
        y = nn.functional.relu(self.first(x))
        z = torch.tanh(y).sigmoid()
        w = y * z
        w.relu_()
        return nn.functional.elu(input=w, alpha=1.0) + self.act(w)


def _graphs():
    torch.manual_seed(0)
    model = Graphed().eval()
    return model, fx.symbolic_trace(model), torch.export.export(model, (_x(),)).module()


@pytest.mark.filterwarnings("ignore:.isinstance.treespec:FutureWarning")  # torch.export, of itself
@pytest.mark.parametrize("kind", [1, 2], ids=["symbolic_trace", "export"])
def test_graph_modules_are_rerouted_in_their_graph(kind):
    models = _graphs()
    plain, graph = models[0], models[kind]
    code = graph.code
    rerouted(graph, _x())
    assert torch.equal(graph(_x()), plain(_x()))
    assert sum(node.op == "call_module" and str(node.target)[-1].isdigit() for node in graph.graph.nodes) >= 5
    copied = copy.deepcopy(graph)
    assert torch.equal(copied(_x()), plain(_x()))
    if kind == 1:
        loaded = pickle.loads(pickle.dumps(graph))
        restore(loaded)
        assert torch.equal(loaded(_x()), plain(_x()))
        assert not any(str(node.target)[-1].isdigit() for node in loaded.graph.nodes if node.op == "call_module")
    for rewritten in (graph, copied):
        restore(rewritten)
        assert rewritten.code == code or "relu_" in code
        assert torch.equal(rewritten(_x()), plain(_x()))


def test_graph_nodes_that_cannot_be_rerouted():
    class Two(nn.Module):
        def forward(self, x):
            return nn.functional.relu(x, inplace=False) + nn.functional.elu(x, alpha=x.sum())

    model = fx.symbolic_trace(Two())
    place = Place("f", "", 1, "elu", (slaf.surgery.rewriting.places.Step("forward", "", node="elu"),))
    with pytest.raises(slaf.SlafError, match="another argument is computed"):
        reroute(model, {place: "a"})
    place = Place("f", "", 1, "elu", (slaf.surgery.rewriting.places.Step("forward", "", node="nowhere"),))
    with pytest.raises(slaf.SlafError, match="no node 'nowhere'"):
        reroute(model, {place: "a"})


class Repeats(nn.Module):
    def __init__(self, helper=False):
        super().__init__()
        self.helper = helper

    def forward(self, x, times=3):
        for _ in range(times):
            x = self._one(x) if self.helper else nn.functional.relu(x)
        return x

    def _one(self, x):
        return nn.functional.relu(x)


def _counted(helper, last=False, assigned_later=False):
    model = Repeats(helper)
    place = calls(model, _x())[0][1]
    modules = PerCall([Function("tanh"), Function("sigmoid"), Function("silu")], last=last)
    if not assigned_later:
        model.act = modules
    reroute(model, {place: "act"})
    model.act = modules
    return model


def _expected(x, times=3):
    functions = [torch.tanh, torch.sigmoid] + [nn.functional.silu] * 5
    for function in functions[:times]:
        x = function(x)
    return x


@pytest.mark.parametrize("helper", [False, True])
@pytest.mark.parametrize("later", [False, True])
def test_per_call_modules(helper, later):
    model = _counted(helper, assigned_later=later)
    for _ in range(2):
        assert torch.equal(model(_x()), _expected(_x()))
        assert torch.equal(model(_x(), 2), _expected(_x(), 2))
    with pytest.raises(slaf.SlafError, match="called more often than its 3 modules"):
        model(_x(), 4)
    assert torch.equal(model(_x()), _expected(_x()))
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), model._replicate_for_data_parallel()):
        assert torch.equal(other(_x()), _expected(_x()))
    assert torch.equal(_counted(helper, last=True)(_x(), 5), _expected(_x(), 5))
    with pytest.raises(slaf.SlafError, match="at least one"):
        PerCall([])


@pytest.mark.parametrize("helper", [False, True])
def test_per_call_modules_under_checkpointing_compilation_and_export(helper):
    from torch.utils.checkpoint import checkpoint

    model = _counted(helper)
    x = _x().requires_grad_()
    y = checkpoint(model, x, use_reentrant=False)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    (expected,) = torch.autograd.grad(_expected(x).sum(), x)
    assert torch.equal(gradient, expected)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    for _ in range(3):
        assert torch.equal(compiled(_x()), _expected(_x()))
    assert torch.equal(model(_x()), _expected(_x()))
    assert torch.equal(torch.export.export(model, (_x(),)).module()(_x()), _expected(_x()))
    assert torch.equal(fx.symbolic_trace(model, {"times": 3})(_x()), _expected(_x()))
