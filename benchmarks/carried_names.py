"""Count the functions and records that pass a value on under the same name.

``python -m benchmarks.carried_names settings device seed kernel axes`` counts, for each name,
the functions with a parameter and the classes with a field of this name. It reads the sources of
this checkout or, with ``--source FOLDER``, those of another one.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator
from pathlib import Path

__all__ = ["carriers"]

_SOURCE = Path(__file__).parents[1] / "src" / "napari_blind_deconv"


def carriers(tree: ast.AST, name: str) -> Iterator[str]:
    """Yield the functions with a parameter, and the classes with a field, of this name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            parameters = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            if any(parameter.arg == name for parameter in parameters):
                yield node.name
        if isinstance(node, ast.ClassDef):
            fields = (line.target for line in node.body if isinstance(line, ast.AnnAssign))
            if any(isinstance(field, ast.Name) and field.id == name for field in fields):
                yield node.name


def main() -> None:
    """Print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--source", type=Path, default=_SOURCE)
    options = parser.parse_args()
    files = sorted(options.source.rglob("*.py"))
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in files]
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)
    print(f"{len(files)} modules, {lines} lines")
    for name in options.names:
        print(f"{name}: {sum(1 for tree in trees for _ in carriers(tree, name))}")


if __name__ == "__main__":
    main()
