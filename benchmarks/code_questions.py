"""Questions to code from the standard library: a docstring's first sentence, and its function without it.

A collection where questions and passages share few words, as a stand-in for code search: the source without
docstring and comments answers. It comes with Python, so nothing is downloaded.
"""

import ast
import hashlib
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from ernie_search.data import MemoryCollection
from ernie_search.types import Passage, Query

PASSAGES = 2000
QUESTIONS = 500
LINES = range(4, 60)
FEWEST_WORDS = 4
LEFT_OUT = {"test", "tests", "site-packages", "idlelib", "lib2to3", "turtledemo", "pydoc_data"}


def functions(root: Path) -> Iterator[tuple[str, str, str]]:
    """Name, first sentence of the docstring, and code of every function that has all three."""
    for path in sorted(root.rglob("*.py")):
        if LEFT_OUT & set(path.relative_to(root).parts):
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            text = ast.get_docstring(node)
            first = " ".join((text or "").split("\n\n")[0].split()).split(". ")[0].rstrip(".")
            if len(first.split()) < FEWEST_WORDS or len(node.body) < 2:
                continue
            node.body = node.body[1:]
            code = ast.unparse(node)
            if len(code.splitlines()) in LINES:
                yield f"{path.relative_to(root)}:{node.lineno}", first, code


def code_collection() -> MemoryCollection:
    """So many functions by hash, and questions to a part of them; a repeated question is left out."""
    kept: dict[str, tuple[str, str]] = {}
    seen: set[str] = set()
    for name, question, code in functions(Path(sysconfig.get_paths()["stdlib"])):
        if question in seen or code in seen:
            continue
        seen |= {question, code}
        kept[name] = question, code
    order = sorted(kept, key=lambda name: hashlib.sha256(name.encode()).digest())[:PASSAGES]
    passages = [Passage(name, kept[name][1]) for name in order]
    queries = [Query(f"q:{name}", kept[name][0]) for name in order[:QUESTIONS]]
    qrels = {query.id: {query.id[2:]: 1} for query in queries}
    return MemoryCollection("code", "stdlib", passages, queries, {"test": qrels})
