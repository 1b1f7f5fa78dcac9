"""source -> Iterator[Document]: discovery, detection, and a reader a format family.

A format's library is imported when the first such file is read; `read_files` reads in processes
of their own.
"""

from rag.sources.detection import known_suffixes
from rag.sources.discovery import IGNORE_FILES, Root, SourceFile, discover, resolve_root
from rag.sources.files import read_file
from rag.sources.pool import Finished, Result, read_files

__all__ = [
    "IGNORE_FILES",
    "Finished",
    "Result",
    "Root",
    "SourceFile",
    "discover",
    "known_suffixes",
    "read_file",
    "read_files",
    "resolve_root",
]
