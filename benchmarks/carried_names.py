"""How often a notion is handed on: functions with a parameter and records with a field of its name.

``python -m benchmarks.carried_names settings device seed kernel axes``, in the sources of this
checkout or, with ``--source FOLDER``, of another.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator
from pathlib import Path

__all__ = ["carriers"]

_SOURCE = Path(__file__).parents[1] / "src" / "napari_blind_deconv"


def carriers(tree: ast.AST, name: str) -> Iterator[str]:
    """Functions that take an argument of this name, and classes that declare a field of it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            taken = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            if any(argument.arg == name for argument in taken):
                yield node.name
        if isinstance(node, ast.ClassDef):
            fields = (each.target for each in node.body if isinstance(each, ast.AnnAssign))
            if any(isinstance(field, ast.Name) and field.id == name for field in fields):
                yield node.name


def main() -> None:
    """Print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--source", type=Path, default=_SOURCE)
    chosen = parser.parse_args()
    files = sorted(chosen.source.rglob("*.py"))
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in files]
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)
    print(f"{len(files)} modules, {lines} lines")
    for name in chosen.names:
        print(f"{name}: {sum(1 for tree in trees for _ in carriers(tree, name))}")


if __name__ == "__main__":
    main()
