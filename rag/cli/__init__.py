"""The command line: parse, call RAG, print, exit code."""

from rag.cli.commands import cli, main

__all__ = ["cli", "main"]
