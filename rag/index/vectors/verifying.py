"""Check the layout of a FAISS file before FAISS reads it.

FAISS believes what a file says of itself: how much memory to take, which other file holds a part of
it, which vectors a graph leads to. So all that a reader would act on is compared with what the row
of the cache and the index say, piece by piece up to the last byte. What remains are codes and ids,
of which any value is one.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

from rag.index.vectors import kinds

if TYPE_CHECKING:
    from numpy.typing import NDArray

_INNER_PRODUCT = 0
# FAISS's numbers of the codes that are used here, and of how their ranges were found.
_EIGHT_BITS, _HALVES, _FROM_MINIMUM = 0, 4, 0
_PIECE_BITS = 4
# Vectors of a list for fast scans lie in blocks of so many.
_BLOCK = 32


class _LayoutError(Exception):
    """A file is not laid out as a cache of its kind is."""


class _Walk:
    """Goes through a file from its beginning, and compares what is there with what has to be."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, 2)
        self._at = file.seek(0)

    def take(self, layout: str) -> tuple[Any, ...]:
        """Read numbers, as `struct` lays them out."""
        return struct.unpack(f"<{layout}", self._read(struct.calcsize(f"<{layout}")))

    def expect(self, layout: str, *values: object) -> None:
        """Read numbers that have to be these."""
        if self.take(layout) != values:
            raise _LayoutError

    def skip(self, count: int, width: int) -> None:
        """Pass over so many items of so many bytes, which may be any."""
        self._at += count * width
        if self._at > self._size:
            raise _LayoutError
        self._file.seek(self._at)

    def vector(self, count: int, width: int) -> None:
        """Pass over a vector of so many items."""
        self.expect("Q", count)
        self.skip(count, width)

    def array(self, layout: str, count: int) -> NDArray[Any]:
        """Read a vector of so many numbers."""
        import numpy as np

        self.expect("Q", count)
        kind = np.dtype(layout)
        if count * kind.itemsize > self._size - self._at:
            raise _LayoutError
        return np.frombuffer(self._read(count * kind.itemsize), dtype=kind)

    def pairs(self, most: int) -> NDArray[Any]:
        """Read a vector of at most so many pairs of numbers."""
        import numpy as np

        (count,) = self.take("Q")
        if count % 2 or count > 2 * most:
            raise _LayoutError
        return np.frombuffer(self._read(8 * count), dtype="<u8").reshape(-1, 2)

    def fail(self) -> NoReturn:
        """Raise the error that says that a file has another layout."""
        raise _LayoutError

    def header(self, name: bytes, dim: int, count: int) -> None:
        """Pass over the beginning of an index: its type, dimension, number of vectors, metric."""
        self.expect("4siq", name, dim, count)
        # Two numbers that FAISS does not read.
        self.skip(2, 8)
        self.expect("?i", True, _INNER_PRODUCT)

    def quantizer(self, kind: int, dim: int, code_bytes: int, trained: int) -> None:
        """Pass over a scalar quantizer."""
        self.expect("ii", kind, _FROM_MINIMUM)
        self.skip(1, 4)
        self.expect("QQ", dim, code_bytes)
        self.vector(trained, 4)

    def end(self) -> None:
        """Check that nothing follows."""
        if self._at != self._size:
            raise _LayoutError

    def _read(self, amount: int) -> bytes:
        data = self._file.read(amount)
        if len(data) != amount:
            raise _LayoutError
        self._at += amount
        return data


def has_layout(file: BinaryIO, shape: kinds.Shape, dim: int, count: int) -> bool:
    """Return whether a file is laid out as a cache of `count` vectors of a shape is.

    Raises:
        OSError: if it cannot be read.
    """
    walk = _Walk(file)
    try:
        if shape.kind == "flat":
            _check_flat(walk, dim, count)
        elif shape.kind == "hnsw":
            _check_graph(walk, dim, count)
        else:
            _check_lists(walk, shape, dim, count)
        walk.end()
    except _LayoutError:
        return False
    return True


def _check_flat(walk: _Walk, dim: int, count: int) -> None:
    walk.header(b"IxM2", dim, count)
    walk.header(b"IxSQ", dim, count)
    walk.quantizer(_HALVES, dim, 2 * dim, 0)
    walk.vector(count * 2 * dim, 1)
    walk.vector(count, 8)


def _check_graph(walk: _Walk, dim: int, count: int) -> None:
    import numpy as np

    walk.header(b"IxM2", dim, count)
    walk.header(b"IHNs", dim, count)
    wanted = kinds.level_starts()
    # The chances of the levels are only used to add to the graph.
    walk.vector(len(wanted) - 1, 8)
    if not np.array_equal(walk.array("<i4", len(wanted)), wanted):
        raise _LayoutError
    levels = walk.array("<i4", count)
    if count and not 1 <= levels.min() <= levels.max() < len(wanted):
        raise _LayoutError
    offsets = walk.array("<u8", count + 1)
    if offsets[0] or not np.array_equal(np.diff(offsets), wanted[levels]):
        raise _LayoutError
    links = walk.array("<i4", int(offsets[-1]))
    if len(links) and not -1 <= links.min() <= links.max() < count:
        raise _LayoutError
    # A link on a level leads to a vector that is on this level, too.
    for level in range(1, int(levels.max()) if count else 0):
        own = offsets[:-1][levels > level].astype(np.int64)
        inner = np.arange(wanted[level], wanted[level + 1])
        reached = links[(own[:, None] + inner).ravel()]
        if (levels[reached[reached >= 0]] <= level).any():
            raise _LayoutError
    entry, highest = walk.take("ii")
    is_right = entry == highest == -1 if not count else 0 <= entry < count
    if not is_right or (count and highest != levels[entry] - 1):
        raise _LayoutError
    # How it is added to and searched where nothing else is said.
    walk.skip(2, 4)
    walk.skip(1, 4)
    walk.header(b"IxSQ", dim, count)
    walk.quantizer(_EIGHT_BITS, dim, dim, 2 * dim)
    walk.vector(count * dim, 1)
    walk.vector(count, 8)


def _check_lists(walk: _Walk, shape: kinds.Shape, dim: int, count: int) -> None:
    lists = shape.lists
    walk.header(b"IwSq" if shape.kind == "ivf-sq8" else b"IwPf", dim, count)
    # A search says itself how many lists it looks into.
    walk.expect("Q", lists)
    walk.skip(1, 8)
    walk.header(b"IxFI", dim, lists)
    walk.vector(lists * dim, 4)
    # There is no map from ids to lists.
    walk.expect("bQ", 0, 0)
    if shape.kind == "ivf-sq8":
        walk.quantizer(_EIGHT_BITS, dim, dim, 2 * dim)
        walk.expect("Q?", dim, True)
        _check_arrays(walk, lists, dim, count)
    else:
        pieces = kinds.pieces_of(dim)
        padded = pieces + pieces % 2
        walk.expect("?QiQ", False, (pieces + 1) // 2, _BLOCK, padded)
        walk.expect("iQ", 0, 0)
        walk.expect("QQQ", dim, pieces, _PIECE_BITS)
        walk.vector(dim << _PIECE_BITS, 4)
        _check_blocks(walk, lists, padded * _BLOCK // 2, count)


def _check_arrays(walk: _Walk, lists: int, code_bytes: int, count: int) -> None:
    """Check lists that follow one another; either all are described, or those that hold any."""
    import numpy as np

    walk.expect("4sQQ", b"ilar", lists, code_bytes)
    (layout,) = walk.take("4s")
    if layout == b"full":
        sizes = walk.array("<u8", lists)
    else:
        described = walk.pairs(lists) if layout == b"sprs" else walk.fail()
        if len(described) and described[:, 0].max() >= lists:
            raise _LayoutError
        if len(np.unique(described[:, 0])) != len(described):
            raise _LayoutError
        sizes = described[:, 1]
    # Python's numbers do not run over.
    if sum(sizes.tolist()) != count:
        raise _LayoutError
    walk.skip(count, code_bytes + 8)


def _check_blocks(walk: _Walk, lists: int, block_bytes: int, count: int) -> None:
    """Check lists for fast scans, whose vectors lie in blocks."""
    walk.expect("4sQqQQ", b"ilbl", lists, -1, _BLOCK, block_bytes)
    found = 0
    for _ in range(lists):
        (held,) = walk.take("Q")
        walk.skip(held, 8)
        walk.vector(-(-held // _BLOCK) * block_bytes, 1)
        found += held
    if found != count:
        raise _LayoutError
