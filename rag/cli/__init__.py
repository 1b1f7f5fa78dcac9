"""The command line: parse arguments, call RAG, print, and end with an exit code."""

from rag.cli.commands import cli, main

__all__ = ["cli", "main"]
