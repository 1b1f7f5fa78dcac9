"""source -> Iterator[Document]: discovery, detection, and a reader a format family.

A format's library is imported when the first such file is read; `read_files` reads in processes
of their own.
"""

from rag.sources.detection import known_suffixes
from rag.sources.discovery import IGNORE_FILES, Root, SourceFile, discover, root
from rag.sources.files import read
from rag.sources.pool import Read, Result, read_files

__all__ = [
    "IGNORE_FILES",
    "Read",
    "Result",
    "Root",
    "SourceFile",
    "discover",
    "known_suffixes",
    "read",
    "read_files",
    "root",
]
