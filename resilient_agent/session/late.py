"""Results that come after their call was said to have an unknown outcome. Pure.

Decides where such a result goes: into the place of the text that stands for it. Everything else that
is appended is left as it is, whatever a provider may think of it: that is for the next resumption
(`repair.py`). Knows the dialects only by how a result names its call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from resilient_agent.session.dialects import OUTCOME_UNKNOWN

__all__ = ["settled"]

_NAMES: Final = ("tool_call_id", "tool_use_id", "call_id")
"""How results name their call: in chat, in Anthropic's blocks, in items of Responses."""


def settled(stored: Sequence[Any], more: Sequence[Any]) -> list[Any] | None:
    """The history with `more` behind it, and late results in their place; None where no result is late.

    Args:
        stored: the history. It is not changed.
        more: what is appended.

    Example:
        >>> unknown = {"role": "tool", "tool_call_id": "call_1", "content": OUTCOME_UNKNOWN}
        >>> late = {"role": "tool", "tool_call_id": "call_1", "content": "paid"}
        >>> settled([unknown, {"role": "user", "content": "and?"}], [late])
        [{'role': 'tool', 'tool_call_id': 'call_1', 'content': 'paid'}, {'role': 'user', 'content': 'and?'}]
        >>> settled([{"role": "user", "content": "and?"}], [late]) is None
        True
    """
    history, rest, late = list(stored), [], False
    for message in more:
        left = _without_late(message, history)
        late = late or left is not message
        rest += [] if left is None else [left]
    return [*history, *rest] if late else None


def _without_late(message: Any, history: list[Any]) -> Any:
    """What is left of a message when its late results went to their place in the history; None where nothing is."""
    if not isinstance(message, dict):
        return message
    if _put(message, history):
        return None
    content = message.get("content")
    if not isinstance(content, list):
        return message
    blocks = [block for block in content if not _put(block, history)]
    if len(blocks) == len(content):
        return message
    return {**message, "content": blocks} if blocks else None


def _put(result: Any, history: list[Any]) -> bool:
    """Put a result into the place of what stands for it; False where nothing does, or a newer call waits for it."""
    call = _names(result)
    if call is None or _says_unknown(result):
        return False
    for place in range(len(history) - 1, -1, -1):
        message = history[place]
        for path, found in _results(message):
            if _names(found) == call:
                if not _says_unknown(found):
                    return False
                history[place] = result if path is None else _with_block(message, path, result)
                return True
        if _calls(message, call):
            return False
    return False


def _results(message: Any) -> Iterator[tuple[int | None, Any]]:
    """The results in a message, and where in its content they stand; None: it is one itself."""
    if _names(message) is not None:
        yield None, message
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, list):
        yield from ((path, block) for path, block in enumerate(content) if _names(block) is not None)


def _names(result: Any) -> str | None:
    """The call that a result names; None where it is no result."""
    if not isinstance(result, dict) or ("call_id" in result and not str(result.get("type")).endswith("_output")):
        return None
    return next((result[name] for name in _NAMES if isinstance(result.get(name), str)), None)


def _says_unknown(result: dict[str, Any]) -> bool:
    return OUTCOME_UNKNOWN in str(result.get("content", result.get("output", "")))


def _calls(message: Any, call: str) -> bool:
    """Whether a message makes a call of that id."""
    if not isinstance(message, dict):
        return False
    parts = [message, *(message.get("tool_calls") or ()), *_blocks(message)]
    return any(call in (part.get("id"), part.get("call_id")) for part in parts if isinstance(part, dict))


def _blocks(message: dict[str, Any]) -> list[Any]:
    content = message.get("content")
    return content if isinstance(content, list) else []


def _with_block(message: dict[str, Any], path: int, block: Any) -> dict[str, Any]:
    content = message["content"]
    return {**message, "content": [*content[:path], block, *content[path + 1 :]]}
