"""Methods made from a grammar of statements: whatever they do, the rerouted model does the same."""

import itertools
import linecache

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tracing import Function, calls, rerouted

_NAMES = st.sampled_from(["x", "y", "z"])
_FUNCTIONS = st.sampled_from(["relu", "tanh", "sigmoid"])


def _forms(inner, function):
    return {
        "function": f"F.{function}({inner})",
        "torch": f"torch.{function}({inner})",
        "keyword": f"torch.{function}(input={inner})",
        "method": f"({inner}).{function}()",
        "lines": f"torch.{function}(\n(\n{inner}\n)\n)",
        "module": f"self.linear({inner})",
        "lambda": f"(lambda v: F.{function}(v) * 0.5)({inner})",
        "each": f"torch.stack([F.{function}(row) for row in {inner}])",
        "own": f"self._own({inner}, scale=2.0)",
        "sum": f"({inner} + F.{function}({inner}))",
        "choice": f"(F.{function}({inner}) if self.training else torch.tanh({inner}))",
    }


_KINDS = list(_forms("", ""))
_expressions = st.recursive(
    _NAMES, lambda inner: st.builds(lambda i, f, k: _forms(i, f)[k], inner, _FUNCTIONS, st.sampled_from(_KINDS)), max_leaves=3
)


def _indented(lines):
    return ["    " + line for line in lines]


_assignments = st.builds(lambda name, e: [f"{name} = {_one_line(e)}"], _NAMES, _expressions)
_inplace = st.builds(lambda name, f: [f"{name} = {name} * 1.0", f"{name}.{f}_()"], _NAMES, _FUNCTIONS)
_returns = st.builds(lambda name, e: [f"if {name}.sum() > 3:", f"    return {_one_line(e)}"], _NAMES, _expressions)


def _one_line(expression):
    return f"({expression})"  # may go on over several lines


_FAILS = ("    raise KeyError", "except KeyError:", "    x = x + 1", "finally:")


def _blocks(inner):
    body = st.lists(inner, min_size=1, max_size=2).map(lambda parts: list(itertools.chain(*parts)))
    return st.one_of(
        st.builds(lambda b: ["for _ in range(2):", *_indented(b)], body),
        st.builds(lambda b, c: ["if self.training:", *_indented(b), "else:", *_indented(c)], body, body),
        st.builds(
            lambda b: ["try:", *_indented(b), "    raise KeyError", "except KeyError:", "    x = x + 1", "finally:", *_indented(b)], body
        ),
        st.builds(lambda n, e: ["def inner(y):", f"    return {_one_line(e)} + z", f"x = inner({n})"], _NAMES, _expressions),
        st.builds(lambda b: ["with torch.enable_grad():", *_indented(b)], body),
    )


_statements = st.recursive(st.one_of(_assignments, _inplace, _returns), _blocks, max_leaves=4)
_methods = st.lists(_statements, min_size=1, max_size=4).map(lambda parts: list(itertools.chain(*parts)))
_counter = itertools.count()


def _class(lines):
    text = "\n".join(
        [
            "import torch",
            "import torch.nn as nn",
            "import torch.nn.functional as F",
            "class Base(nn.Module):",
            "    def __init__(self):",
            "        super().__init__()",
            "        self.linear = nn.Linear(4, 4)",
            "    def forward(self, x):",
            "        return torch.sigmoid(x)",
            "class Model(Base):",
            "    def forward(self, x):",
            "        y, z = super().forward(x), x - 0.3",
            *_indented(_indented(lines)),
            "        return x + y * z",
            "    def _own(self, x, scale):",
            "        return F.relu(x) * scale + self.__more(x)",
            "    def __more(self, x):",
            "        return torch.tanh(x)",
        ]
    )
    file = f"<generated {next(_counter)}>"
    linecache.cache[file] = (len(text), None, [line + "\n" for line in text.split("\n")], file)
    space = {"__name__": "generated"}
    exec(compile(text, file, "exec"), space)
    return space["Model"]


def _run(model, x):
    x = x.clone().requires_grad_()
    y = model(x * 1.0)
    return y.detach(), torch.autograd.grad(y.square().sum(), x)[0]


@given(_methods)
@settings(max_examples=60, deadline=None)
def test_random_methods_compute_the_same(lines):
    case = _class(lines)
    torch.manual_seed(0)
    plain, model = case(), case()
    model.load_state_dict(plain.state_dict())
    x = torch.randn(3, 4)
    for mode in (True, False):
        plain.train(mode), model.train(mode)
        if any(not isinstance(owner, Function) for owner, _, _ in calls(model, x)):
            rerouted(model, x)
        assert all(torch.equal(a, b) for a, b in zip(_run(model, x), _run(plain, x), strict=True))
        found = calls(model, x)
        assert found
        assert all(isinstance(owner, Function) for owner, _, _ in found)
