"""Fails, naming each, when a Python file has more than 400 lines or a function more than 50."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

FOLDERS = ("src", "tests", "benchmarks", "tools")
GENERATED = Path("src/krater/agent/runtimes/oci/pb")
FILE_LINES = 400
FUNCTION_LINES = 50


def python_files(root: Path) -> Iterator[Path]:
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            relative = path.relative_to(root)
            if GENERATED not in relative.parents:
                yield relative


def complaints(name: Path, text: str) -> Iterator[str]:
    lines = text.count("\n") + (not text.endswith("\n"))
    if lines > FILE_LINES:
        yield f"{name}: {lines} lines, {FILE_LINES} are allowed"
    for node in ast.walk(ast.parse(text, str(name))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES:
                yield f"{name}:{node.lineno}: {node.name} has {length} lines, {FUNCTION_LINES} are allowed"


def main() -> int:
    root = Path(__file__).resolve().parent.parent
    found = [line for name in python_files(root) for line in complaints(name, (root / name).read_text())]
    print("\n".join(found) if found else "sizes: all files and functions are short enough")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
