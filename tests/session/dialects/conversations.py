"""Conversations in the three dialects, made from one plan; and all the ways in which they can be torn."""

import copy
import dataclasses
import itertools

from dialect_tests import checker
from hypothesis import strategies as st

from resilient_agent.session.dialects import OUTCOME_UNKNOWN

IDS = ("a", "b", "c", "d")  # few, so that later turns use them again
DIALECTS = ("openai-chat", "openai-responses", "anthropic")


@dataclasses.dataclass
class Step:
    """One message of the model with calls, and their results in the order in which they came."""

    ids: list
    order: list
    kinds: list
    thinks: int
    text: str
    serves: str
    steer: str


@dataclasses.dataclass
class Turn:
    prompt: str
    steps: list
    thinks: int
    answer: str


texts = st.sampled_from(["yes", "one moment", "東京", "a\nb"])


@st.composite
def _steps(draw):
    ids = draw(st.lists(st.sampled_from(IDS), min_size=1, max_size=4, unique=True))
    return Step(
        ids=ids,
        order=draw(st.permutations(ids)),
        kinds=draw(st.lists(st.integers(0, 99), min_size=len(ids), max_size=len(ids))),
        thinks=draw(st.integers(0, 3)),
        text=draw(st.just("") | texts),
        serves=draw(st.sampled_from(["", "", "done", "deferred"])),
        steer=draw(st.just("") | texts),
    )


_turns = st.builds(Turn, texts, st.lists(_steps(), max_size=3), st.integers(0, 3), texts)
plans = st.lists(_turns, min_size=1, max_size=3)


def histories(dialect):
    """Valid conversations in a dialect."""
    return plans.map(RENDER[dialect])


# -- chat -----------------------------------------------------------------------------------------


def chat(plan):
    messages = [{"role": "system", "content": "Be brief."}]
    counter = itertools.count()
    for turn in plan:
        messages.append({"role": "user", "content": turn.prompt})
        for step in turn.steps:
            calls = [_chat_call(made, kind) for made, kind in zip(step.ids, step.kinds, strict=True)]
            messages.append({"role": "assistant", "content": step.text or None, "tool_calls": calls})
            messages += [
                {"role": "tool", "tool_call_id": made, "content": f"result {next(counter)}"} for made in step.order
            ]
        messages.append({"role": "assistant", "content": turn.answer})
    return messages


def _chat_call(made, kind):
    if kind % 5 == 0:
        return {"id": made, "type": "custom", "custom": {"name": "write", "input": "x = 1"}}
    arguments = '{"place": "Oslo"}' if kind % 5 < 4 else '{"place": "Os'
    return {"id": made, "type": "function", "function": {"name": "look", "arguments": arguments}}


# -- Responses ------------------------------------------------------------------------------------


def responses(plan):
    items = [{"role": "developer", "content": "Be brief."}]
    counter = itertools.count()
    for turn in plan:
        items.append({"role": "user", "content": [{"type": "input_text", "text": turn.prompt}]})
        for step in turn.steps:
            items += _step_items(step, counter)
        items += [_reasoning(next(counter)) for _ in range(turn.thinks % 2)]
        items.append(_message(turn.answer, next(counter)))
    return items


def _step_items(step, counter):
    items = []
    if step.serves:
        action = {"type": "search", "query": "Oslo"}
        items.append({"type": "web_search_call", "id": f"ws_{next(counter)}", "status": "completed", "action": action})
    if step.text:
        items.append(_message(step.text, next(counter)))
    kinds = dict(zip(step.ids, step.kinds, strict=True))
    for number, made in enumerate(step.ids):
        if step.thinks == 3 or (step.thinks and number == 0):
            items.append(_reasoning(next(counter)))
        items.append(CALLS[kinds[made] % len(CALLS)][0](made))
    return items + [CALLS[kinds[made] % len(CALLS)][1](made, next(counter)) for made in step.order]


def _reasoning(number):
    return {"type": "reasoning", "id": f"rs_{number}", "summary": [], "encrypted_content": "gAAA"}


def _message(text, number):
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "id": f"msg_{number}", "role": "assistant", "status": "completed", "content": content}


def _plain_call(kind, **fields):
    return lambda made: {"type": kind, "call_id": made, **fields}


def _plain_output(kind):
    return lambda made, number: {"type": kind, "call_id": made, "output": f"result {number}"}


_DONE = {"type": "exit", "exit_code": 0}
_FUNCTION = (
    _plain_call("function_call", name="look", arguments='{"place": "Os'),
    _plain_output("function_call_output"),
)
CALLS = (
    _FUNCTION,
    _FUNCTION,
    (_plain_call("custom_tool_call", name="write", input="x = 1"), _plain_output("custom_tool_call_output")),
    (
        lambda made: {
            "type": "local_shell_call",
            "id": f"ls_{made}",
            "call_id": made,
            "status": "completed",
            "action": {"type": "exec", "command": ["ls"], "env": {}},
        },
        lambda made, number: {
            "type": "local_shell_call_output",
            "id": made,
            "call_id": made,
            "output": f"result {number}",
        },
    ),
    (
        _plain_call("shell_call", action={"commands": ["ls"]}),
        lambda made, number: {
            "type": "shell_call_output",
            "call_id": made,
            "output": [{"stdout": f"result {number}", "stderr": "", "outcome": _DONE}],
        },
    ),
    (
        _plain_call("apply_patch_call", status="completed", operation={"type": "delete_file", "path": "x"}),
        lambda made, number: {
            "type": "apply_patch_call_output",
            "call_id": made,
            "status": "completed",
            "output": f"result {number}",
        },
    ),
    (
        lambda made: {
            "type": "computer_call",
            "id": f"cu_{made}",
            "call_id": made,
            "status": "completed",
            "pending_safety_checks": [],
            "action": {"type": "screenshot"},
        },
        lambda made, number: {
            "type": "computer_call_output",
            "call_id": made,
            "output": {"type": "computer_screenshot", "file_id": f"file_{number}"},
        },
    ),
    (
        lambda made: {
            "type": "mcp_approval_request",
            "id": made,
            "name": "pay",
            "server_label": "bank",
            "arguments": "{}",
        },
        lambda made, number: {"type": "mcp_approval_response", "approval_request_id": made, "approve": number % 2 == 0},
    ),
    (
        _plain_call("tool_search_call", execution="client", arguments={"query": "pay"}),
        lambda made, number: {"type": "tool_search_output", "call_id": made, "execution": "client", "tools": []},
    ),
)


# -- Anthropic ------------------------------------------------------------------------------------


def anthropic(plan):
    messages = []
    counter = itertools.count()
    for turn in plan:
        messages.append({"role": "user", "content": turn.prompt})
        owed = []
        for step in turn.steps:
            blocks, owed = _step_blocks(step, owed, next(counter))
            messages.append({"role": "assistant", "content": blocks})
            results = [_tool_result(made, next(counter)) for made in step.order]
            steer = [{"type": "text", "text": step.steer}] if step.steer and not owed else []
            messages.append({"role": "user", "content": results + steer})
        said = [{"type": "text", "text": turn.answer}]
        messages.append({"role": "assistant", "content": owed + THINKING[turn.thinks] + said})
    return messages


def _step_blocks(step, owed, number):
    blocks = owed + THINKING[step.thinks] + ([{"type": "text", "text": step.text}] if step.text else [])
    uses = [{"type": "tool_use", "id": made, "name": "look", "input": {"place": "Oslo"}} for made in step.ids]
    if not step.serves:
        return blocks + uses, []
    search = {"type": "server_tool_use", "id": f"srv_{number}", "name": "web_search", "input": {"query": "Oslo"}}
    found = {"type": "web_search_tool_result", "tool_use_id": f"srv_{number}", "content": []}
    if step.serves == "done":
        return [*blocks, search, found, *uses], []
    return [*blocks, search, *uses], [found]


def _tool_result(made, number):
    content = f"result {number}" if number % 2 else [{"type": "text", "text": f"result {number}"}]
    return {"type": "tool_result", "tool_use_id": made, "content": content}


_THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "sig"}
THINKING = ([], [_THOUGHT], [_THOUGHT, {"type": "redacted_thinking", "data": "xx"}], [])

RENDER = {"openai-chat": chat, "openai-responses": responses, "anthropic": anthropic}


# -- results --------------------------------------------------------------------------------------


def results_in(messages):
    """Everything in a history that answers a client's call: messages, items or blocks."""
    for message in messages:
        if message.get("role") == "tool" or message.get("type") in checker.OUTPUT_OF.values():
            yield message
        elif isinstance(message.get("content"), list):
            yield from (block for block in message["content"] if block["type"] == "tool_result")


def asked_by(result):
    """What a result answers: two that say the same here can answer the same call."""
    names = ("tool_call_id", "tool_use_id", "approval_request_id", "call_id")
    return result.get("type"), next(result[name] for name in names if name in result)


def real_one(stand_in, number):
    """A real result of the call for which something else stands."""
    kind, made = asked_by(stand_in)
    if kind is None:
        return {"role": "tool", "tool_call_id": made, "content": f"result {number}"}
    if kind == "tool_result":
        return _tool_result(made, number)
    return _ANSWERS[kind](made, number)


_ANSWERS = {checker.OUTPUT_OF[call("x")["type"]]: answer for call, answer in CALLS}


# -- tearing --------------------------------------------------------------------------------------


def cuts(messages):
    """The history as it was at every moment: after each message, and inside the last message's content."""
    for end in range(len(messages) + 1):
        yield messages[:end]
        content = messages[end - 1]["content"] if end and "content" in messages[end - 1] else ""
        if isinstance(content, list):
            shortest = 0 if messages[end - 1].get("role") == "assistant" else 1
            for length in range(shortest, len(content)):
                yield [*messages[: end - 1], {**messages[end - 1], "content": content[:length]}]


@st.composite
def torn(draw, dialect):
    """A history in which things went missing, came twice or came late."""
    messages = copy.deepcopy(draw(histories(dialect)))
    messages = messages[: draw(st.integers(1, len(messages)))]
    for _ in range(draw(st.integers(1, 4))):
        where = draw(st.integers(0, len(messages) - 1))
        content = messages[where].get("content")
        inner = isinstance(content, list) and len(content) > 1 and draw(st.booleans())
        _tear(draw, content if inner else messages)
    return messages


def _tear(draw, things):
    where = draw(st.integers(0, len(things) - 1))
    how = draw(st.sampled_from(["delete", "duplicate", "later"]))
    if how == "duplicate":
        things.insert(draw(st.integers(where, len(things))), copy.deepcopy(things[where]))
    elif len(things) > 1:
        thing = things.pop(where)
        if how == "later":
            things.insert(draw(st.integers(where, len(things))), thing)


# -- garbage --------------------------------------------------------------------------------------

_KEYS = ["role", "type", "content", "id", "call_id", "tool_call_id", "tool_use_id", "tool_calls", "output", "status"]
_WORDS = [
    *[
        "user",
        "assistant",
        "tool",
        "system",
        "message",
        "function_call",
        "function_call_output",
        "mcp_approval_request",
    ],
    *["tool_use", "tool_result", "thinking", "reasoning", "server_tool_use", "web_search_tool_result", "text"],
    *["a", "b", "", OUTCOME_UNKNOWN],
]
GARBAGE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(_WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=5),
    max_leaves=12,
)
