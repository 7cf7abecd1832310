"""A study that takes milliseconds, for tests of what runs studies. Import it to register it."""

import os
import time

import torch
from torch import nn

from slaf.compare import Data, Study, register_study
from slaf.core import ContractError
from slaf.train import Recipe, generator


@register_study
class Toy(Study):
    """Regression of sin(2x) by eight units. It can pause, break down, refuse an activation or kill its process on request."""

    name = "toy"
    title = "A toy"
    source = "nowhere"
    claim = "Nothing <b>bold</b> & $dollar is claimed."
    primary = "nmse"
    direction = "min"
    budgets = {  # noqa: RUF012
        "smoke": {"epochs": 2, "points": 64, "pause": 0.0, "lr": 0.01, "widths": (8,), "trick": "none"},
        "small": {"epochs": 4, "points": 64, "pause": 0.0, "lr": 0.01, "widths": (8,), "trick": "none"},
    }
    activations = ("relu", "tanh")
    seeds = 2

    def data(self, seed, budget):
        g = generator(seed, "data")
        x = 2 * torch.rand(budget["points"], 2, generator=g) - 1
        y = torch.sin(2 * x[:, :1])
        half = len(x) // 2
        return Data((x[:half], y[:half]), (x[half:], y[half:]), spec={"width": budget["widths"][0], "trick": budget["trick"]})

    def build(self, make, data):
        width = data.spec["width"]
        model = nn.Sequential(nn.Linear(2, width), make("hidden", width), nn.Linear(width, 1))
        if data.spec["trick"] == "refuse" and "tanh" in repr(model[1]):
            raise ContractError("slot hidden needs an unbounded activation")
        return model

    def recipe(self, budget, data):  # noqa: ARG002
        return Recipe(epochs=budget["epochs"], batch_size=8, lr=budget["lr"])

    def train(self, model, data, budget, seed, on_epoch, **how):
        if "TOY_LOG" in os.environ:
            with open(os.environ["TOY_LOG"], "a") as log:
                log.write(f"{model[1]!r} {seed}\n")
        is_tanh = "tanh" in repr(model[1])
        if budget["trick"] == "die" and is_tanh and seed == 1:
            os._exit(9)
        if budget["trick"] == "raise" and is_tanh:
            raise RuntimeError("a study's <script>alert(1)</script> bug")

        def slow(done, total, loss):
            time.sleep(budget["pause"])
            on_epoch(done, total, loss)

        return super().train(model, data, budget, seed, slow, **how)

    def loss(self, output, target):
        return ((output - target) ** 2).mean()

    def metrics(self, model, data):
        x, y = data.test
        with torch.no_grad():
            error = self.loss(model(x), y)
        return {"nmse": float(error / y.var()), "loss": float(error)}
