"""`pending_of`: what an interrupted conversation still waits for. Pure.

Decides who has to act next, and on what; how that shows in a message stands in `dialects`. Must not
know sessions, tools or models, and never says whether a call took effect: nobody here can know.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, Literal

from resilient_agent.session.dialects import Standing, dialect_for, history_of

__all__ = ["OpenCall", "Pending", "pending_of"]


@dataclasses.dataclass(frozen=True, slots=True)
class OpenCall:
    """A call whose outcome is unknown.

    Attributes:
        id: what its result has to name.
        name: of the tool; of a provider's own tools what it is called there (`"shell"`, `"computer"`).
        arguments: as stored. In chat and Responses a text that may be cut off; never executed unread.
    """

    id: str
    name: str
    arguments: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Pending:
    """What a conversation waits for.

    Attributes:
        kind: `"clean"`: nothing, the model answered, or nothing was said yet.
            `"prompt"`: the model, for a user spoke last.
            `"calls"`: the application, for calls have no result.
            `"results"`: the model, for all results are there.
            `"partial"`: the model, for its last message was cut off.
        calls: the calls whose outcome is unknown, in order: those of the model's last message, whatever
            the kind (a user may have spoken after them, the message may be cut behind them), and any
            that the model does not wait for (`async: true` in Responses).
    """

    kind: Literal["clean", "prompt", "calls", "results", "partial"]
    calls: tuple[OpenCall, ...] = ()


def pending_of(messages: Iterable[Any], dialect: str = "auto") -> Pending:
    """What an interrupted conversation still waits for.

    It makes no difference whether the history was repaired before: a result that was put in says that
    the outcome is unknown, so its call is still open; a real one that came late closes it.

    What was cut off shows only where the history says so. `"partial"` is a last message of the model
    that is empty; whose stored `finish_reason` or `stop_reason` is `length`, `max_tokens`,
    `model_context_window_exceeded`, `pause_turn` or None; whose Responses `status` is `in_progress`,
    `incomplete` or the like; that ends in thinking or reasoning; or that waits for one of Anthropic's
    own tools. A text that merely stops, or arguments that are no JSON, may be all that the model said.

    Args:
        messages: the history, in the provider's own JSON. It is not changed.
        dialect: as for `repair_messages`.

    Returns:
        Who has to act, and the open calls.

    Raises:
        ValueError: there is no dialect of that name.
        TypeError: `messages` is one message or a text, not a list.

    Example:
        >>> call = {"id": "call_1", "type": "function", "function": {"name": "pay", "arguments": "{}"}}
        >>> pending_of([
        ...     {"role": "user", "content": "Pay the bill"},
        ...     {"role": "assistant", "content": None, "tool_calls": [call]},
        ... ])
        Pending(kind='calls', calls=(OpenCall(id='call_1', name='pay', arguments='{}'),))
    """
    history = history_of(messages)
    standing = dialect_for(dialect, history).standing(history)
    return Pending(_kind(standing), tuple(OpenCall(call.id, call.name, call.arguments) for call in standing.calls))


def _kind(standing: Standing) -> Literal["clean", "prompt", "calls", "results", "partial"]:
    if standing.cut:
        return "partial"
    if standing.last == "user":
        return "prompt"
    if standing.last == "results":
        return "calls" if any(call.waits for call in standing.calls) else "results"
    return "clean"
