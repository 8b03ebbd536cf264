"""OpenAI chat completions: an assistant's `tool_calls`, each answered by a `role: tool` message right behind.

Pure. Decides what the chat API accepts as history; knows nothing of sessions and of the other dialects.

Rules, from the API's reference and its own errors: "An assistant message with 'tool_calls' must be
followed by tool messages responding to each 'tool_call_id'", in any order; "messages with role 'tool'
must be a response to a preceding message with 'tool_calls'"; `content` is "required unless
`tool_calls` or `function_call` is specified"; `tool_calls` is no empty array.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from resilient_agent.session.dialects._pairing import (
    OUTCOME_UNKNOWN,
    Call,
    Result,
    Slot,
    Standing,
    Unit,
    by_place,
    group_start,
    is_marker,
    joined,
    open_calls,
    role_of,
    says_nothing,
    settle,
    was_cut,
)

__all__ = ["events", "group_start", "is_in_order", "mended", "repair", "standing", "units"]

_KINDS: Final = {"function": "arguments", "custom": "input"}
"""The kinds of tool calls, and where each keeps its arguments."""

_RESULT_ROLES: Final = frozenset({"tool", "function"})
_PROMPT_ROLES: Final = frozenset({"user"})


def repair(messages: Sequence[Any]) -> list[Any]:
    """The same conversation, as the chat API accepts it."""
    return list(messages) if is_in_order(messages) else mended(messages)


def is_in_order(messages: Sequence[Any]) -> bool:
    """Whether a look says that nothing needs repair: most histories are whole, and a start waits for this."""
    due: set[str] = set()
    for message in messages:
        if type(message) is not dict:
            return False
        role = message.get("role")
        if role == "tool":
            answers = message.get("tool_call_id")
            if type(answers) is not str or answers not in due:
                return False
            due.discard(answers)
        elif due or (role == "assistant" and not (_asks_plainly(message, due) or _only_says(message, due))):
            return False
    return not due


def _asks_plainly(message: dict[str, Any], due: set[str]) -> bool:
    """Whether it makes calls, each with an id of its own; they are due from now on."""
    calls = message.get("tool_calls")
    if type(calls) is not list:
        return False
    for entry in calls:
        if type(entry) is not dict or type(entry.get("id")) is not str or entry["id"] in due:
            return False
        due.add(entry["id"])
    return bool(calls)


def _only_says(message: dict[str, Any], due: set[str]) -> bool:
    content = message.get("content")
    says = bool(content) and not (isinstance(content, list) and says_nothing(message))
    return not due and says and not isinstance(message.get("tool_calls"), list)


def mended(messages: Sequence[Any]) -> list[Any]:
    """The same, with each call answered in its place."""
    kept = [_tidy(message) for message in messages if not _is_empty(message)]
    asked = by_place(_slots(kept))
    results = {place for place, message in enumerate(kept) if _result_id(message) is not None}
    repaired: list[Any] = []
    for place, message in enumerate(kept):
        if place in results:
            continue
        repaired.append(message)
        if place in asked:
            repaired.extend(_answers(asked[place], _run_end(place + 1, results)))
    return repaired


def units(messages: Sequence[Any]) -> list[Unit]:
    """An assistant's message with calls and what answers it; every other message alone."""
    found: list[Unit] = []
    for place, message in enumerate(messages):
        is_result = role_of(message) in _RESULT_ROLES
        if is_result and found and _asks(messages[found[-1].start]):
            found[-1] = Unit(found[-1].start, place + 1, found[-1].head)
        else:
            found.append(Unit(place, place + 1, not is_result))
    return joined(found, _slots(messages))


def standing(messages: Sequence[Any]) -> Standing:
    """Who is to speak next."""
    cut = bool(messages) and _is_cut(messages[-1])
    kept = [message for message in messages if not _is_empty(message)]
    calls = open_calls(_slots(kept), kept)
    for message in reversed(repair(messages)):
        role = role_of(message)
        if role in _RESULT_ROLES:
            return Standing("results", cut, calls)
        if role in _PROMPT_ROLES:
            return Standing("user", cut, calls)
        if role == "assistant":
            return Standing("model", cut, calls)
    return Standing("nobody", cut, calls)


def events(messages: Sequence[Any]) -> Iterator[Call | Result]:
    """The calls and their results, in the order in which they stand."""
    for place, message in enumerate(messages):
        yield from _events(place, message)


def _is_empty(message: Any) -> bool:
    return role_of(message) == "assistant" and says_nothing(message)


def _is_cut(message: Any) -> bool:
    return role_of(message) == "assistant" and (says_nothing(message) or was_cut(message))


def _tidy(message: Any) -> Any:
    """Without an empty list of calls, which the API refuses."""
    if role_of(message) == "assistant" and message.get("tool_calls") == []:
        return {key: value for key, value in message.items() if key != "tool_calls"}
    return message


def _asks(message: Any) -> bool:
    return role_of(message) == "assistant" and bool(message.get("tool_calls") or message.get("function_call"))


def _slots(messages: Sequence[Any]) -> list[Slot]:
    return settle(events(messages))


def _events(place: int, message: Any) -> Iterator[Call | Result]:
    answers = _result_id(message)
    if answers is not None:
        yield Result(answers, place, message, is_marker(message.get("content")))
    elif role_of(message) == "assistant" and isinstance(message.get("tool_calls"), list):
        for entry in message["tool_calls"]:
            if isinstance(entry, dict) and isinstance(entry.get("id"), str):
                yield _call(place, entry)


def _call(place: int, entry: dict[str, Any]) -> Call:
    for kind, arguments in _KINDS.items():
        inner = entry.get(kind)
        if isinstance(inner, dict):
            return Call(entry["id"], entry["id"], str(inner.get("name", "")), inner.get(arguments), place, place, entry)
    return Call(entry["id"], entry["id"], "", None, place, place, entry)


def _result_id(message: Any) -> str | None:
    answers = message.get("tool_call_id") if role_of(message) == "tool" else None
    return answers if isinstance(answers, str) else None


def _run_end(place: int, results: set[int]) -> int:
    while place in results:
        place += 1
    return place


def _answers(asked: Sequence[Slot], run_end: int) -> list[Any]:
    """The results of one message's calls: those in their place in their order, then late and lost ones."""
    placed = [slot.result for slot in asked if slot.result is not None and slot.result.place < run_end]
    late = [slot for slot in asked if slot.result is None or slot.result.place >= run_end]
    ordered = [result.value for result in sorted(placed, key=lambda result: result.place)]
    return ordered + [slot.result.value if slot.result is not None else _stand_in(slot.call) for slot in late]


def _stand_in(call: Call) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call.id, "content": OUTCOME_UNKNOWN}
