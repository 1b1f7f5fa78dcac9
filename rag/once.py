"""A property that is made once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

Made = TypeVar("Made")


class once(Generic[Made]):
    """A property that is made at first use, by one thread, under the object's `_lock`.

    The lock of `functools.cached_property` before Python 3.12 is the class's. What is made lies in
    the object's own dictionary, where it is found before this is asked again. An object whose
    properties are made of one another needs an `RLock`.
    """

    def __init__(self, make: Callable[[Any], Made]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    def __get__(self, owner: Any, kind: type) -> Made:
        if owner is None:
            return self  # type: ignore[return-value]
        with owner._lock:
            name = self._make.__name__
            if name not in vars(owner):
                vars(owner)[name] = self._make(owner)
            made: Made = vars(owner)[name]
            return made
