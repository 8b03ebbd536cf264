"""A result that comes late goes to its call; whatever else is appended stays as it was handed over."""

import pytest

from resilient_agent import OUTCOME_UNKNOWN, repair_messages, session_guard
from resilient_agent.session.late import settled

LATER = {"role": "user", "content": "Are you still there?"}


def chat(*ids):
    return {"role": "assistant", "tool_calls": [{"id": made, "function": {"name": "pay"}} for made in ids]}


def tool(call, content=OUTCOME_UNKNOWN):
    return {"role": "tool", "tool_call_id": call, "content": content}


def said(*ids):
    return {
        "role": "assistant",
        "content": [{"type": "tool_use", "id": made, "name": "pay", "input": {}} for made in ids],
    }


def block(call, content=OUTCOME_UNKNOWN):
    return {"type": "tool_result", "tool_use_id": call, "content": content}


def brought(*blocks):
    return {"role": "user", "content": list(blocks)}


def item(call):
    return {"type": "function_call", "call_id": call, "name": "pay", "arguments": "{}"}


def output(call, content=OUTCOME_UNKNOWN):
    return {"type": "function_call_output", "call_id": call, "output": content}


@pytest.mark.parametrize(
    ("stored", "more", "gives"),
    [
        ([chat("a"), tool("a"), LATER], [tool("a", "paid")], [chat("a"), tool("a", "paid"), LATER]),
        ([item("a"), output("a"), LATER], [output("a", "paid")], [item("a"), output("a", "paid"), LATER]),
        (
            [said("a", "b"), brought(block("a"), block("b", "done"), {"type": "text", "text": "and?"})],
            [brought(block("a", "paid")), LATER],
            [said("a", "b"), brought(block("a", "paid"), block("b", "done"), {"type": "text", "text": "and?"}), LATER],
        ),
        (
            [said("a"), brought(block("a"))],
            [brought(block("a", "paid"), {"type": "text", "text": "go on"})],
            [said("a"), brought(block("a", "paid")), brought({"type": "text", "text": "go on"})],
        ),
    ],
    ids=["chat", "responses", "anthropic, one of two", "anthropic, with text"],
)
def test_a_late_result_takes_its_place(stored, more, gives):  # B58
    """And is not said a second time at the end."""
    before = repr(stored)
    assert settled(stored, more) == gives
    assert repr(stored) == before
    assert repair_messages(gives) == gives


@pytest.mark.parametrize(
    ("stored", "more"),
    [
        ([chat("a"), tool("a", "paid")], [tool("a", "again")]),
        ([chat("a"), tool("a"), chat("a")], [tool("a", "of the newer call")]),
        ([chat("a"), tool("a")], [tool("b", "of nobody")]),
        ([chat("a"), tool("a")], [chat("b")]),
        ([chat("a"), tool("a")], [{"role": "assistant", "content": ""}]),
        ([item("a"), output("a"), item("a")], [output("a", "of the newer call")]),
        ([said("a"), brought(block("a")), said("a")], [brought(block("a", "of the newer call"))]),
        ([chat("a"), tool("a")], ["no message", 7, None, {"content": [1, None]}]),
    ],
)
def test_everything_else_is_appended_as_it_is(stored, more):
    """A second result, a newer call of the same id, an open call, an empty message: nothing is judged here."""
    assert settled(stored, more) is None


def test_a_resumed_conversation_goes_on_as_it_is_told(store):
    """After a repair calls are appended without a result at first, and nothing that was acknowledged goes."""
    with pytest.raises(LookupError), session_guard("ticket-42", store=store) as session:
        session.append(chat("a"))
        raise LookupError
    with session_guard("ticket-42", store=store, keep=True) as session:
        saved = [*session.messages, chat("b"), {"role": "assistant", "content": ""}, tool("x", "of nobody")]
        for message in saved[2:]:
            session.append(message)
            assert session.messages[-1] == message
        session.append(tool("a", "paid"))
        assert session.messages == [chat("a"), tool("a", "paid"), *saved[2:]]
    assert store.read("ticket-42").messages == [chat("a"), tool("a", "paid"), *saved[2:]]
