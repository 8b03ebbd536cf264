"""What the class of an exception tells, worked out once for each class.

Reads past metaclasses: one that lies or raises changes nothing. Knows no exception, only classes;
which attributes matter is said by whoever asks.
"""

from __future__ import annotations

import functools
import re
from typing import Any, Final, NamedTuple

__all__ = ["Kind", "class_names", "kind_of"]

_MRO: Final = type.__dict__["__mro__"].__get__
_NAME: Final = type.__dict__["__name__"].__get__
_MODULE: Final = type.__dict__["__module__"].__get__
_DICT: Final = type.__dict__["__dict__"].__get__
_ANSWERING: Final = frozenset(("__getattr__", "__getattribute__"))


class Kind(NamedTuple):
    """What one class tells."""

    names: frozenset[str]
    """Its name and those of all bases: bare, behind the top-level package, and `package.*`."""
    words: str
    """Its name as words: `APITimeoutError` is `api timeout error`."""
    builtin: bool
    """Whether it is one of Python's own."""
    attributes: frozenset[str] | None
    """The attributes that the class and its bases define; None where it answers for any attribute itself."""


def kind_of(cls: Any) -> Kind:
    """What a class tells, whatever its metaclass does."""
    try:
        return _known(cls)
    except Exception:  # a class without a hash cannot be remembered
        return _look(cls)


def class_names(cls: Any) -> frozenset[str]:
    """The names of a class and of all its bases, each bare and behind its top-level package.

    Of httpx's ConnectError among others `ConnectError`, `httpx.ConnectError`, `TransportError`,
    and `httpx.*` for whatever comes from that package.
    """
    return kind_of(cls).names


def _look(cls: Any) -> Kind:
    names: set[str] = set()
    attributes: set[str] | None = set()
    for base in _MRO(cls)[:-1]:
        package = _package(base)
        names |= {_NAME(base), f"{package}.{_NAME(base)}", f"{package}.*"}
        own = _DICT(base)
        if package != "builtins" and not _ANSWERING.isdisjoint(own):
            attributes = None
        if attributes is not None:
            attributes |= own.keys()
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_", " ", _NAME(cls)).lower()
    return Kind(frozenset(names), words, _is_pythons(cls), None if attributes is None else frozenset(attributes))


def _package(cls: Any) -> str:
    try:
        return str(_MODULE(cls)).partition(".")[0]
    except Exception:  # a `__module__` that is no text
        return ""


def _is_pythons(cls: Any) -> bool:
    """By its flags, not by its name: a class made in bare globals says `builtins` too."""
    heap_type = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement
    return _package(cls) == "builtins" and not type.__dict__["__flags__"].__get__(cls) & heap_type


_known: Final = functools.lru_cache(maxsize=1024)(_look)
