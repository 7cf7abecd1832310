"""``anneal``: what a model computes on the way, what is added to the loss, what is left at the end, and what is refused."""

import copy
import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import slaf
from slaf.core import SlafError
from slaf.surgery.annealing import Blend


class Net(nn.Module):
    """A module that works in place, called twice; a functional call; a learned activation."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third, self.last = nn.Linear(6, 10), nn.Linear(10, 10), nn.Linear(10, 10), nn.Linear(10, 3)
        self.act, self.prelu = nn.SiLU(inplace=True), nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.second(self.act(self.first(x))))
        return self.last(self.prelu(F.silu(self.third(x))))


class Loop(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.act = nn.Linear(4, 4), nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = self.act(self.linear(x))
        return x


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


@pytest.fixture
def x() -> Tensor:
    return 2 * torch.randn(32, 6, generator=torch.Generator().manual_seed(1))


def test_it_goes_from_the_old_model_to_the_swapped_one(net, x) -> None:
    rules = {"silu": "hardswish", "prelu": "rational(5,4)"}
    before = copy.deepcopy(net.state_dict())
    annealing = slaf.anneal(net, rules, example=x)
    assert torch.equal(annealing.model(x), net(x))
    annealing.progress = 1
    assert torch.equal(annealing.model(x), slaf.swap(net, rules, example=x)(x))
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())


def test_in_between_it_is_the_mean_of_both() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(3, 3), nn.Mish(), nn.Linear(3, 2)), torch.randn(9, 3)
    annealing = slaf.anneal(model, {"mish": "hard_mish"}, example=x)
    annealing.progress = 0.25
    z = model[0](x)
    wanted = model[2](0.75 * F.mish(z) + 0.25 * slaf.functional.hard_mish(z))
    assert torch.allclose(annealing.model(x), wanted, atol=1e-6)


@pytest.mark.parametrize(("progress", "runs"), [(0, ["old"]), (0.5, ["new", "old"]), (1, ["new"])])
def test_nothing_is_evaluated_in_vain(net, x, progress, runs) -> None:
    annealing = slaf.anneal(net, {"prelu": "rational(5,4)"}, example=x)
    annealing.progress = progress
    seen: list[str] = []
    (blend,) = annealing.blends.values()
    for name in ("old", "new"):
        module, forward = getattr(blend, name), getattr(blend, name).forward
        module.forward = lambda z, name=name, forward=forward: seen.append(name) or forward(z)
    annealing.model(x)
    assert sorted(seen) == runs


def test_sites_go_by_schedule_and_order(net, x) -> None:
    rules = {"silu": "hardswish"}
    together = slaf.anneal(net, rules, example=x, schedule="cosine", settle=0.5)
    together.progress = 0.125
    assert list(together.alphas.values()) == pytest.approx([(1 - math.cos(math.pi / 4)) / 2] * 3)
    together.progress = 0.5
    assert list(together.alphas.values()) == [1, 1, 1], "the second half is for the new ones alone"
    ordered = slaf.anneal(net, rules, example=x, schedule=lambda t: t * t, order="front_to_back")
    names = list(ordered.alphas)
    assert [n.partition(":")[0] for n in names][:2] == ["act", "act#2"]
    ordered.progress = 0.5
    assert list(ordered.alphas.values()) == pytest.approx([1, 0.25, 0])
    assert "50.0% of the way" in str(ordered)
    assert "25.0%" in str(ordered)


def test_steps_add_up(net, x) -> None:
    annealing = slaf.anneal(net, {"prelu": "relu"}, example=x)
    for _ in range(7):
        annealing.step(1 / 7)
    assert annealing.progress == 1
    assert annealing.step(0.1) == 1
    annealing.progress = 0.5
    y = annealing.model(x)
    annealing.step(0.25)
    y.sum().backward()  # of α as it was


class FunctionalPReLU(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.weight = nn.Linear(6, 4), nn.Parameter(torch.tensor([0.3]))

    def forward(self, x: Tensor) -> Tensor:
        return F.prelu(self.linear(x), self.weight)


def test_the_weight_of_a_function_is_kept_and_moves_along(x) -> None:
    model = nn.Sequential(FunctionalPReLU(), nn.Linear(4, 2))
    annealing = slaf.anneal(model, {"prelu": "relu"}, example=x)
    annealing.progress = 0.5
    annealing.model(x).sum().backward()
    assert model[0].weight.grad is None, "the original's"
    half = annealing.model.bfloat16()(x.bfloat16())
    assert half.dtype == torch.bfloat16
    z = model[0].linear(x)
    assert torch.allclose(half.float(), model[1](0.5 * F.prelu(z, model[0].weight) + 0.5 * z.relu()), atol=0.1)


def test_the_range_penalty_is_that_of_the_inputs() -> None:
    model, x = nn.Sequential(nn.Tanh(), nn.Linear(2, 1)), torch.tensor([[0.5, 3.0], [-2.0, 0.0]])
    annealing = slaf.anneal(model, {"tanh": "rational(3,2)"}, example=x, range_penalty=0.1, interval=(-1.0, 2.0))
    z = x.clone().requires_grad_()
    annealing.model(z)
    value = annealing.penalty()
    value.backward()
    by_hand = 0.1 * (math.expm1(1 / 1.5) + math.expm1(1 / 1.5)) / 4
    assert value.item() == pytest.approx(by_hand)
    slope = 0.1 * math.exp(1 / 1.5) / 1.5 / 4
    assert z.grad.flatten().tolist() == pytest.approx([0, slope, -slope, 0])
    with pytest.raises(SlafError, match=r"needs a forward of annealing\.model in training mode"):
        annealing.penalty()
    annealing.model.eval()(x)
    with pytest.raises(SlafError, match="in training mode"):
        annealing.penalty()


@pytest.mark.parametrize("share", ["call", "module"])
def test_every_call_of_the_last_forward_counts_once(share) -> None:
    torch.manual_seed(0)
    model, x = Loop(), torch.randn(5, 4)
    annealing = slaf.anneal(model, {"tanh": "rational(3,2)"}, example=x, range_penalty=1.0, interval=(-0.1, 0.1), share=share)
    seen = []
    hook = annealing.model.linear.register_forward_hook(lambda *a: seen.append(a[2].detach()))
    annealing.model(torch.randn(5, 4))
    seen.clear()
    annealing.model(x)
    hook.remove()
    assert annealing.penalty().item() == pytest.approx(sum(slaf.train.boundary_loss(z, -0.1, 0.1).item() for z in seen))


def test_distillation_is_from_the_frozen_original(net, x) -> None:
    annealing = slaf.anneal(net, {"silu": "hardswish"}, example=x, distill=0.5)
    other = slaf.anneal(net, {"silu": "hardswish"}, example=x, distill=2.0, distance="mse")
    wanted = net(x).detach()
    assert abs(annealing.distillation(x, annealing.model(x)).item()) < 1e-6
    annealing.progress = other.progress = 1
    output = annealing.model(x)
    p, q = wanted.double().softmax(-1), output.double().softmax(-1)
    assert annealing.distillation(x, output).item() == pytest.approx(0.5 * ((p * (p / q).log()).sum(-1).mean()).item(), rel=1e-2)
    assert other.distillation(x, output).item() == pytest.approx(2 * ((wanted - output).square().mean()).item(), rel=1e-5)
    annealing.distillation(x, output).backward()
    assert annealing.model.first.weight.grad is not None
    with torch.no_grad():
        annealing.model.last.weight.zero_()
        net.last.weight.zero_()
    assert other.distillation(x, wanted).item() == 0, "a copy of its own"
    with pytest.raises(SlafError, match="no floating tensor of the same name"):
        annealing.distillation(x, {"hidden": output})


def test_without_weights_nothing_is_added(net, x) -> None:
    annealing = slaf.anneal(net, {"silu": "hardswish"}, example=x)
    assert (annealing.penalty() + annealing.distillation(x, annealing.model(x))).item() == 0


def train(annealing: "slaf.surgery.Annealing", optimizer: torch.optim.Optimizer, x: Tensor, steps: int, total: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        output = annealing.model(x)
        (output.square().mean() + annealing.penalty() + annealing.distillation(x, output)).backward()
        optimizer.step()
        annealing.step(1 / total)


def made(net: Net, x: Tensor) -> tuple["slaf.surgery.Annealing", torch.optim.Optimizer]:
    rules = {"prelu": "rational(5,4)", "silu": "hardswish"}
    annealing = slaf.anneal(net, rules, example=x, distill=1.0, range_penalty=1.0, order="front_to_back", interval=(-1.0, 1.0))
    return annealing, torch.optim.Adam(annealing.model.parameters(), 1e-2)


def test_resumed_it_goes_on_bitwise(net, x) -> None:
    whole, optimizer = made(net, x)
    train(whole, optimizer, x, 8, 8)
    half, optimizer = made(net, x)
    half.blends["prelu"].interval.copy_(torch.tensor([-2.0, 2.0]))
    half.blends["prelu"].interval.copy_(torch.tensor([-1.0, 1.0]))
    train(half, optimizer, x, 3, 8)
    saved = pickle.loads(pickle.dumps((half.model.state_dict(), half.state_dict(), optimizer.state_dict())))
    again, optimizer = made(net, x)
    again.model.load_state_dict(saved[0])
    assert again.alphas == half.alphas
    again.load_state_dict(saved[1])
    optimizer.load_state_dict(saved[2])
    train(again, optimizer, x, 5, 8)
    assert again.progress == whole.progress == 1
    assert all(torch.equal(t, whole.model.state_dict()[n]) for n, t in again.model.state_dict().items())


def test_a_loaded_model_is_as_far_as_the_saved_one(net, x) -> None:
    one, other = (slaf.anneal(net, {"silu": "hardswish"}, example=x) for _ in range(2))
    one.progress = 1
    other.model.load_state_dict(one.model.state_dict())
    assert torch.equal(one.model(x), other.model(x))
    assert not torch.equal(one.model(x), net(x))


def test_copies_and_pickles_survive_a_recorded_forward(net, x) -> None:
    annealing, _ = made(net, x)
    annealing.progress = 0.6
    y = annealing.model(x)
    assert torch.equal(copy.deepcopy(annealing.model)(x), y)
    module = nn.Sequential(nn.Linear(6, 4), nn.SiLU())
    other = slaf.anneal(module, "hardswish", example=x, range_penalty=1.0)
    other.progress = 0.3
    y = other.model(x)
    assert torch.equal(pickle.loads(pickle.dumps(other.model))(x), y)


def test_the_end_is_like_a_swap(net, x) -> None:
    heard = []
    net.prelu.register_forward_hook(lambda *a: heard.append(a[0]))
    annealing, optimizer = made(net, x)
    train(annealing, optimizer, x, 4, 4)
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    y = annealing.model(x)
    heard.clear()
    model = annealing.finish()
    heard.clear()
    assert torch.equal(model(x), y)
    assert len(heard) == 1, "who listened to the old module listens to the new one"
    assert isinstance(heard[0], slaf.Activation)
    assert not any(isinstance(m, Blend) for m in model.modules())
    assert {id(p) for p in model.parameters()} <= trained
    assert model.training
    fresh = slaf.rebuild(Net(), model.slaf_recipe)
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh(x), y)
    exported = torch.export.export(copy.deepcopy(model).eval(), (x,)).module()
    assert torch.allclose(exported(x), y, atol=1e-6)
    report = model.slaf_report
    assert report.output.relative == pytest.approx(slaf.surgery.drift(net, model, x).relative)
    assert report.bare.relative == pytest.approx(slaf.surgery.drift(net, slaf.swap(net, annealing_rules(), example=x), x).relative)
    assert "before training, by the swap alone" in str(report)
    assert report.to_dict()["progress"] == 1
    back = slaf.undo(model)
    assert [type(m) for m in back.modules()] == [type(m) for m in net.modules()]
    assert isinstance(back.prelu, nn.PReLU)


def annealing_rules() -> dict[str, str]:
    return {"prelu": "rational(5,4)", "silu": "hardswish"}


def test_in_place_it_is_the_model_itself(net, x) -> None:
    y = net(x)
    annealing = slaf.anneal(net, "hardswish", example=x, inplace=True)
    assert annealing.model is net
    assert torch.equal(net(x), y)
    assert torch.equal(slaf.undo(annealing.finish())(x), y)


def test_a_finished_one_is_of_no_use(net, x) -> None:
    annealing = slaf.anneal(net, "hardswish", example=x)
    annealing.finish()
    assert annealing.finished
    for use in (annealing.finish, annealing.penalty, annealing.state_dict, lambda: annealing.step(0.1), lambda: annealing.blends):
        with pytest.raises(SlafError, match="this annealing is finished"):
            use()
    assert "finished" in str(annealing)


def test_compiled_once_for_all_progress_and_once_for_each_end(net, x) -> None:
    from torch._dynamo.testing import CompileCounter

    annealing = slaf.anneal(net, {"silu": "hardswish", "prelu": "relu"}, example=x, range_penalty=1.0, interval=(-1.0, 1.0))
    counter = CompileCounter()
    torch._dynamo.reset()
    compiled = torch.compile(annealing.model, backend=counter, fullgraph=True)
    for progress in (0, 0.1, 0.35, 0.8, 1):
        annealing.progress = progress
        y, value = compiled(x), annealing.penalty()
        assert torch.allclose(y, annealing.model(x), atol=1e-6)
        assert value.item() == pytest.approx(annealing.penalty().item())
    assert counter.frame_count == 3


def test_ddp_finds_a_gradient_for_every_parameter(net, x, tmp_path) -> None:
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        annealing = slaf.anneal(net, {"prelu": "rational(5,4)"}, example=x)
        wrapped = nn.parallel.DistributedDataParallel(annealing.model)
        for progress in (0, 0.5, 1, 1):
            annealing.progress = progress
            wrapped(x).sum().backward()
            assert all(p.grad is not None for p in annealing.model.parameters())
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"rules": {"gelu": "relu"}}, "'gelu' fits no activation"),
        ({"schedule": "quadratic"}, "schedule must be"),
        ({"schedule": lambda t: t / 2}, "from 0 to 0.5"),
        ({"schedule": lambda t: 1 - t}, "from 1 to 0"),
        ({"schedule": lambda t: t + math.sin(2 * math.pi * t)}, "schedule must never go back; it goes from"),
        ({"schedule": lambda t: float("nan") if 0 < t < 1 else t}, "never go back"),
        ({"order": "back_to_front"}, "order must be"),
        ({"distance": "l1"}, "distance must be"),
        ({"distill": -1}, "distill must be a number of at least 0; got -1"),
        ({"range_penalty": math.inf}, "range_penalty must be a number of at least 0; got inf"),
        ({"settle": 1}, "settle must be a number of at least 0 and below 1; got 1"),
        ({"interval": (1.0, 1.0)}, "interval must be two numbers"),
        ({"example": torch.randn(4, 5)}, "fails on the example"),
        ({"example": []}, "example is an empty list"),
    ],
)
def test_what_is_refused_leaves_the_model(net, x, arguments, says) -> None:
    before = {n: type(m) for n, m in net.named_modules()}
    with pytest.raises(SlafError, match=says):
        slaf.anneal(net, **({"rules": "hardswish", "example": x, "inplace": True} | arguments))
    assert {n: type(m) for n, m in net.named_modules()} == before


def test_progress_and_state_are_checked(net, x) -> None:
    annealing = slaf.anneal(net, {"prelu": "relu"}, example=x)
    for wrong in (-0.1, 1.5, math.nan, "half", True):
        with pytest.raises(SlafError, match="progress must be a number in"):
            annealing.progress = wrong
    with pytest.raises(SlafError, match="by must be a number in"):
        annealing.step(-0.1)
    other = slaf.anneal(net, {"prelu": "gelu"}, example=x)
    with pytest.raises(SlafError, match="its activations are"):
        annealing.load_state_dict(other.state_dict())
    with pytest.raises(SlafError, match="must be an annealing's state_dict"):
        annealing.load_state_dict({"version": 1})
    assert annealing.progress == 0


def digits_like() -> tuple[Tensor, Tensor]:
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(3))
    return x, (x[:, 0] > 0).long()


def test_the_loop_takes_it_to_the_end(net) -> None:
    data = digits_like()
    recipe = slaf.train.Recipe(epochs=2, batch_size=16, lr=1e-2)
    annealing = slaf.anneal(net, {"silu": "hardswish"}, example=data[0], distill=1.0, range_penalty=0.1, interval=(-0.5, 0.5))
    seen = []
    watch = annealing.model.register_forward_hook(lambda *_: seen.append((annealing.progress, *annealing.alphas.values())))
    trace = slaf.train.train(annealing.model, data, F.cross_entropy, recipe, seed=1, annealing=annealing)
    watch.remove()
    assert [s[0] for s in seen] == pytest.approx([k / 6 for k in range(6)])
    assert trace.history["annealed"] == pytest.approx([0.5, 1.0])
    assert all(value > 0 for value in trace.history["penalty"])
    assert annealing.progress == 1
    annealing.finish()


def test_the_loop_goes_on_from_where_it_is_and_computes_what_a_loop_by_hand_does(net) -> None:
    x, y = digits_like()
    recipe = slaf.train.Recipe(epochs=3, batch_size=64, lr=1e-2)
    results = []
    for by_hand in (False, True):
        annealing = slaf.anneal(net, {"silu": "hardswish"}, example=x, distill=1.0)
        annealing.progress = 0.4
        if by_hand:
            optimizer = torch.optim.Adam(slaf.param_groups(annealing.model), 1e-2)
            order = slaf.train.generator(1, "batches")
            for _ in range(3):
                rows = torch.randperm(len(x), generator=order)
                output = annealing.model(x[rows])
                optimizer.zero_grad()
                (F.cross_entropy(output, y[rows]) + annealing.distillation(x[rows], output)).backward()
                optimizer.step()
                annealing.step(0.2)
        else:
            slaf.train.train(annealing.model, (x, y), F.cross_entropy, recipe, seed=1, annealing=annealing)
        assert annealing.progress == 1
        results.append(annealing.finish().eval()(x))
    assert torch.allclose(*results, atol=1e-5)


def test_the_loop_wants_the_annealings_own_model(net) -> None:
    data = digits_like()
    annealing = slaf.anneal(net, {"silu": "hardswish"}, example=data[0])
    with pytest.raises(SlafError, match=r"model must be annealing\.model"):
        slaf.train.train(net, data, F.cross_entropy, slaf.train.Recipe(epochs=1, batch_size=8), annealing=annealing)
    with pytest.raises(SlafError, match="data is empty"):
        slaf.train.train(
            annealing.model, (torch.zeros(0, 6), torch.zeros(0)), F.cross_entropy, slaf.train.Recipe(1, 8), annealing=annealing
        )
