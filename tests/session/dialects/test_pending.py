"""What an interrupted conversation waits for."""

import copy
import dataclasses

import pytest
from dialect_tests import conversations
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_agent.session.pending import OpenCall, Pending, pending_of
from resilient_agent.session.repair import OUTCOME_UNKNOWN, repair_messages

DIALECTS = conversations.DIALECTS
QUICK = settings(max_examples=80)

SYSTEM = {"role": "system", "content": "Be brief."}
ASK = {"role": "user", "content": "go"}
SAID = {"role": "assistant", "content": "ok"}


def calls(*ids, **fields):
    made = [{"id": each, "type": "function", "function": {"name": "pay", "arguments": "{}"}} for each in ids]
    return {"role": "assistant", "content": None, "tool_calls": made, **fields}


def tool(answers, content="done"):
    return {"role": "tool", "tool_call_id": answers, "content": content}


def paying(*ids):
    return tuple(OpenCall(each, "pay", "{}") for each in ids)


def item(kind, **fields):
    return {"type": kind, **fields}


def function(made, **fields):
    return item("function_call", call_id=made, name="pay", arguments="{}", **fields)


def output(answers, text="done"):
    return item("function_call_output", call_id=answers, output=text)


def said(*blocks, **fields):
    return {"role": "assistant", "content": list(blocks), **fields}


def use(made):
    return {"type": "tool_use", "id": made, "name": "pay", "input": {"sum": 1}}


def result(answers, content="done"):
    return {"type": "tool_result", "tool_use_id": answers, "content": content}


def user(*blocks):
    return {"role": "user", "content": list(blocks)}


TEXT = {"type": "text", "text": "so"}
HM = {"type": "thinking", "thinking": "hm", "signature": "sig"}
SEARCH = {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srv", "content": []}
THOUGHT = item("reasoning", id="rs_1", summary=[])
CLAUDE_PAYS = (OpenCall("a", "pay", {"sum": 1}),)


@pytest.mark.parametrize("history", [[], [SYSTEM], [ASK, SAID], [ASK, SAID, SYSTEM], [None, {}]])
def test_nothing_waits(history):
    """An empty history, one without a question, and one with its answer are clean."""
    assert pending_of(history) == Pending("clean")


@pytest.mark.parametrize("history", [[ASK], [ASK, SAID, ASK], [ASK, SYSTEM], [ASK, calls("a"), tool("a"), ASK]])
def test_a_prompt_waits_for_its_answer(history):
    """A user spoke last, whatever the application added after it."""
    assert pending_of(history) == Pending("prompt")


def test_calls_wait_for_their_results():
    """Calls without a result are named, with the arguments as they were stored."""
    assert pending_of([ASK, calls("a", "b")]) == Pending("calls", paying("a", "b"))
    assert pending_of([ASK, calls("a", "b"), tool("a")]) == Pending("calls", paying("b"))
    assert pending_of([ASK, function("a"), THOUGHT, function("b"), output("a")]) == Pending("calls", paying("b"))
    assert pending_of([ASK, function("a"), item("message", **SAID)]) == Pending("calls", paying("a"))
    assert pending_of([ASK, said(HM, use("a"))]) == Pending("calls", CLAUDE_PAYS)
    cut = {"id": "a", "type": "function", "function": {"name": "pay", "arguments": '{"su'}}
    assert pending_of([ASK, {**calls(), "tool_calls": [cut]}]).calls == (OpenCall("a", "pay", '{"su'),)


def test_a_synthetic_result_leaves_its_call_open():
    """What repair puts in says that the outcome is unknown; a real result, also a late one, closes the call."""
    for history in ([ASK, calls("a")], [ASK, function("a")], [ASK, said(use("a"))]):
        assert pending_of(repair_messages(history)) == pending_of(history)
    assert pending_of([ASK, calls("a"), tool("a", OUTCOME_UNKNOWN), tool("a")]) == Pending("results")
    assert pending_of([ASK, calls("a"), ASK, tool("a")]) == Pending("prompt")


def test_open_calls_are_named_when_a_user_spoke_after_them():
    """The model is to answer the user; the application may still look for the results."""
    assert pending_of([ASK, calls("a"), ASK]) == Pending("prompt", paying("a"))
    assert pending_of([ASK, function("a"), output("a", OUTCOME_UNKNOWN), ASK]) == Pending("prompt", paying("a"))
    assert pending_of([ASK, said(use("a")), user(TEXT)]) == Pending("prompt", CLAUDE_PAYS)


def test_calls_that_the_model_has_gone_on_from_are_over():
    """Only the model's last message counts: what it answered itself, nobody waits for."""
    assert pending_of([ASK, calls("a"), tool("a", OUTCOME_UNKNOWN), SAID]) == Pending("clean")
    assert pending_of([ASK, calls("a"), tool("a", OUTCOME_UNKNOWN), calls("b"), tool("b")]) == Pending("results")


def test_results_wait_for_the_model():
    """All results are there, and the model has not seen them yet."""
    assert pending_of([ASK, calls("a", "b"), tool("b"), tool("a")]) == Pending("results")
    assert pending_of([ASK, function("a"), output("a")]) == Pending("results")
    assert pending_of([ASK, said(use("a")), user(result("a"))]) == Pending("results")
    assert pending_of([ASK, said(use("a")), user(result("a"), TEXT)]) == Pending("prompt")


def test_calls_that_the_model_does_not_wait_for():
    """Asynchronous calls are named as long as they are open, and keep nobody from going on."""
    running = function("a", **{"async": True})
    assert pending_of([ASK, running, SAID]) == Pending("clean", paying("a"))
    assert pending_of([ASK, running, function("b"), output("b")]) == Pending("results", paying("a"))
    assert pending_of([ASK, running, SAID, ASK, output("a")]).calls == ()


@pytest.mark.parametrize(
    "last",
    [
        {"role": "assistant", "content": ""},
        {"role": "assistant", "content": None},
        {"role": "assistant"},
        {**SAID, "finish_reason": "length"},
        {**SAID, "finish_reason": None},
        said(TEXT, stop_reason="max_tokens"),
        said(TEXT, stop_reason="pause_turn"),
        said(),
        said(HM),
        said(TEXT, SEARCH),
        item("message", role="assistant", content=[{"type": "output_text", "text": "s"}], status="incomplete"),
        item("message", role="assistant", content=[], status="completed"),
        item("web_search_call", id="ws_1", status="in_progress"),
        THOUGHT,
    ],
)
def test_a_last_message_that_was_visibly_cut(last):
    """An empty message, a reason or status that says so, thoughts without a word: the model was not done."""
    assert pending_of([ASK, last]) == Pending("partial")
    assert pending_of([ASK, last, ASK]).kind == "prompt"


def test_calls_of_a_message_that_was_cut_are_named():
    """They are open, but the message may have had more of them, and their arguments may be cut."""
    assert pending_of([ASK, calls("a", finish_reason="length")]) == Pending("partial", paying("a"))
    assert pending_of([ASK, function("a", status="incomplete")]) == Pending("partial", paying("a"))
    assert pending_of([ASK, calls("a"), {"role": "assistant", "content": ""}]) == Pending("partial", paying("a"))


@pytest.mark.parametrize(
    "last",
    [
        {**SAID, "finish_reason": "stop"},
        {**SAID, "content": "", "reasoning_content": "hm"},
        said(TEXT, stop_reason="end_turn"),
        said(SEARCH, FOUND, TEXT),
        item("web_search_call", id="ws_1", status="completed"),
    ],
)
def test_a_last_message_that_was_not_cut(last):
    """Whatever says that it is whole, is."""
    assert pending_of([ASK, last]) == Pending("clean")


def test_each_kind_of_call_has_a_name_and_arguments():
    """Calls of a provider's own tools are named as the tool is called there."""
    named = {}
    for make, _ in conversations.CALLS:
        (call,) = pending_of([ASK, make("x")]).calls
        assert call.id == "x"
        assert call.arguments is not None
        named[make("x")["type"]] = call.name
    assert named == {
        "function_call": "look",
        "custom_tool_call": "write",
        "local_shell_call": "local_shell",
        "shell_call": "shell",
        "apply_patch_call": "apply_patch",
        "computer_call": "computer",
        "mcp_approval_request": "pay",
        "tool_search_call": "tool_search",
    }
    custom = {"id": "a", "type": "custom", "custom": {"name": "write", "input": "x = 1"}}
    assert pending_of([ASK, {**calls(), "tool_calls": [custom]}]).calls == (OpenCall("a", "write", "x = 1"),)


def test_what_comes_out_cannot_be_changed():
    """It is a statement about a moment; and a wrong question is refused."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        pending_of([]).kind = "calls"
    with pytest.raises(ValueError, match="'openai-chat'"):
        pending_of([], "gpt")
    with pytest.raises(TypeError, match="list of messages"):
        pending_of("hello")


@pytest.mark.parametrize("dialect", ["openai-chat", "anthropic"])
@QUICK
@given(data=st.data())
def test_every_moment_of_a_conversation(dialect, data):
    """Cut after any message, it says who is to act, and the same once it was repaired."""
    history = data.draw(conversations.histories(dialect))
    for end in range(1, len(history) + 1):
        before = copy.deepcopy(history[:end])
        pending = pending_of(history[:end], dialect)
        assert history[:end] == before
        assert pending.kind == expected(history[:end])
        assert [call.id for call in pending.calls] == (unanswered(history[:end]) if pending.kind == "calls" else [])
        assert pending_of(repair_messages(history[:end], dialect), dialect) == pending


def expected(history):
    last = history[-1]
    if last["role"] == "system":
        return "clean"
    if unanswered(history):
        return "calls"
    if last["role"] == "tool" or (last["role"] == "user" and all(is_result(block) for block in last["content"])):
        return "results"
    return "prompt" if last["role"] == "user" else "clean"


def is_result(block):
    return isinstance(block, dict) and block["type"] == "tool_result"


def unanswered(history):
    """The ids of the last assistant's message that nothing after it answers."""
    places = [place for place, message in enumerate(history) if message["role"] == "assistant"]
    if not places:
        return []
    message, after = history[places[-1]], history[places[-1] + 1 :]
    blocks = message["content"] if isinstance(message["content"], list) else []
    made = [call["id"] for call in message.get("tool_calls", [])]
    made += [block["id"] for block in blocks if block["type"] == "tool_use"]
    answered = [each.get("tool_call_id") for each in after]
    answered += [block.get("tool_use_id") for each in after for block in each["content"] if isinstance(block, dict)]
    return [each for each in made if each not in answered]


@pytest.mark.parametrize("dialect", DIALECTS)
@QUICK
@given(data=st.data())
def test_repair_does_not_change_who_is_to_act(dialect, data):
    """Once what was cut is cleared away, the repaired history waits for the same as the torn one."""
    history = data.draw(conversations.torn(dialect))
    torn, repaired = pending_of(history, dialect), pending_of(repair_messages(history, dialect), dialect)
    assert torn.kind in {repaired.kind, "partial"}
    assert torn.calls == repaired.calls
