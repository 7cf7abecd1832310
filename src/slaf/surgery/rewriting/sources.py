"""From a code object to the syntax tree of the function it was compiled from, and back."""

from __future__ import annotations
import __future__ as future

import ast
import copy
import dis
import hashlib
import linecache
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from types import CodeType
from typing import Any

__all__ = ["Function", "Source", "Unroutable", "call_at", "codes_within", "compile_code", "source_of"]

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Span = tuple[int, int, int, int]  # line, end line, column, end column

_FUTURE = 0
for _name in future.all_feature_names:
    _FUTURE |= getattr(future, _name).compiler_flag


class Unroutable(Exception):  # noqa: N818
    """Why a call cannot be rerouted, in one clause."""


@dataclass(frozen=True)
class Source:
    """A function as it is written.

    ``context`` is the smallest module in which the function compiles to the same code: its outermost statement, with classes
    reduced to the way to the function (names of enclosing functions stay free variables, private names stay mangled).
    """

    code: CodeType
    node: Function
    context: ast.Module
    qualname: str
    first: int  # line of the function, or of its first decorator
    lines: str  # the whole file
    digest: str

    def copied(self) -> tuple[ast.Module, Function]:
        """The context and the function in it, free to be changed."""
        memo: dict[int, Any] = {}
        context = copy.deepcopy(self.context, memo)
        return context, memo[id(self.node)]


def source_of(code: CodeType, module_globals: dict[str, Any] | None = None, check: bool = True) -> Source:
    """The source of the function that runs ``code``; :class:`Unroutable` if there is none or (``check``) it is not what runs."""
    index, lines = _index(code.co_filename, module_globals)
    known = _checked.get((code.co_filename, code))
    if known is not None and known[0] is lines:
        return known[1]
    source = _find(code, index, lines)
    if check:
        compiled = compile_code(source.context, source)
        # an import hook (such as pytest's) rewrites assert statements
        rewritten = any(isinstance(node, ast.Assert) for node in ast.walk(source.node))
        if compiled != code and not rewritten:
            raise Unroutable(f"the source of {source.qualname} in {code.co_filename} is not what runs: it has changed since the import")
        _checked[code.co_filename, code] = (lines, source)
    return source


def _find(code: CodeType, index: _Index, lines: list[str]) -> Source:
    found = index.get((code.co_firstlineno, code.co_name), [])
    if len(found) > 1:  # several lambdas on one line
        found = [entry for entry in found if _covers(entry[0], code)]
        found.sort(key=lambda entry: len(ast.unparse(entry[0])))
    if not found:
        raise Unroutable(f"the source of {code.co_name} is not in {code.co_filename}")
    node, ancestors = found[0]
    first = code.co_firstlineno
    whole = "".join(lines)
    text = "".join(lines[first - 1 : node.end_lineno])
    if isinstance(node, ast.Lambda):
        text = ast.get_source_segment(whole, node) or text
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return Source(code, node, _prune(node, ancestors), _qualname(node, ancestors), first, whole, digest)


_Index = dict[tuple[int, str], list[tuple[Function, tuple[ast.AST, ...]]]]
_checked: dict[tuple[str, CodeType], tuple[list[str], Source]] = {}
_files: dict[str, tuple[list[str], _Index]] = {}


def _index(file: str, module_globals: dict[str, Any] | None) -> tuple[_Index, list[str]]:
    linecache.checkcache(file)
    lines = linecache.getlines(file, module_globals)
    if not lines:
        raise Unroutable(f"there is no source for {file}")
    if file in _files and (_files[file][0] is lines or _files[file][0] == lines):
        return _files[file][1], lines
    try:
        tree = ast.parse("".join(lines))
    except (SyntaxError, ValueError):
        raise Unroutable(f"{file} is not Python source") from None
    index: _Index = {}
    _collect(tree, (), index)
    if len(_files) > 64:
        _files.clear()
        _checked.clear()
    _files[file] = (lines, index)
    return index, lines


def _collect(node: ast.AST, ancestors: tuple[ast.AST, ...], index: _Index) -> None:
    if isinstance(node, Function):
        decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
        first = decorators[0].lineno if decorators else node.lineno
        name = "<lambda>" if isinstance(node, ast.Lambda) else node.name
        index.setdefault((first, name), []).append((node, ancestors))
    inner = (*ancestors, node)
    for child in ast.iter_child_nodes(node):
        _collect(child, inner, index)


def _covers(node: Function, code: CodeType) -> bool:
    if sys.version_info < (3, 11) or not isinstance(node, ast.Lambda):
        return False
    body = node.body
    start, end = (body.lineno, body.col_offset), (body.end_lineno or 0, body.end_col_offset or 0)
    spans = [p for p in code.co_positions() if None not in p and p[2:] != (0, 0)]
    return bool(spans) and all(start <= (p[0], p[2]) and (p[1], p[3]) <= end for p in spans)


def _prune(node: Function, ancestors: tuple[ast.AST, ...]) -> ast.Module:
    child: Any = node
    for parent in reversed(ancestors):
        if isinstance(parent, ast.Module):
            return ast.Module(body=[*_imports(parent), child], type_ignores=[])
        if isinstance(parent, ast.ClassDef) and isinstance(child, ast.stmt):
            alone = copy.copy(parent)
            alone.body, alone.bases, alone.keywords, alone.decorator_list = [child], [], [], []
            child = alone
        else:
            child = parent
    raise AssertionError("a tree starts at a module")


def _imports(module: ast.Module) -> Iterator[ast.stmt]:
    """The compiler calls ``F.relu`` in another way if ``F`` is imported by the module."""
    for statement in module.body:
        if not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield from (node for node in ast.walk(statement) if isinstance(node, (ast.Import, ast.ImportFrom)))


def _qualname(node: Function, ancestors: tuple[ast.AST, ...]) -> str:
    parts = []
    for parent in (*ancestors, node):
        if isinstance(parent, ast.ClassDef):
            parts.append(parent.name)
        elif isinstance(parent, Function):
            parts += ["<lambda>" if isinstance(parent, ast.Lambda) else parent.name, "<locals>"]
    return ".".join(parts[:-1])


def codes_within(code: CodeType) -> Iterator[CodeType]:
    """``code`` and the code of every function, lambda and comprehension written inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes_within(constant)


def compile_code(context: ast.Module, source: Source) -> CodeType:
    """The code of the source's function when ``context`` (its own, or a changed copy) is compiled; lines and file as in the original."""
    flags = source.code.co_flags & _FUTURE
    module = compile(ast.fix_missing_locations(context), source.code.co_filename, "exec", flags=flags, dont_inherit=True)
    wanted = (source.code.co_name, source.code.co_firstlineno)
    found = [code for code in codes_within(module) if (code.co_name, code.co_firstlineno) == wanted]
    if len(found) > 1:
        found = [code for code in found if _covers(source.node, code)][-1:] or found
    if not found:
        raise Unroutable(f"the source of {source.qualname} does not compile to a function of its own")
    return found[0]


def span_of(node: ast.AST) -> Span:
    """Line, end line, column, end column."""
    return node.lineno, node.end_lineno, node.col_offset, node.end_col_offset  # type: ignore[attr-defined]


def call_at(source: Source, code: CodeType, lasti: int) -> ast.AST:
    """The expression that ``code``, which is the source's or is written inside it, evaluates at instruction ``lasti``."""
    span = _span(code, lasti)
    if span is None:
        return _call_by_line(source, code, lasti)
    closest: ast.AST | None = None
    for node in ast.walk(source.node):
        if not isinstance(node, ast.expr):
            continue
        if span_of(node) == span or (isinstance(node, ast.Call) and _attribute_span(node) == span):
            if isinstance(node, ast.Call):
                return node
            closest = closest or node
    if closest is None:
        raise Unroutable(f"no expression of {source.qualname} is found at line {span[0]}")
    return closest


def _span(code: CodeType, lasti: int) -> Span | None:
    if sys.version_info < (3, 11):
        return None
    span = next(islice(code.co_positions(), lasti // 2, None), (None,) * 4)
    return None if None in span else span  # type: ignore[return-value]


def _attribute_span(call: ast.Call) -> Span | None:
    """A method call over several lines is placed by the compiler at the name of the method."""
    if not isinstance(call.func, ast.Attribute):
        return None
    line, column = call.func.end_lineno or 0, call.func.end_col_offset or 0
    return line, call.end_lineno or 0, column - len(call.func.attr.encode()), call.end_col_offset or 0


def _call_by_line(source: Source, code: CodeType, lasti: int) -> ast.Call:
    """Without columns (Python 3.10): the n-th call instruction of the line is the n-th call written there, if their numbers agree."""
    lines = {offset: line for start, stop, line in code.co_lines() for offset in range(start, stop, 2)}
    line = lines.get(lasti)
    made = [i.offset for i in dis.get_instructions(code) if i.opname.startswith("CALL") and "INTRINSIC" not in i.opname]
    made = [offset for offset in made if lines.get(offset) == line]
    written = [call for call in _calls_in_order(source.node) if _line_of(call) == line]
    if not made:
        raise Unroutable("it is not a call")
    begun = [offset for offset in made if offset <= lasti]  # lasti may be in the cache of the instruction
    if len(made) != len(written) or not begun:
        raise Unroutable(f"line {line} has more than one call, and this Python does not tell which one runs")
    return written[len(begun) - 1]


def _line_of(call: ast.Call) -> int:
    return (call.func.end_lineno or 0) if isinstance(call.func, ast.Attribute) else call.lineno


def _calls_in_order(node: ast.AST) -> Iterator[ast.Call]:
    children = list(ast.iter_child_nodes(node))
    if isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign)) and node.value is not None:
        children.sort(key=lambda child: child is not node.value)
    for child in children:
        yield from _calls_in_order(child)
    if isinstance(node, ast.Call):
        yield node
