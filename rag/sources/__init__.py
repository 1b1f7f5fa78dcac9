"""Turn paths into documents: find the files, detect their formats, and read each format.

A format's library is imported when the first such file is read. `read_files` reads in processes
of their own, so that a bad file costs itself and no other.
"""

from rag.sources.addresses import (
    Reach,
    fetch,
    find_copy,
    is_address,
    mirror_of,
    normalize_address,
)
from rag.sources.detection import known_suffixes
from rag.sources.discovery import IGNORE_FILES, Root, SourceFile, discover, resolve_root, takes
from rag.sources.drawing import DrawnPage, draw_page
from rag.sources.files import read_file
from rag.sources.ocr import unpack_words
from rag.sources.pool import Finished, Result, read_files
from rag.sources.texts import make_document

__all__ = [
    "IGNORE_FILES",
    "DrawnPage",
    "Finished",
    "Reach",
    "Result",
    "Root",
    "SourceFile",
    "discover",
    "draw_page",
    "fetch",
    "find_copy",
    "is_address",
    "known_suffixes",
    "make_document",
    "mirror_of",
    "normalize_address",
    "read_file",
    "read_files",
    "resolve_root",
    "takes",
    "unpack_words",
]
