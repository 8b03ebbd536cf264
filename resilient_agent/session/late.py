"""Results that come after their call was said to have an unknown outcome. Pure.

Decides where such a result goes: into the place of what stands for it. Everything else that is appended
is left as it is, whatever a provider may think of it: that is for the next resumption (`repair.py`).
How calls, results and stand-ins look, and which belong together, stands in `dialects`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from resilient_agent.session.dialects import Call, Dialect, Result, dialect_for, settle

__all__ = ["settled"]


def settled(stored: Sequence[Any], more: Sequence[Any], dialect: str = "auto") -> list[Any] | None:
    """The history with `more` behind it, and late results in their place; None where no result is late.

    Args:
        stored: the history. It is not changed.
        more: what is appended.
        dialect: as for `repair_messages`; `"auto"` goes by what is appended, for a result tells its
            dialect itself, and so a long history need not be read for it.

    Example:
        >>> from resilient_agent.session.repair import repair_messages
        >>> call = {"id": "call_1", "type": "function", "function": {"name": "pay", "arguments": "{}"}}
        >>> stored = repair_messages([
        ...     {"role": "assistant", "content": None, "tool_calls": [call]},
        ...     {"role": "user", "content": "and?"},
        ... ])
        >>> late = {"role": "tool", "tool_call_id": "call_1", "content": "paid"}
        >>> settled(stored, [late])[1:]
        [{'role': 'tool', 'tool_call_id': 'call_1', 'content': 'paid'}, {'role': 'user', 'content': 'and?'}]
        >>> settled(stored, [{"role": "user", "content": "well?"}]) is None
        True
    """
    rules = dialect_for(dialect, more)
    brought = {event.key for event in rules.events(more) if isinstance(event, Result)}
    if not brought:
        return None
    start = _asked_from(stored, brought, rules)
    moves = list(_moves(stored[start:], more, rules))
    if not moves:
        return None
    history = list(stored)
    for stand_in, late in moves:
        place = start + stand_in.place
        history[place] = _with(history[place], stand_in, late.value)
    gone = {(start + late.place - len(stored), late.block) for _, late in moves}
    return history + list(_left(more, gone))


def _asked_from(stored: Sequence[Any], brought: Iterable[str], rules: Dialect) -> int:
    """Where the latest calls begin that results with these keys can answer: nothing before it is asked any more.

    Read from the end, as a result mostly follows its call at once, also in a long history.
    """
    start, missing = len(stored), set(brought)
    while start and missing:
        stop, start = start, rules.group_start(stored, start)
        missing -= {event.key for event in rules.events(stored[start:stop]) if isinstance(event, Call)}
    return start


def _moves(stored: Sequence[Any], more: Sequence[Any], rules: Dialect) -> Iterator[tuple[Result, Result]]:
    """The stand-ins that go, each with the result that takes its place. Both are placed as from `stored` on."""
    before = settle(rules.events(stored))
    after = settle(rules.events([*stored, *more]))
    for then, now in zip(before, after, strict=False):  # `more` may make calls of its own, behind these
        stood, stands = then.result, now.result
        if stood is not None and stood.placeholder and stands is not None and not stands.placeholder:
            yield stood, stands


def _with(message: Any, result: Result, value: dict[str, Any]) -> dict[str, Any]:
    """The message with a value in the place of a result."""
    if result.block is None:
        return value
    content = message["content"]
    return {**message, "content": [*content[: result.block], value, *content[result.block + 1 :]]}


def _left(more: Sequence[Any], gone: set[tuple[int, int | None]]) -> Iterator[Any]:
    """What is appended, without the results that went elsewhere and without messages that held nothing else."""
    for place, message in enumerate(more):
        if (place, None) in gone:
            continue
        blocks = {block for where, block in gone if where == place}
        if not blocks:
            yield message
        elif content := [block for number, block in enumerate(message["content"]) if number not in blocks]:
            yield {**message, "content": content}
