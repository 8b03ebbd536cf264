"""`once`: an attribute that is worked out when it is first asked for.

`functools.cached_property` without its lock, which costs more than most of what is worked out here.
It must not be used where two threads ask the same object.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar, overload

__all__ = ["once"]

T = TypeVar("T")


class once(Generic[T]):  # noqa: N801 - used as a decorator
    """A method as an attribute: called once for each object, then found in the object's own dict.

    Example:
        >>> class Evidence:
        ...     @once
        ...     def text(self):
        ...         print("looking")
        ...         return "slow down"
        >>> evidence = Evidence()
        >>> evidence.text, evidence.text
        looking
        ('slow down', 'slow down')
    """

    def __init__(self, work_out: Callable[[Any], T]) -> None:
        self._work_out = work_out
        self.__doc__ = work_out.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, holder: None, owner: type) -> Self: ...

    @overload
    def __get__(self, holder: object, owner: type) -> T: ...

    def __get__(self, holder: object | None, owner: type) -> Self | T:
        if holder is None:
            return self
        value = self._work_out(holder)
        setattr(holder, self._name, value)  # not by way of __dict__: to ask for that slows the object down for good
        return value
