"""What stands behind an exception: its causes, what wrappers hold, and the leaves of groups.

Every walk here ends: chains may be circles, and groups may contain themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from resilient_agent.classify.looking import kind_is, peek

__all__ = ["NOTHING", "behind", "chain", "leaves"]

_CHAIN_LIMIT: Final = 20  # deeper causes than that explain nothing
NOTHING: Final[Iterator[BaseException]] = iter(())
_LEAF_LIMIT: Final = 10_000
_ARGS_LIMIT: Final = 4

# Attributes in which wrappers keep what they wrap: litellm's MidStreamFallbackError, SQLAlchemy,
# urllib3 and urllib (`reason`), google-api-core, azure-core, aiohttp, and many a framework.
_HELD_IN_ORDER: Final = (
    "original_exception",
    "orig",
    "reason",
    "_cause",
    "inner_exception",
    "_os_error",
    "original_error",
)
_HELD: Final = frozenset({*_HELD_IN_ORDER, "last_attempt"})


def chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and what stands behind it: what it wraps, its causes, and contexts that were not suppressed.

    Ends where a circle closes, and after twenty links. A group is a link; its members are not.
    """
    yield error
    yield from behind(error)


def behind(error: BaseException) -> Iterator[BaseException]:
    """What stands behind an exception, without itself."""
    pending = _behind(error)
    return _walk(error, pending) if pending else NOTHING


def _walk(error: BaseException, pending: list[BaseException]) -> Iterator[BaseException]:
    seen = {id(error)}
    while pending and len(seen) < _CHAIN_LIMIT:
        link = pending.pop(0)
        if id(link) not in seen:
            seen.add(id(link))
            yield link
            pending += _behind(link)


def _behind(link: BaseException) -> list[BaseException]:
    """What stands directly behind an exception: what it holds, then its cause or its context."""
    found = [] if kind_is(link, BaseExceptionGroup) else _held(link)
    try:
        cause = link.__cause__
        if cause is None and not link.__suppress_context__:
            cause = link.__context__
        if cause is not None and kind_is(cause, BaseException):
            found.append(cause)
    except Exception:  # noqa: S110 - one that refuses to be asked stands alone
        pass
    return found


def _held(link: BaseException) -> list[BaseException]:
    own, args = peek(link, "__dict__"), peek(link, "args")
    held = list(args[:_ARGS_LIMIT]) if kind_is(args, tuple) else []
    if type(own) is dict and not _HELD.isdisjoint(own):
        held = [own[name] for name in _HELD_IN_ORDER if name in own] + held
        held.append(peek(own.get("last_attempt"), "_exception"))  # tenacity.RetryError holds a future
    return [one for one in held if kind_is(one, BaseException)]


def leaves(error: BaseException, seen: set[int] | None = None) -> list[BaseException]:
    """The exceptions in a group, groups within it opened; of another exception, itself.

    Args:
        error: the group.
        seen: the identities of what was opened before, which is passed over; what is opened here is added.
    """
    found: list[BaseException] = []
    pending = [error]
    seen = set() if seen is None else seen  # a group may contain itself
    while pending and len(found) < _LEAF_LIMIT:
        member = pending.pop()
        if id(member) in seen:
            continue
        seen.add(id(member))
        members: Any = peek(member, "exceptions") if kind_is(member, BaseExceptionGroup) else None
        if kind_is(members, tuple):
            pending.extend(reversed(members))
        elif kind_is(member, BaseException):
            found.append(member)
    return found
