"""Which fields of the configuration the program reads, as its source says: by annotations, from the whole down to a field."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path

from wirecrypt.settings import Settings

Field = tuple[str, str]  # class and name


def groups(cls: type = Settings) -> Iterator[type]:
    """Yield the classes of the configuration, the whole first."""
    yield cls
    for field in dataclasses.fields(cls):
        if "section" in field.metadata:
            yield from groups(field.metadata["section"])


SECTIONS = {
    (g.__name__, f.name): f.metadata["section"].__name__
    for g in groups()
    for f in dataclasses.fields(g)
    if "section" in f.metadata
}
FIELDS = {(g.__name__, f.name) for g in groups() for f in dataclasses.fields(g)} - SECTIONS.keys()


def _views() -> Iterator[tuple[Field, set[str]]]:
    """Yield the properties of each group with the fields that they are made of."""
    for group in groups():
        for name, value in vars(group).items():
            if isinstance(value, property):
                source = ast.walk(ast.parse(textwrap.dedent(inspect.getsource(value.fget or len))))
                yield (group.__name__, name), {each.attr for each in source if isinstance(each, ast.Attribute)}


VIEWS = dict(_views())


def reads(files: Iterable[Path]) -> set[Field]:
    """Return the fields that *files* read from something that an annotation says is of the configuration."""
    trees = [ast.parse(file.read_text()) for file in files]
    attributes = {name: cls for tree in trees for name, cls in _attributes(tree)}
    found: set[Field] = set()
    for tree in trees:
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef | ast.Lambda):
                _Function(attributes, found).look(function)
    return found


def _group_of(annotation: ast.expr | None) -> str | None:
    """Return the group that an annotation names, alone or as one that may be None."""
    names = {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)} if annotation else set()
    named = names & {group.__name__ for group in groups()}
    return named.pop() if len(named) == 1 and names <= named | {"None"} else None


def _attributes(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield attributes and methods that are of the configuration, by their names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and (group := _group_of(node.annotation)):
            target = node.target
            yield (target.attr if isinstance(target, ast.Attribute) else ast.unparse(target)), group
        elif isinstance(node, ast.FunctionDef) and (group := _group_of(node.returns)):
            yield node.name, group


class _Function:
    """What one function reads."""

    def __init__(self, attributes: dict[str, str], found: set[Field]) -> None:
        self._attributes, self._found = attributes, found
        self._names: dict[str, str] = {}

    def look(self, function: ast.FunctionDef | ast.Lambda) -> None:
        """Note its parameters and variables, then what it reads of them."""
        arguments = function.args
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            if group := _group_of(argument.annotation):
                self._names[argument.arg] = group
        nodes = list(ast.walk(function))
        for node in nodes:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    self._note(target, node.value)
        for node in nodes:
            self._group(node)

    def _note(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, other in zip(target.elts, value.elts, strict=True):
                self._note(one, other)
        elif isinstance(target, ast.Name) and (group := self._group(value)):
            self._names[target.id] = group

    def _group(self, node: ast.AST) -> str | None:
        """Return the group that an expression is; note the field that it reads."""
        if isinstance(node, ast.Name):
            return self._names.get(node.id)
        if isinstance(node, ast.Call):
            return self._group(node.func) if isinstance(node.func, ast.Attribute | ast.Name) else None
        if isinstance(node, ast.BoolOp):
            return next((group for value in node.values if (group := self._group(value))), None)
        if not isinstance(node, ast.Attribute):
            return None
        outer = self._group(node.value)
        if outer is None:
            return self._attributes.get(node.attr)
        self._found |= {(outer, node.attr)} & FIELDS | {(outer, name) for name in VIEWS.get((outer, node.attr), ())}
        return SECTIONS.get((outer, node.attr))
