"""Modules whose nonlinear calls are written in many ways."""
# ruff: noqa: ARG002, C400, E731, SIM108

import functools
import math
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.drop = nn.Dropout(0.3)
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.slope = 1.0


class Functional(Block):
    def forward(self, x):
        return F.relu(self.second(F.relu(self.first(x))))


class Inplace(Block):
    def forward(self, x):
        x = F.relu(self.first(x), inplace=True)
        return self.second(x)


class Keyword(Block):
    def forward(self, x):
        return F.relu(input=self.first(x)) + torch.tanh(input=self.second(x))


class Torch(Block):
    def forward(self, x):
        return torch.tanh(self.first(x)) * torch.sigmoid(self.second(x))


class Method(Block):
    def forward(self, x):
        return self.first(x).sigmoid() * (x + self.second(x)).tanh()


class SeveralLines(Block):
    def forward(self, x):
        x = self.first(x).tanh().add(1).relu()
        return F.relu(
            self.second(
                x,
            ),
            inplace=False,
        )


class InplaceStatements(Block):
    def forward(self, x):
        x = self.first(x)
        x.relu_()
        y, z, w = self.second(x), x - 0.2, x - 0.3
        torch.relu_(y)
        F.relu(z, True)
        F.relu(w, inplace=True)
        return x + y + z + w


class InplaceUsedAfter(Block):
    def forward(self, x):
        x = self.first(x) - 0.1
        y = F.relu(x, inplace=True)
        z = self.second(x)
        (z.tanh_(), None)
        return x + self.second(y) * z


class Nothing(Block):
    def forward(self, x):
        F.relu(x)
        return self.first(x) + F.relu(x)


class Nested(Block):
    def forward(self, x):
        return F.relu(torch.tanh(self.first(F.relu(x))).sigmoid())


class Several(Block):
    def forward(self, x):
        # fmt: off
        a, b = F.relu(x), torch.tanh(x); c = x.sigmoid()  # noqa: E702
        # fmt: on
        return a + b * c


class Training(Block):
    def forward(self, x):
        if self.training:
            x = self.drop(F.relu(self.first(x)))
        else:
            x = torch.tanh(self.first(x))
        return F.dropout(torch.sigmoid(self.second(x)), 0.5, self.training)


class Loop(Block):
    def forward(self, x):
        for layer in self.layers:
            x = F.relu(layer(x)) + x
        k = 0
        while k < 2:
            x, k = torch.tanh(x), k + 1
        return x


class Early(Block):
    def forward(self, x):
        """Documented."""
        if x.shape[0] > 100:
            return F.relu(x)
        return torch.tanh(x)


class Tries(Block):
    def forward(self, x):
        try:
            x = F.relu(self.first(x))
            raise KeyError("never mind")
        except KeyError as error:
            x = torch.tanh(x) * len(error.args)
        finally:
            x = torch.sigmoid(x)
        with nullcontext():
            return F.relu(self.second(x))


class OwnMethods(Block):
    def forward(self, x):
        return self._twice(self._twice(x)) + self.__private(x)

    def _twice(self, x):
        return self._once(F.relu(self.first(x)))

    def _once(self, x, *, scale=2.0):
        return torch.tanh(x) * scale

    def __private(self, x):
        return torch.sigmoid(self.__also(x))

    def __also(self, x):
        return F.relu(x)


class Parent(Block):
    def __init__(self):
        super().__init__()
        self.slope = 3.0

    def forward(self, x):
        return F.relu(self.first(x)) * self.slope


class Child(Parent):
    def __init__(self):
        super().__init__()
        self.slope += 1

    def forward(self, x):
        return super().forward(torch.tanh(x)) + self.second(x)


class Grandchild(Child):
    def forward(self, x):
        return torch.sigmoid(super(Grandchild, self).forward(x)) + Parent.forward(self, x)  # noqa: UP008


class Inherits(Child):
    pass


class UsesClass(Block):
    def forward(self, x):
        assert __class__ is UsesClass
        return F.relu(self.first(x))


def helper(x, scale=1.0, *, shift=0.5):
    return F.relu(x) * scale + shift


def outer_helper(x):
    return helper(torch.tanh(x), 2.0) + helper(x, shift=1.0)


def with_module(module, x):
    return F.relu(module.first(x))


def passing(function, x):
    return function(x) + 1


class Helper(Block):
    def forward(self, x):
        return helper(self.first(x), scale=3.0) + helper(x)


class Helpers(Block):
    def forward(self, x):
        return outer_helper(self.first(x)) + with_module(self, x) + passing(helper, x)


class Static(Block):
    def forward(self, x):
        return self.act(self.first(x)) + Static.act(x)

    @staticmethod
    def act(x):
        return torch.tanh(x)


class Other:
    def compute(self, x, y):
        return F.relu(x) * y


class OtherObject(Block):
    def __init__(self):
        super().__init__()
        self.other = Other()

    def forward(self, x):
        return self.other.compute(self.first(x), y=2.0)


class NestedFunction(Block):
    def forward(self, x):
        offset = 0.5

        def inner(y):
            def innermost(z):
                return torch.tanh(z) + offset

            return innermost(F.relu(self.first(y)))

        return inner(inner(x))


class Checkpointed(Block):
    def forward(self, x):
        def run(y):
            return F.relu(self.first(y))

        return checkpoint(run, x, use_reentrant=False) + checkpoint(self._second, x, use_reentrant=False)

    def _second(self, x):
        return torch.tanh(self.second(x))


class Comprehension(Block):
    def forward(self, x):
        rows = [F.relu(layer(x)) for layer in self.layers]
        rows += list(torch.tanh(r) for r in rows)
        rows += {k: torch.sigmoid(r) for k, r in enumerate(rows)}.values()
        return torch.stack(rows).sum(0)


class Consumed(Block):
    def forward(self, x):
        rows = list(map(self._row, self.first(x)))
        return torch.stack(rows) + sum(self._many(x)) + sum(map(helper, [x]))

    def _row(self, row):
        return F.relu(row)

    def _many(self, x):
        for layer in self.layers:
            yield torch.tanh(layer(x))


class LambdaInside(Block):
    def forward(self, x):
        act = lambda y: F.relu(y)
        return act(self.first(x)) + (lambda y: torch.tanh(y))(x)


class LambdaAttribute(Block):
    def __init__(self):
        super().__init__()
        self.act, self.gate = (lambda y: F.relu(y)), (lambda y, k=2: torch.tanh(y) * k)

    def forward(self, x):
        return self.act(self.first(x)) * self.gate(x)


def doubled(forward):
    @functools.wraps(forward)
    def wrapper(self, *args, **kwargs):
        return forward(self, *args, **kwargs) * 2

    return wrapper


def anonymous(function):
    def around(*args, **kwargs):
        return torch.sigmoid(function(*args, **kwargs)) - 1

    return around


def configured(scale):
    def decorate(function):
        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            return function(*args, **kwargs) * scale

        return wrapped

    return decorate


@configured(3.0)
def decorated_helper(x):
    return F.relu(x)


class Decorated(Block):
    @doubled
    @anonymous
    @configured(0.5)
    def forward(self, x):
        return F.relu(self.first(x)) + self.more(x)

    @doubled
    def more(self, x):
        return torch.tanh(x)


class DecoratedHelper(Block):
    @torch.autocast("cpu", enabled=False)
    def forward(self, x):
        return decorated_helper(self.first(x)) + self.scaled(x)

    @configured(2.0)
    def scaled(self, x):
        return torch.sigmoid(x)


def made(power):
    """A class in a function: its methods have free variables."""
    extra = 0.25

    def local(x):
        return torch.tanh(x) + extra

    class Made(Block):
        def __init__(self):
            super().__init__()
            self.power = power

        def forward(self, x):
            return F.relu(self.first(x)) * power + local(x) + self._own(x)

        def _own(self, x):
            return super().__getattribute__("power") * torch.sigmoid(x) + extra

    return Made()


class Arguments(Block):
    def forward(self, x, /, y=None, *others, flag: bool = True, **rest: float) -> torch.Tensor:
        return F.elu(self.first(x), 1.0 if flag else float("inf")) + F.gelu(x, approximate="none") * math.pi


class Walrus(Block):
    def forward(self, x):
        return F.relu(y := self.first(x)) + y


class StarredRest(Block):
    def forward(self, x):
        return F.softplus(self.first(x), *(1, 20)) + F.elu(x)


class Constructed(Block):
    def forward(self, x):
        return torch.nn.functional.relu(self.first(x)) + getattr(F, "relu")(x)  # noqa: B009


class Conditional(Block):
    def forward(self, x):
        return F.relu(x) if x.sum() > 0 else torch.tanh(self.first(x) if self.training else F.relu(x))


class Mutating(Block):
    def forward(self, x):
        kept = {}
        kept["a"] = F.relu(self.first(x))
        kept["a"] = kept["a"] + torch.tanh(x)
        kept["b"] = kept["a"][0].sigmoid()
        return kept["a"] * kept["b"]


class Matched(Block):
    def forward(self, x):
        match x.shape[0]:
            case 3:
                return F.relu(self.first(x))
            case _:
                return torch.tanh(x)


CLASSES = [value for value in list(globals().values()) if isinstance(value, type) and issubclass(value, Block) and value is not Block]
