"""Source code, verbatim; the headings of Python are its classes and functions."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from pathlib import Path, PurePath

from rag.config import SourcesConfig
from rag.sources.detection import language_of
from rag.sources.document import draft
from rag.sources.formats.text import decode, line_starts
from rag.types import Document, Heading

_HEAD_BYTES = 256


def read(path: Path, source: str, config: SourcesConfig) -> Iterator[Document]:
    """A source file as one document, titled with its name.

    `metadata` holds as `description` the first line of a Python module's docstring.
    """
    data = path.read_bytes()
    text = decode(data, source, config)
    name = PurePath(source).name
    language = language_of(name, data[:_HEAD_BYTES]) or "plain"
    tree = _parse(text) if language == "python" else None
    docstring = ast.get_docstring(tree) if tree else None
    yield draft(
        source,
        text,
        title=name,
        media_type=f"text/x-{language}",
        markup=language,
        metadata={"description": docstring.strip().partition("\n")[0] if docstring else ""},
        headings=[*_find_definitions(tree, text)] if tree else (),
        verbatim=True,
    )


def _parse(text: str) -> ast.Module | None:
    """The syntax tree, or None for what this version of Python does not take for Python."""
    with warnings.catch_warnings():
        # An odd escape in someone's string is no concern of ours.
        warnings.simplefilter("ignore")
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def _find_definitions(tree: ast.Module, text: str) -> Iterator[Heading]:
    """Classes, their methods and functions, but no functions within functions.

    A heading's line is that of `class` or `def`, and its decorators above it.
    """
    starts = line_starts(text)
    ahead: list[tuple[ast.AST, int]] = [(tree, 1)]
    # A stack of its own: a long chain of `elif` is a deep tree.
    while ahead:
        node, level = ahead.pop()
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            kind = "class" if isinstance(node, ast.ClassDef) else "def"
            end = min(starts[node.lineno] - 1, len(text))
            yield Heading(starts[first - 1], end, level, f"{kind} {node.name}")
            level += 1
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            within = [child for child in ast.iter_child_nodes(node) if not _is_expression(child)]
            ahead += [(child, level) for child in reversed(within)]


def _is_expression(node: ast.AST) -> bool:
    return isinstance(node, ast.expr | ast.expr_context | ast.arguments | ast.keyword)
