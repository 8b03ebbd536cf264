"""OpenAI Responses: each call is an item of its own, and so is its output; reasoning goes before what it led to.

Pure. Decides what the Responses API accepts as input; knows nothing of sessions and of the other dialects.

Rules, from the API's reference and its own errors: "No tool output found for function call ...", "No
tool call found for function call output with call_id ...", "Item 'rs_...' of type 'reasoning' was
provided without its required following item". OpenAI itself pairs by id wherever the output stands;
compatible services refuse one with a message before it, so a lost or late one goes right behind what
the model made together with its call. A call with `async: true` is the exception that the documentation
makes: the model does not wait for it, its output may come much later or not at all, and so nothing is
put in for it and nothing is moved.

What is put in for a lost output has the fields that the API asks for, filled with what claims least:
a shell call timed out (there is no exit code), a patch "failed" (there are only two states), a
request for approval is denied (nobody else may consent), a tool search found nothing, and the
screenshot of a computer call is a picture of the text. That text is in all of them that can hold it.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from resilient_agent.session.dialects._pairing import (
    OUTCOME_UNKNOWN,
    Call,
    Result,
    Slot,
    Standing,
    Unit,
    by_place,
    is_marker,
    joined,
    says_nothing,
    settle,
    was_cut,
)

__all__ = ["CONTENT_TYPES", "ITEM_TYPES", "events", "group_start", "repair", "standing", "units"]

_PICTURE: Final = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAXgAAABCAQAAAAB1cPB0AAADOUlEQVR42u2Wz2scZRjHP+9k2O5qSma3BpOmzL5FRREPm0u1gjr1B+agh4AQ"
    "L0KC/0ALpQZM6UALpgiSgmA9KCmCeOgh4KGBVLuHlOrBZk/+gG12dk3blWB2NwS7Tmfn8TBJuj9SY0UkFt/LOy/zne88z8Pzfb6vEu5pGfyP"
    "3yn47PruthylBfAn/E60qQ7+oBXntX8Y/SH8W/ErqcmR5OHCuU8Ll/vKeu6xpzLmy864BTJ4NZUPHlc/Gc8v6eCFg9lvnCtZDH5zB44vDyyD"
    "H/jf40N+7bzcHLn5y4mRHLKQi8nn10bPOV3fzc0BJgmopRop0Kua7r4MOBCfiivO+MbBry0xMA7ZdtY1T8XvxF9qTnRSWcmkBSD7NdBwAH53"
    "m/JNA09s4Cco18tlACnmgC4PYFcWMLgl9KxQIcQkf4AccFF4R+AwamYRIPRgwg0uumDwwEl1spc9xDB4EsDkNdX/cf/Dw1+AGsv4jnpkFHX8"
    "0CuXAfVX9VuP/yv9qf7z86RKI2r7KsCUXu955y6CkIrcFhGRgoiIVKJN5JJsrsKdR9mMp97Olv2H4q/VrpdKJb5dnZpnaQmYZHKypy5DYZDW"
    "ou1fn2tKBZPYsd7hvTfsp38YvYoPsMZDH5VRs8iCIQvhtbdiLfyJBKlECiwMShq0yaNDcUB9gkXSSL3otMZfW5cXJswDcTi9IS6V1g2nLd8e"
    "N5IXz0aj6ChMbIhLLXgvea34W3V3hUpUQTuIxuEcVVA/LhJStBcvuc35+qcfvMEeFB86xLoNk254vT8+A2qsVhhM7n67NHY/9fPOx7tNrjI9"
    "3frO3IbP6+Avbm1f2Tb72sQP3FsCcts7kT2yKMWiuD9/JZ+91yWvXnm3J9z1QWV3Oty3z7afSTfp3YQBN9+wWN7LAV/jn8+ztnbhTTV7oTLy"
    "fvjlTGM4ub+jPpaQSoAO0UPgOKemwPXOoDTK1p31LEWH+Q3/wgLLtRCN6C3qH0ZmEFjrsyhXR6rTdVQVVd0KH7ICBAHMAvWhcaha40gVWfXE"
    "bcZfVy6xOL1AtwVvmNCnzpLIJM5iZDAGx3SnXwRms0lt3z9B2xDdDl+9y1XmPvSvnYX/A2jcW6Jnb8JyAAAAAElFTkSuQmCC"
)
"""A screenshot that reads: outcome unknown: the session was interrupted before this call's result was saved. ..."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Tool:
    """A kind of call that the client answers.

    Attributes:
        output: the type of the item that answers it.
        lost: the fields of an output whose outcome is unknown.
        id: where the call keeps the id that its output names.
        named: where the output names it; the first that is there counts, and a stand-in has all.
        title: what it is called where it has no name of its own.
        arguments: where the call keeps what it asks for; the first that is there counts.
        echoed: fields of the call that its output repeats.
        unless: what call and output say when the service does both itself.
    """

    output: str
    lost: Mapping[str, Any]
    id: str = "call_id"
    named: tuple[str, ...] = ("call_id",)
    title: str = ""
    arguments: tuple[str, ...] = ("arguments",)
    echoed: tuple[str, ...] = ()
    unless: tuple[str, str] | None = None


_LOST_SHELL: Final = {"stdout": "", "stderr": OUTCOME_UNKNOWN, "outcome": {"type": "timeout"}}

_TOOLS: Final[Mapping[str, _Tool]] = {
    "function_call": _Tool("function_call_output", {"output": OUTCOME_UNKNOWN}, echoed=("caller",)),
    "custom_tool_call": _Tool(
        "custom_tool_call_output", {"output": OUTCOME_UNKNOWN}, arguments=("input",), echoed=("caller",)
    ),
    "local_shell_call": _Tool(
        "local_shell_call_output",
        {"output": OUTCOME_UNKNOWN},
        named=("call_id", "id"),  # the reference says `id`, the service and its guides `call_id`
        title="local_shell",
        arguments=("action",),
    ),
    "shell_call": _Tool(
        "shell_call_output", {"output": [_LOST_SHELL]}, title="shell", arguments=("action",), echoed=("caller",)
    ),
    "apply_patch_call": _Tool(
        "apply_patch_call_output",
        {"status": "failed", "output": OUTCOME_UNKNOWN},
        title="apply_patch",
        arguments=("operation",),
        echoed=("caller",),
    ),
    "computer_call": _Tool(
        "computer_call_output",
        {"output": {"type": "computer_screenshot", "image_url": _PICTURE}},
        title="computer",
        arguments=("action", "actions"),
    ),
    "mcp_approval_request": _Tool(
        "mcp_approval_response",
        {"approve": False, "reason": OUTCOME_UNKNOWN},
        id="id",
        named=("approval_request_id",),
    ),
    "tool_search_call": _Tool(
        "tool_search_output",
        {"execution": "client", "status": "incomplete", "tools": []},
        title="tool_search",
        unless=("execution", "server"),
    ),
}
_CALL_TYPES: Final = frozenset(_TOOLS)
_ANSWERS: Final = {tool.output: tool for tool in _TOOLS.values()}

_SERVER_ITEMS: Final = frozenset(
    {
        "web_search_call",
        "file_search_call",
        "code_interpreter_call",
        "image_generation_call",
        "mcp_list_tools",
        "mcp_call",
        "program",
        "program_output",
        "tool_search_output",  # where the service searched
    }
)
"""What the service makes and answers itself."""

_MODEL_ITEMS: Final = _SERVER_ITEMS | _CALL_TYPES | {"reasoning"}
_INPUT_ITEMS: Final = frozenset({"item_reference", "compaction", "additional_tools", "configuration_update"})
ITEM_TYPES: Final = _MODEL_ITEMS | set(_ANSWERS) | _INPUT_ITEMS
"""Types of items that no other dialect has."""
CONTENT_TYPES: Final = frozenset({"input_text", "output_text", "input_image", "input_file"})
"""Types of content that no other dialect has."""

_MAKERS: Final = frozenset({"model", "reasoning"})
"""Speakers that are the model."""

_NO_FOLLOWER: Final = frozenset({"user", "system", "developer", "result", "reasoning"})
"""Speakers that are not what a reasoning item can have led to; an unknown item might be."""

_CUT_STATUSES: Final = frozenset({"in_progress", "incomplete", "searching", "interpreting", "generating", "calling"})


class _Run(NamedTuple):
    """Items that the model made in one go, then the outputs that follow at once."""

    start: int
    stop: int
    results_stop: int


def repair(messages: Sequence[Any]) -> list[Any]:
    """The same conversation, as the Responses API accepts it."""
    items = _cleaned(messages)
    layout = _Layout(items)
    repaired: list[Any] = []
    for place, item in enumerate(items):
        repaired.extend(layout.inserted.get(place, ()))
        if place not in layout.removed:
            repaired.append(item)
    return repaired + layout.inserted.get(len(items), [])


def units(messages: Sequence[Any]) -> list[Unit]:
    """What the model made in one go with the outputs that follow; every other item alone."""
    found: list[Unit] = []
    place = 0
    for run in _runs(messages):
        found.extend(Unit(each, each + 1, _speaker(messages[each]) != "result") for each in range(place, run.start))
        found.append(Unit(run.start, run.results_stop, head=True))
        place = run.results_stop
    rest = range(place, len(messages))
    found.extend(Unit(each, each + 1, _speaker(messages[each]) != "result") for each in rest)
    return joined(found, _slots(messages, _runs(messages)))


def standing(messages: Sequence[Any]) -> Standing:
    """Who is to speak next."""
    cut = bool(messages) and _is_cut(messages[-1])
    items = _cleaned(messages)
    runs = _runs(items)
    latest = runs[-1].start if runs else None
    slots = [slot for slot in _slots(items, runs) if slot.open]
    calls = tuple(slot.call for slot in slots if slot.call.group == latest or not slot.call.waits)
    for item in reversed(repair(messages)):
        speaker = _speaker(item)
        if speaker == "result":
            return Standing("results", cut, calls)
        if speaker in _MAKERS:
            return Standing("model", cut, calls)
        if speaker == "user":
            return Standing("user", cut, calls)
    return Standing("nobody", cut, calls)


def events(messages: Sequence[Any]) -> Iterator[Call | Result]:
    """The calls and their results, in the order in which they stand."""
    return _events(messages, _runs(messages))


def group_start(messages: Sequence[Any], stop: int) -> int:
    """Where that begins which was made together with what stands before `stop`: all items of one run."""
    start = stop
    while start and _speaker(messages[start - 1]) in _MAKERS:
        start -= 1
    return min(start, stop - 1)


def _speaker(item: Any) -> str:
    """Who made an item: model, reasoning (also the model), result, user, system, developer, or unknown."""
    if not isinstance(item, dict):
        return "unknown"
    kind, role = _type(item), item.get("role")
    if kind == "message" and isinstance(role, str):
        return "model" if role == "assistant" else role
    if kind == "reasoning":
        return "reasoning"
    if _result_key(item) is not None:
        return "result"
    return "model" if isinstance(kind, str) and kind in _MODEL_ITEMS else "unknown"


def _type(item: dict[str, Any]) -> Any:
    """The type of an item; a message may go without."""
    return item.get("type") or "message"


def _is_empty(item: Any) -> bool:
    """Whether it is an assistant's message that says nothing."""
    return _speaker(item) == "model" and _type(item) == "message" and says_nothing(item)


def _is_cut(item: Any) -> bool:
    speaker = _speaker(item)
    if speaker not in _MAKERS:
        return False
    status = item.get("status")
    return speaker == "reasoning" or _is_empty(item) or was_cut(item) or _is_one_of(status, _CUT_STATUSES)


def _is_one_of(value: Any, known: frozenset[str]) -> bool:
    return isinstance(value, str) and value in known


def _cleaned(messages: Sequence[Any]) -> list[Any]:
    """Without messages that say nothing, and without reasoning whose item was never saved, or is gone."""
    kept: list[Any] = []
    led_somewhere = False
    for item in reversed([item for item in messages if not _is_empty(item)]):
        speaker = _speaker(item)
        if speaker != "reasoning":
            led_somewhere = speaker not in _NO_FOLLOWER
        if speaker != "reasoning" or led_somewhere:
            kept.append(item)
    return kept[::-1]


def _runs(items: Sequence[Any]) -> list[_Run]:
    speakers = [_speaker(item) for item in items]
    runs: list[_Run] = []
    place = 0
    while place < len(items):
        start = place
        while place < len(items) and speakers[place] in _MAKERS:
            place += 1
        stop = place
        while place < len(items) and speakers[place] == "result":
            place += 1
        if start < stop:
            runs.append(_Run(start, stop, place))
        place = max(place, start + 1)
    return runs


def _slots(items: Sequence[Any], runs: Sequence[_Run]) -> list[Slot]:
    return settle(_events(items, runs))


def _events(items: Sequence[Any], runs: Sequence[_Run]) -> Iterator[Call | Result]:
    group_of = {place: run.start for run in runs for place in range(run.start, run.stop)}
    for place, item in enumerate(items):
        if place in group_of:
            yield from _calls(item, place, group_of[place])
        elif _speaker(item) == "result":
            yield Result(_result_key(item) or "", place, item, _is_placeholder(item))


def _calls(item: dict[str, Any], place: int, group: int) -> Iterator[Call]:
    kind = item.get("type")
    tool = _TOOLS.get(kind) if isinstance(kind, str) else None
    if tool is None or not isinstance(item.get(tool.id), str) or _is_served(item, tool):
        return
    yield Call(
        key=f"{tool.output} {item[tool.id]}",
        id=item[tool.id],
        name=str(item.get("name") or tool.title),
        arguments=next((item[key] for key in tool.arguments if key in item), None),
        place=place,
        group=group,
        source=item,
        waits=item.get("async") is not True,
    )


def _result_key(item: dict[str, Any]) -> str | None:
    kind = item.get("type")
    tool = _ANSWERS.get(kind) if isinstance(kind, str) else None
    if tool is None or _is_served(item, tool):
        return None
    named = next((item[key] for key in tool.named if isinstance(item.get(key), str)), None)
    return None if named is None else f"{tool.output} {named}"


def _is_served(item: dict[str, Any], tool: _Tool) -> bool:
    return tool.unless is not None and item.get(tool.unless[0]) == tool.unless[1]


def _is_placeholder(item: dict[str, Any]) -> bool:
    lost = _ANSWERS[item["type"]].lost
    return all(
        is_marker(item.get(key)) if value == OUTCOME_UNKNOWN else item.get(key) == value for key, value in lost.items()
    )


def _stand_in(call: Call) -> dict[str, Any]:
    tool = _TOOLS[call.source["type"]]
    named = dict.fromkeys(tool.named, call.id)
    echoed = {key: call.source[key] for key in tool.echoed if call.source.get(key) is not None}
    return copy.deepcopy({"type": tool.output, **named, **tool.lost, **echoed})


class _Layout:
    """Where results go: `inserted` before which place, and the places of those that are `removed`."""

    def __init__(self, items: Sequence[Any]) -> None:
        runs = _runs(items)
        asked = by_place(_slots(items, runs))
        self.inserted: dict[int, list[Any]] = {}
        self.removed = {place for place, item in enumerate(items) if _speaker(item) == "result"}
        for run in runs:
            self._lay_out(run, [slot for place in range(run.start, run.stop) for slot in asked.get(place, ())])

    def _lay_out(self, run: _Run, asked: Sequence[Slot]) -> None:
        for slot in asked:
            if slot.result is not None and _is_in_place(slot.call, slot.result, run):
                self.removed.discard(slot.result.place)
            elif slot.call.waits:
                value = slot.result.value if slot.result is not None else _stand_in(slot.call)
                self.inserted.setdefault(run.results_stop, []).append(value)


def _is_in_place(call: Call, result: Result, run: _Run) -> bool:
    return not call.waits or run.stop <= result.place < run.results_stop
