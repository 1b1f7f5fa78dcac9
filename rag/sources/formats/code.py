"""Read source code as it is; the headings of Python code are its classes and functions."""

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
# These hold no definitions.
_EXPRESSIONS = (ast.expr, ast.expr_context, ast.arguments, ast.keyword)


def read(path: Path, source: str, config: SourcesConfig) -> Iterator[Document]:
    """Read a source file as one document, titled with its name.

    For Python, `metadata` holds the first line of the module's docstring as `description`.
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
    """Parse Python code; return None if it is not valid for this version of Python."""
    with warnings.catch_warnings():
        # Python warns about odd escapes in strings, which do not matter here.
        warnings.simplefilter("ignore")
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def _find_definitions(tree: ast.Module, text: str) -> Iterator[Heading]:
    """Yield headings for classes, methods and functions, but not for functions within functions.

    A heading spans the line of `class` or `def`, and the decorators above it.
    """
    starts = line_starts(text)
    ahead: list[tuple[ast.AST, int]] = [(tree, 1)]
    # There is no recursion, since a long chain of `elif` makes a deep tree.
    while ahead:
        node, level = ahead.pop()
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            kind = "class" if isinstance(node, ast.ClassDef) else "def"
            end = min(starts[node.lineno] - 1, len(text))
            yield Heading(starts[first - 1], end, level, f"{kind} {node.name}")
            level += 1
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            within = reversed([*ast.iter_child_nodes(node)])
            ahead += [(child, level) for child in within if not isinstance(child, _EXPRESSIONS)]
