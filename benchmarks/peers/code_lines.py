"""Lines of code that a user of a library writes for a method."""

from __future__ import annotations

import ast
from pathlib import Path

ADAPTERS = Path(__file__).parent / "adapters"


def lines_of(library: str, method: str) -> int:
    """Return the number of lines of a method's function in an adapter and of all functions and constants that it uses.

    Comments, docstrings and blank lines do not count, nor does what all adapters share (data, hyper-parameters).
    """
    text = (ADAPTERS / f"with_{library}.py").read_text()
    defined: dict[str, ast.stmt] = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef):
            defined[node.name] = node
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            defined[node.targets[0].id] = node
    used: set[str] = set()
    waiting = [method.replace("-", "_")]
    while waiting:
        name = waiting.pop()
        if name in used or name not in defined:
            continue
        used.add(name)
        waiting += [each.id for each in ast.walk(defined[name]) if isinstance(each, ast.Name)]
    return sum(_lines(defined[name], text.splitlines()) for name in used)


def _lines(node: ast.stmt, text: list[str]) -> int:
    numbers = set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    for each in ast.walk(node):
        body = getattr(each, "body", None)
        if isinstance(each, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(each) and body:
            numbers -= set(range(body[0].lineno, (body[0].end_lineno or 0) + 1))
    return sum(
        1 for number in numbers if text[number - 1].strip() and not text[number - 1].strip().startswith("#")
    )
