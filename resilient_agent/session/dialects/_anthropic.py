"""Anthropic messages: `tool_use` blocks, each answered by a `tool_result` block at the head of the next user message.

Pure. Decides what the Messages API accepts as history; knows nothing of sessions and of the other dialects.

Rules, from the API's documentation and its own errors:

- "`tool_use` ids were found without `tool_result` blocks immediately after", "unexpected `tool_use_id`
  found in `tool_result` blocks", "each tool_use must have a single result", "`tool_use` ids must be
  unique": of blocks with one id in one message the first stays. In the user message the results come
  first, before any text.
- "text content blocks must be non-empty", "text content blocks must contain non-whitespace text": an
  assistant's blank text goes; what a user wrote is never touched.
- "all messages must have non-empty content except for the optional final assistant message": an
  assistant's message that says nothing goes, the final one too, as it would only be a prefill of
  nothing, which later models refuse.
- "The final block in an assistant message cannot be `thinking`": thinking with nothing behind it signs
  what was never saved, and goes. All other thinking stays where and as it is.
- "tool use with id 'srvtoolu_...' was found without a corresponding ... block": the service runs these
  tools, so no client may invent their results. An unfinished `server_tool_use` stays while the service
  can still finish it: at the end of the history (the answer to `pause_turn` is to send it as it is), or
  made together with client calls after which there are only results. Otherwise it goes. It stays also
  if a client call names it as its caller. A server result without its call goes.

A synthetic result carries no `is_error`: that says that the tool failed, which is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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

__all__ = ["BLOCK_TYPES", "events", "group_start", "repair", "standing", "units"]

_THINKING: Final = frozenset({"thinking", "redacted_thinking"})
_SERVER_CALLS: Final = frozenset({"server_tool_use", "mcp_tool_use"})
_SERVER_RESULTS: Final = frozenset(
    {
        "web_search_tool_result",
        "web_fetch_tool_result",
        "code_execution_tool_result",
        "bash_code_execution_tool_result",
        "text_editor_code_execution_tool_result",
        "tool_search_tool_result",
        "advisor_tool_result",
        "mcp_tool_result",
    }
)
BLOCK_TYPES: Final = _THINKING | _SERVER_CALLS | _SERVER_RESULTS | {"tool_use", "tool_result"}
"""Types of content blocks that no other dialect has."""

_ECHOED: Final = ("toolset_name",)
"""Fields of a `tool_use` block that its result repeats."""


def repair(messages: Sequence[Any]) -> list[Any]:
    """The same conversation, as the Messages API accepts it."""
    kept = _cleaned(messages)
    asked = by_place(_slots(kept))
    repaired: list[Any] = []
    due: list[Slot] = []
    for place, message in enumerate(kept):
        if role_of(message) == "user":
            repaired.extend(_with_results(message, place, due))
        else:
            repaired.extend(_with_results(None, place, due))
            repaired.append(message)
        due = asked.get(place, [])
    return repaired + _with_results(None, len(kept), due)


def units(messages: Sequence[Any]) -> list[Unit]:
    """From each user message that brings no results up to the next one: nothing else may come first."""
    found: list[Unit] = []
    for place, message in enumerate(messages):
        is_head = role_of(message) == "user" and not _results(message)
        if is_head or not found:
            found.append(Unit(place, place + 1, is_head))
        else:
            found[-1] = found[-1]._replace(stop=place + 1)
    return joined(found, _slots(messages))


def standing(messages: Sequence[Any]) -> Standing:
    """Who is to speak next."""
    cut = bool(messages) and _is_cut(messages[-1])
    kept = _cleaned(messages)
    calls = open_calls(_slots(kept), kept)
    for message in reversed(repair(messages)):
        role = role_of(message)
        if role == "assistant":
            return Standing("model", cut, calls)
        if role == "user":
            only_results = bool(_results(message)) and len(_results(message)) == len(_blocks(message))
            return Standing("results" if only_results else "user", cut, calls)
    return Standing("nobody", cut, calls)


def events(messages: Sequence[Any]) -> Iterator[Call | Result]:
    """The calls and their results, in the order in which they stand."""
    for place, message in enumerate(messages):
        yield from _events(place, message)


def _blocks(message: Any) -> list[Any]:
    content = message.get("content") if isinstance(message, dict) else None
    return content if isinstance(content, list) else []


def _type(block: Any) -> str:
    kind = block.get("type") if isinstance(block, dict) else None
    return kind if isinstance(kind, str) else ""


def _id(block: dict[str, Any], key: str) -> str | None:
    found = block.get(key)
    return found if isinstance(found, str) else None


def _tool_uses(message: Any) -> list[dict[str, Any]]:
    """The client's calls in an assistant's message."""
    if role_of(message) != "assistant":
        return []
    return [block for block in _blocks(message) if _type(block) == "tool_use" and _id(block, "id") is not None]


def _results(message: Any) -> list[dict[str, Any]]:
    """The results that a user message brings."""
    return [block for _, block in _numbered_results(message)]


def _numbered_results(message: Any) -> list[tuple[int, dict[str, Any]]]:
    """The same, each with its number in the message's content."""
    if role_of(message) != "user":
        return []
    return [(number, block) for number, block in enumerate(_blocks(message)) if _is_result(block)]


def _is_result(block: Any) -> bool:
    return _type(block) == "tool_result" and _id(block, "tool_use_id") is not None


def _with_blocks(message: dict[str, Any], blocks: list[Any]) -> dict[str, Any]:
    return message if blocks == message.get("content") else {**message, "content": blocks}


def _map_assistants(messages: Sequence[Any], change: Callable[[int, dict[str, Any]], list[Any]]) -> list[Any]:
    """The messages, with other blocks in the assistant's; without those that then say nothing."""
    mapped: list[Any] = []
    for place, message in enumerate(messages):
        if role_of(message) != "assistant":
            mapped.append(message)
            continue
        changed = _with_blocks(message, change(place, message)) if isinstance(message.get("content"), list) else message
        if not _is_empty(changed):
            mapped.append(changed)
    return mapped


def _is_empty(message: dict[str, Any]) -> bool:
    content = message.get("content")
    return says_nothing({**message, "content": None} if isinstance(content, str) and not content.strip() else message)


# -- an assistant's message alone -----------------------------------------------------------------


def _cleaned(messages: Sequence[Any]) -> list[Any]:
    """The messages, with everything put right that has nothing to do with results of the client."""
    kept = _map_assistants(messages, lambda _, message: _finished(_unblank(_once(message["content"]))))
    gone = _gone_server_blocks(kept)
    return _map_assistants(kept, lambda place, message: _finished(_without(message["content"], gone.get(place, set()))))


def _without(blocks: Sequence[Any], gone: set[int]) -> list[Any]:
    return [block for number, block in enumerate(blocks) if number not in gone]


def _once(blocks: Sequence[Any]) -> list[Any]:
    """Without a second call of one id."""
    seen: set[str] = set()
    kept: list[Any] = []
    for block in blocks:
        made = _id(block, "id") if _type(block) in _SERVER_CALLS | {"tool_use"} else None
        if made is None or made not in seen:
            kept.append(block)
        seen.update([made] if made is not None else [])
    return kept


def _unblank(blocks: Sequence[Any]) -> list[Any]:
    return [block for block in blocks if not (_type(block) == "text" and _is_blank(block.get("text")))]


def _is_blank(text: Any) -> bool:
    return isinstance(text, str) and not text.strip()


def _finished(blocks: list[Any]) -> list[Any]:
    """Without thinking that nothing follows."""
    end = len(blocks)
    while end and _type(blocks[end - 1]) in _THINKING:
        end -= 1
    return blocks[:end]


def _is_cut(message: Any) -> bool:
    if role_of(message) != "assistant":
        return False
    blocks = _unblank(_blocks(message))
    stopped_thinking = _finished(blocks) != blocks
    return was_cut(message) or stopped_thinking or not _map_assistants([message], _same) or _waits_for_service(message)


def _same(_: int, message: dict[str, Any]) -> list[Any]:
    return _unblank(message["content"])


def _waits_for_service(message: dict[str, Any]) -> bool:
    done = {block.get("tool_use_id") for block in _blocks(message) if _type(block) in _SERVER_RESULTS}
    begun = [block.get("id") for block in _blocks(message) if _type(block) in _SERVER_CALLS]
    return not _tool_uses(message) and any(made not in done for made in begun)


# -- tools that the service runs ------------------------------------------------------------------


def _gone_server_blocks(messages: Sequence[Any]) -> dict[int, set[int]]:
    """The blocks of the service's tools that have to go: by message, then by number."""
    gone: dict[int, set[int]] = {}
    for turn, is_last in _turns(messages):
        begun: dict[str, tuple[int, int]] = {}
        for place, number, block in _numbered(messages, turn):
            made, answers = _id(block, "id"), _id(block, "tool_use_id")
            if _type(block) in _SERVER_CALLS and made is not None:
                if made in begun:
                    _mark(gone, begun[made])
                begun[made] = (place, number)
            elif _type(block) in _SERVER_RESULTS and answers is not None and begun.pop(answers, None) is None:
                _mark(gone, (place, number))
        callers = {_caller(block) for place in turn for block in _tool_uses(messages[place])}
        for made, where in begun.items():
            if made not in callers and not (is_last and where[0] == turn[-1]):
                _mark(gone, where)
    return gone


def _mark(gone: dict[int, set[int]], where: tuple[int, int]) -> None:
    gone.setdefault(where[0], set()).add(where[1])


def _numbered(messages: Sequence[Any], turn: Sequence[int]) -> Iterator[tuple[int, int, dict[str, Any]]]:
    for place in turn:
        for number, block in enumerate(_blocks(messages[place])):
            if isinstance(block, dict):
                yield place, number, block


def _caller(block: dict[str, Any]) -> str | None:
    caller = block.get("caller")
    return _id(caller, "tool_id") if isinstance(caller, dict) else None


def _turns(messages: Sequence[Any]) -> list[tuple[list[int], bool]]:
    """The places of the assistant's messages with nothing but results between them; and whether any more follows.

    Only that last turn can go on: what the service has not finished in the others, it never will.
    """
    turns: list[tuple[list[int], bool]] = []
    going_on = False
    for place, message in enumerate(messages):
        if role_of(message) == "assistant":
            if going_on:
                turns[-1][0].append(place)
            else:
                turns.append(([place], True))
            turns[-1] = (turns[-1][0], True)
            going_on = True
        elif turns:
            only_results = bool(_blocks(message)) and len(_results(message)) == len(_blocks(message))
            turns[-1] = (turns[-1][0], turns[-1][1] and only_results)
            going_on = going_on and role_of(message) == "user" and (only_results or _calls_are_made(messages, place))
    return turns


def _calls_are_made(messages: Sequence[Any], place: int) -> bool:
    return bool(_tool_uses(messages[place - 1]))


# -- results of the client ------------------------------------------------------------------------


def _slots(messages: Sequence[Any]) -> list[Slot]:
    return settle(events(messages))


def _events(place: int, message: Any) -> Iterator[Call | Result]:
    for block in _tool_uses(message):
        yield Call(block["id"], block["id"], str(block.get("name", "")), block.get("input"), place, place, block)
    for number, block in _numbered_results(message):
        yield Result(block["tool_use_id"], place, block, is_marker(block.get("content")), number)


def _with_results(message: dict[str, Any] | None, place: int, due: Sequence[Slot]) -> list[Any]:
    """The user message at a place, or a new one, with the results that are due there and no others."""
    placed = [slot.result for slot in due if slot.result is not None and slot.result.place == place]
    results = [result.value for result in sorted(placed, key=lambda result: result.block or 0)] + [
        _stand_in(slot.call) if slot.result is None else slot.result.value
        for slot in due
        if slot.result is None or slot.result.place != place
    ]
    if message is None:
        return [{"role": "user", "content": results}] if results else []
    if not results and not _results(message):
        return [message]
    blocks = results + _others(message)
    return [_with_blocks(message, blocks)] if blocks else []


def _others(message: dict[str, Any]) -> list[Any]:
    content = message.get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if not _is_blank(content) else []
    return [block for block in _blocks(message) if not _is_result(block)]


def _stand_in(call: Call) -> dict[str, Any]:
    echoed = {key: call.source[key] for key in _ECHOED if call.source.get(key) is not None}
    return {"type": "tool_result", "tool_use_id": call.id, "content": OUTCOME_UNKNOWN, **echoed}
