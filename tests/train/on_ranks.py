"""What test_ranks.py runs on every rank, importable by name; ``fabric=None`` is the one process it is compared with."""

import copy
import os
import pickle
import time
import warnings

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import slaf
from slaf.train import L1, L2, Recipe, synchronize, train

ACTIVATIONS = {
    "default": "slaf",
    "input=batch": "slaf(input=batch)",
    "input=batch, squash": "slaf(input=batch, squash=tanh, degree=3)",
    "normalize=batch, chebyshev": "slaf(normalize=batch, input=identity, degree=5)",
    "normalize=batch, power": "slaf(normalize=batch, input=identity, basis=power, degree=4)",
    "both": "slaf(normalize=batch, input=batch, degree=5)",
    "paper_a": "slaf(preset=paper_a)",
    "paper_b_prime": "slaf(preset=paper_b_prime)",
    "batch_norm": "batch_norm(relu)",
    "batch_norm(slaf)": "batch_norm(slaf(input=batch), affine=false)",
}
SIZES = (10, 1)  # of the ranks' batches: far apart, and the last too small for statistics of its own
ROUTINES = {
    "adam": {},
    "clip, penalty, cosine": {"optimizer": "sgd", "clip": 0.3, "penalty": L1(1e-2), "schedule": "cosine", "weight_decay": 1e-3},
    "separate penalty, alternating": {"optimizer": "sgd", "separate_penalty": L2(1e-1), "routine": "alternating", "alternate_every": 2},
    "milestones": {"optimizer": "sgd", "schedule": ((1, 3e-2), (2, 1e-2)), "activation_lr_factor": 0.3, "drop_last": True},
}


def net(spec, noise=0.0, dtype=torch.float64):
    torch.manual_seed(0)
    act = slaf.make(spec, num_channels=5)
    return nn.Sequential(nn.Linear(6, 5), act, nn.Dropout(noise), nn.Linear(5, 2)).to(dtype)


def points(n, offset=0.0, dtype=torch.float64):
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(1), dtype=dtype) + offset
    return x, torch.stack([(x - offset).prod(1), (x - offset).sin().sum(1)], 1)


def steps(fabric, spec, together=True, count=5, offset=0.0, sizes=SIZES):
    """State, outputs and input gradients of a few steps, by a loop as a user writes it.

    By gradient descent: Adam would blow the rounding noise of a zero gradient (a bias before a standardisation) up to its step.
    """
    model = net(spec)
    step = model
    if fabric is not None:
        step = DistributedDataParallel(synchronize(model) if together else model)
    optimizer = torch.optim.SGD(model.parameters(), 1e-2, momentum=0.9)
    n = sum(sizes)
    x, y = points(n * count, offset)
    seen = []
    for xs, ys in zip(x.split(n), y.split(n), strict=True):
        share = 1.0
        if fabric is not None:
            xs, ys = xs.split(sizes)[fabric.global_rank], ys.split(sizes)[fabric.global_rank]
            share = len(xs) * fabric.world_size / n
        xs = xs.clone().requires_grad_()
        out = step(xs)
        optimizer.zero_grad()
        (share * F.mse_loss(out, ys)).backward()
        optimizer.step()
        seen += [out.detach(), xs.grad / (1 if fabric is None else fabric.world_size)]
    parts = [torch.cat(gathered(fabric, t)) for t in seen]
    states = gathered(fabric, torch.cat([v.reshape(-1).double() for v in model.state_dict().values()]))
    return {"state": states, "seen": torch.cat([p.reshape(-1) for p in parts])}


def gathered(fabric, tensor):
    """Every rank's, of whatever sizes."""
    if fabric is None:
        return [tensor]
    out = [None] * fabric.world_size
    torch.distributed.all_gather_object(out, tensor)
    return out


def trained(fabric, options, spec="slaf(degree=3, init_noise=0.1)", n=67, batch=16, dtype=torch.float64, **more):
    """History and state after ``train``, of every rank; noisy, or L1 went by the sign of a coefficient that is 0 up to rounding."""
    model = net(spec, dtype=dtype)
    for _ in range(2):  # a model can be trained again
        trace = train(model, points(n, dtype=dtype), F.mse_loss, Recipe(3, batch, lr=3e-2, **options), seed=3, fabric=fabric, **more)
    state = torch.cat([v.reshape(-1).double() for v in model.state_dict().values()])
    return gathered(fabric, {"history": trace.history, "finite": trace.finite, "steps": trace.steps, "state": state})


def exploding(fabric, rank):
    """A loss that is infinite on one rank alone, in the second epoch."""
    model = net("relu")
    calls = []

    def loss(output, target):
        mine = fabric is None or fabric.global_rank == rank
        calls.append(1)
        return F.mse_loss(output, target) * (float("inf") if mine and len(calls) > 4 else 1.0)

    trace = train(model, points(64), loss, Recipe(5, 16), fabric=fabric)
    return gathered(fabric, {"finite": trace.finite, "epochs": len(trace.history["loss"]), "steps": trace.steps})


def kept(fabric):
    """What a synchronised module keeps through copies, and what the model is after ``train``."""
    model = synchronize(net("slaf(normalize=batch)"))
    act = model[1]
    copied, pickled = copy.deepcopy(act), pickle.loads(pickle.dumps(act))
    fresh = net("slaf(normalize=batch)")
    fresh.load_state_dict(model.state_dict())
    again = net("slaf(input=batch)")
    train(again, points(32), F.mse_loss, Recipe(1, 16), fabric=fabric)
    return {
        "deepcopy": copied.term_statistics.ranks is act.term_statistics.ranks is not None,
        "pickle": pickled.term_statistics.ranks,
        "state_dict": fresh[1].term_statistics.ranks,
        "after train": again[1].input_statistics.ranks,
    }


def second(fabric):
    """The gradient of |∂loss/∂x|² in x."""
    act = slaf.make("slaf(input=batch, normalize=batch, degree=3)", num_channels=6, dtype=torch.float64)
    x = points(sum(SIZES))[0]
    if fabric is not None:
        act, x = synchronize(act), x.split(SIZES)[fabric.global_rank].clone()
    x.requires_grad_()
    (g,) = torch.autograd.grad(act(x).pow(3).sum(), x, create_graph=True)
    return torch.cat(gathered(fabric, torch.autograd.grad(g.square().sum(), x)[0]))


def groups(fabric):
    """How many ranks sum in a group of both, and in one of rank 0 alone, of which rank 1 is no member."""
    both, first = (torch.distributed.new_group(members) for members in ([0, 1], [0]))
    act = slaf.make("batch_norm(relu)", num_channels=6, dtype=torch.float64)
    synchronize(act, both)
    act(points(sum(SIZES))[0].split(SIZES)[fabric.global_rank])
    found = [act.ranks.size]
    try:
        found.append(synchronize(act, first).ranks)
    except slaf.SlafError as error:
        found.append(str(error))
    return gathered(fabric, found)


def sharded(fabric, dtype=torch.float32):
    """Parameters after a few steps, spread over the ranks by FSDP between the passes, and the outputs."""
    torch.manual_seed(0)
    acts = [slaf.make(spec, num_channels=6) for spec in ("slaf(normalize=batch)", "rational", "slaf(input=identity, degree=3)")]
    model = nn.Sequential(*(layer for act in acts for layer in (nn.Linear(6, 6), act)), nn.Linear(6, 2)).to(dtype)
    x, y = points(32, dtype=dtype)
    if fabric is not None:
        from torch.distributed.fsdp import fully_shard

        x, y = (t.chunk(fabric.world_size)[fabric.global_rank] for t in (x, y))
        mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (fabric.world_size,))
        for layer in (model := synchronize(model)):
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
    optimizer = torch.optim.SGD(model.parameters(), 1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        out = model(x)
        F.mse_loss(out, y).backward()
        optimizer.step()
    whole = [p.detach() if fabric is None else p.full_tensor() for p in model.parameters()]
    buffers = [b.reshape(-1).to(dtype) for b in model.buffers()]
    return {"state": torch.cat([t.reshape(-1) for t in (*whole, *buffers)]), "out": torch.cat(gathered(fabric, out.detach()))}


def noise(fabric):
    """Dropout's masks of rank 0 and rank 1 in one step."""
    seen = []

    class Noise(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, x):
            if self.training:
                seen.append(torch.rand(len(x)))
            return x[:, :2] * self.weight

    train(Noise().double(), points(16), F.mse_loss, Recipe(1, 16), fabric=fabric)
    return gathered(fabric, seen[0])


def refusals(fabric):
    """The sentence of every error."""
    said = []
    for n, batch in ((1, 8), (8, 1)):
        try:
            train(net("relu"), points(n), F.mse_loss, Recipe(1, batch), fabric=fabric)
        except slaf.SlafError as error:
            said.append(str(error))
    return said


def everything(fabric):
    warnings.simplefilter("error")
    return {
        "steps": {name: steps(fabric, spec) for name, spec in ACTIVATIONS.items()},
        "far": steps(fabric, ACTIVATIONS["normalize=batch, power"], offset=100.0),
        "apart": {name: steps(fabric, spec, together=False, sizes=(8, 3)) for name, spec in ACTIVATIONS.items()},
        "trained": {name: trained(fabric, options) for name, options in ROUTINES.items()},
        "held out": trained(fabric, {}, valid=points(33)),
        "float32": trained(fabric, ROUTINES["clip, penalty, cosine"], dtype=torch.float32),
        "exploding": exploding(fabric, 1),
        "kept": kept(fabric),
        "second": second(fabric),
        "groups": groups(fabric),
        "sharded": {dtype: sharded(fabric, dtype) for dtype in (torch.float32, torch.float64)},
        "noise": noise(fabric),
        "refusals": refusals(fabric),
        "threads": torch.get_num_threads(),
    }


def failing(fabric):
    if fabric.global_rank == 1:
        raise slaf.SlafError("rank 1 has had enough")
    fabric.barrier()


def dying(fabric):
    if fabric.global_rank == 1:
        os._exit(7)
    fabric.barrier()


def endless(fabric, folder):
    """Says who it is, then waits for ever."""
    with open(os.path.join(folder, f"{fabric.global_rank}.tmp"), "w") as file:
        file.write(str(os.getpid()))
    os.rename(file.name, os.path.join(folder, f"{fabric.global_rank}.pid"))
    while True:
        time.sleep(1)
