"""Turn paths into documents: find the files, detect their formats, and read each format.

A format's library is imported when the first such file is read. `read_files` reads in processes
of their own, so that a bad file costs itself and no other.
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
