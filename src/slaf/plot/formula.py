"""``formula``: an activation's function as short text, numbers put in."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from slaf.core import Activation, SlafError

__all__ = ["formula"]


def formula(activation: Activation, digits: int = 3, limit: int = 300, channel: int = 0) -> str | None:
    """One channel's function as short text in ``x``, its numbers to ``digits`` significant digits; ``None`` if none is known."""
    import sympy

    try:
        expression = activation.expression(channel)
    except SlafError:
        return None
    x = sympy.Symbol("x", real=True)
    expression = expression.subs({s: x for s in expression.free_symbols if s.name == "x"})
    values = {s: getattr(activation, s.name, None) for s in expression.free_symbols if s != x}
    numbers = {s: sympy.Float(_of_channel(activation, v, channel)) for s, v in values.items() if isinstance(v, Tensor) and v.numel()}
    text = _write(expression.subs(numbers), x, digits)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _of_channel(activation: Activation, theta: Tensor, channel: int) -> float:
    sharing = getattr(activation, "sharing", None)
    shared = sharing is not None and theta.dim() > 0 and len(theta) == sharing.count
    each = (sharing.per_site(theta) if shared else theta).detach().reshape(-1)  # type: ignore[union-attr]
    return float(each[channel if channel < len(each) else 0])


def _write(expression: Any, x: Any, digits: int) -> str:
    """A polynomial by rising powers, ``where`` in words, anything else as sympy writes it."""
    import sympy

    if isinstance(expression, sympy.Piecewise):
        *cases, (last, _) = [(_write(e, x, digits), sympy.sstr(c)) for e, c in expression.args]
        return ", ".join([*(f"{value} if {condition}" for value, condition in cases), f"else {last}"])
    if not expression.is_polynomial(x):
        return sympy.sstr(sympy.N(expression, digits))
    terms = []
    pairs = [(power, c) for (power,), c in reversed(sympy.Poly(expression, x).terms())]
    if not all(c.is_number for _, c in pairs):
        return sympy.sstr(sympy.N(expression, digits))
    noise = 1e-12 * max(abs(float(c)) for _, c in pairs)  # what rounding leaves of an exact 0
    for power, coefficient in (p for p in pairs if abs(float(p[1])) > noise or len(pairs) == 1):
        number = f"{float(coefficient):.{digits}g}"
        factor = {0: "", 1: "x"}.get(power, f"x**{power}")
        terms.append(factor if factor and number == "1" else "*".join(filter(None, (number, factor))))
    return " + ".join(terms).replace("+ -", "- ")
