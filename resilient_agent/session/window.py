"""`window`: the end of a conversation that fits, cut where a conversation may be cut. Pure.

Decides how much is kept; where a cut is possible stands in `dialects`. Must not know sessions, models
or tokenizers: how large a message is, the caller says.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

from resilient_agent.session.dialects import dialect_for, history_of, is_setup

__all__ = ["window"]


def window(
    messages: Iterable[Any],
    *,
    last: int | None = None,
    max_tokens: int | None = None,
    count: Callable[[Any], float] | None = None,
    dialect: str = "auto",
) -> list[Any]:
    """The most recent messages that fit, and nothing torn apart.

    A call is never cut from its result, nor calls from those made with them, nor reasoning from what it
    led to. The first message is one that a conversation may begin with: for Anthropic a user's message
    that brings no results, so that all the work on one prompt is kept or cut together, and so it is for
    plain text that could be anybody's; for OpenAI anything but a result. If not even the last such piece
    fits, it is kept whole.

    System and developer messages at the beginning are always kept. `last` does not count them;
    `max_tokens` does, for they take room.

    It cuts and does not mend: repair the history first.

    Args:
        messages: the history, in the provider's own JSON. It is not changed.
        last: how many messages at most.
        max_tokens: how large they may be together, as measured by `count`.
        count: the size of one message. It is called for no more messages than needed.
        dialect: as for `repair_messages`.

    Returns:
        A new list with the kept messages themselves.

    Raises:
        ValueError: a number is below one, or there is no dialect of that name.
        TypeError: not exactly one of `last` and `max_tokens`, no `count` for `max_tokens`, or no numbers.

    Example:
        >>> talk = [{"role": role, "content": text} for role, text in [
        ...     ("system", "Be brief."), ("user", "one"), ("assistant", "1"), ("user", "two"), ("assistant", "2"),
        ... ]]
        >>> [message["content"] for message in window(talk, last=3)]
        ['Be brief.', 'two', '2']
        >>> [message["content"] for message in window(talk, max_tokens=13, count=lambda it: len(it["content"]))]
        ['Be brief.', 'two', '2']
    """
    if (last is None) == (max_tokens is None):
        raise TypeError("window() needs exactly one of last= and max_tokens=")
    if (max_tokens is None) != (count is None):
        raise TypeError("max_tokens= and count= go together: count(message) says how many tokens a message has")
    if count is not None and not callable(count):
        raise TypeError(f"count= is a {type(count).__name__}: pass a function from a message to its number of tokens")
    _check("last", last)
    _check("max_tokens", max_tokens)
    history = history_of(messages)
    lead = list(itertools.takewhile(is_setup, history))
    body = history[len(lead) :]
    # Where nothing tells the dialect, the strictest beginning is the one that is right in all of them.
    units = dialect_for(dialect, history, untold="anthropic").units(body)
    starts = [unit.start for unit in units if unit.head]
    if count is None or max_tokens is None:
        return lead + body[_start(body, starts, last or 0, _one) :]
    room = max_tokens - sum(_size(count, message) for message in lead)
    return lead + body[_start(body, starts, room, count) :]


def _start(body: list[Any], starts: list[int], room: float, size: Callable[[Any], float]) -> int:
    """The earliest of the places to start at from which on everything fits; the last one if none does."""
    chosen = starts[-1] if starts else 0
    end = len(body)
    for start in reversed(starts):
        room -= sum(_size(size, message) for message in body[start:end])
        if room < 0:
            break
        chosen, end = start, start
    return chosen


def _one(_: Any) -> int:
    return 1


def _size(count: Callable[[Any], float], message: Any) -> float:
    size = count(message)
    if isinstance(size, bool) or not isinstance(size, int | float):
        raise TypeError(f"count= returned {size!r}: it has to return the number of tokens of the message it is given")
    if not size >= 0:
        raise ValueError(f"count= returned {size!r}: a message has no fewer than 0 tokens")
    return size


def _check(name: str, number: Any) -> None:
    if number is None:
        return
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"{name}={number!r} is no whole number")
    if number < 1:
        raise ValueError(f"{name}={number} keeps nothing: use 1 or more")
