"""A result that comes late goes to its call; whatever else is appended stays as it was handed over."""

import copy
import json
import sys

import pytest
from dialect_tests import checker, conversations
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_agent import OUTCOME_UNKNOWN, repair_messages, session_guard
from resilient_agent.session.late import settled

DIALECTS = conversations.DIALECTS
QUICK = settings(max_examples=100)
LONG = settings(max_examples=2000)

LATER = {"role": "user", "content": "Are you still there?"}
YES = {"role": "assistant", "content": "Yes."}
KINDS = [call("x")["type"] for call, _ in conversations.CALLS]
NEW = 1000  # numbers of results that no generated conversation has
QUOTED = f"line 1 of the log: {OUTCOME_UNKNOWN}"


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
        ([chat("a"), tool("a")], [chat("a"), tool("a", "of the newer call")]),
        ([chat("a"), tool("a")], [tool("a")]),
        ([item("a"), output("a")], [{**output("a", "of another kind"), "type": "custom_tool_call_output"}]),
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


@pytest.mark.parametrize(
    ("call", "brings"),
    [
        (chat("a"), lambda said: tool("a", said)),
        (chat("a"), lambda said: tool("a", [{"type": "text", "text": said}])),
        (said("a"), lambda said: brought(block("a", said))),
        (said("a"), lambda said: brought(block("a", [{"type": "text", "text": said}]))),
        (item("a"), lambda said: output("a", said)),
        (item("a"), lambda said: output("a", [{"type": "input_text", "text": said}])),
    ],
)
def test_a_result_that_quotes_the_sentence_is_a_real_one(call, brings):
    """A tool that reads a log says it too: what it brings is never taken away, and takes its place when it is late."""
    assert settled([call, brings(QUOTED)], [brings("again")]) is None
    assert settled([call, brings(OUTCOME_UNKNOWN), LATER], [brings(QUOTED)]) == [call, brings(QUOTED), LATER]


@pytest.mark.parametrize(("call", "answer"), conversations.CALLS, ids=KINDS)
def test_each_kind_of_stand_in_is_replaced(call, answer, store):
    """Also those that cannot say the sentence in words: a screenshot, a search, an approval."""
    with pytest.raises(LookupError), session_guard("ticket-42", store=store) as session:
        session.append(call("x"))
        raise LookupError
    with session_guard("ticket-42", store=store, keep=True) as session:
        stand_in = session.messages[1]
        session.append(LATER)
        session.append(answer("x", 1))
        assert session.messages == [call("x"), answer("x", 1), LATER]
    assert stand_in != answer("x", 1)
    assert store.read("ticket-42").messages == [call("x"), answer("x", 1), LATER]


def test_calls_made_together_may_share_an_id():
    """Each of their late results takes the place of one stand-in; one more is a result of nobody."""
    for call, brings in ((chat("", ""), tool), (item(""), output)):
        calls = [call] if call == chat("", "") else [call, LATER | {"role": "assistant"}, call]
        stored = repair_messages([*calls, LATER])
        for number in range(2):
            stored = settled(stored, [brings("", f"{number}")])
        assert stored == [*calls, brings("", "0"), brings("", "1"), LATER]
        assert settled(stored, [brings("", "2")]) is None


def test_a_stand_in_that_was_stored_as_a_block_is_replaced():
    """Libraries write a text as a list with one block; it says the same."""
    stored = [said("a"), brought(block("a", [{"type": "text", "text": OUTCOME_UNKNOWN}]))]
    assert settled(stored, [brought(block("a", "paid"))]) == [said("a"), brought(block("a", "paid"))]


class Watched(list):
    """A history that knows how far back it was read."""

    earliest = sys.maxsize

    def __getitem__(self, where):
        first = where.start if isinstance(where, slice) else where
        self.earliest = min(self.earliest, first)
        return super().__getitem__(where)


@pytest.mark.parametrize(
    ("call", "result"),
    [(chat("a"), tool("a", "1")), (said("a"), brought(block("a", "1"))), (item("a"), output("a", "1"))],
)
def test_a_result_that_follows_its_call_is_not_looked_for_further_back(call, result):
    """A long history that was once repaired is not read for each message that is appended."""
    stored = Watched([call, result, LATER] * 100 + [call])
    assert settled(stored, [LATER, call]) is None
    assert stored.earliest == sys.maxsize
    assert settled(stored, [result]) is None
    assert stored.earliest >= len(stored) - 2


# -- any history ----------------------------------------------------------------------------------


def stand_ins(cut, repaired):
    """What a repair put in: the results that were not there before."""
    known = list(conversations.results_in(cut))
    return [each for each in conversations.results_in(repaired) if each not in known]


def swapped(messages, stand_ins, late):
    """The history with each stand-in replaced by the late result; an oracle that knows nothing of pairing."""

    def swap(value):
        return late[stand_ins.index(value)] if value in stand_ins else value

    def message_of(message):
        message = swap(message)
        content = message.get("content")
        return {**message, "content": [swap(part) for part in content]} if isinstance(content, list) else message

    return [message_of(message) for message in messages]


def bring(dialect, late, rest=()):
    """Late results as they are appended, with what is said in the same breath."""
    return [brought(*late, *rest)] if dialect == "anthropic" else [*late, *[brought(*rest)] * bool(rest)]


def one_by_one(stored, more, dialect):
    for message in more:
        fixed = settled(stored, [message], dialect)
        stored = [*stored, message] if fixed is None else fixed
    return stored


def hold_for_cuts(dialect, history, between, order):
    """Interrupted anywhere, repaired, continued; then every open call's result comes after all."""
    for cut in conversations.cuts(history):
        repaired = repair_messages(cut, dialect)
        lost = stand_ins(cut, repaired)
        late = [conversations.real_one(each, number) for number, each in enumerate(lost, NEW)]
        stored = [*repaired, *between]
        before = copy.deepcopy(stored)
        due = swapped(stored, lost, late)
        moved = sorted(late, key=lambda each: order[late.index(each)])
        at_once = settled(stored, bring(dialect, moved), dialect) if late else stored
        assert stored == before
        assert at_once == due
        assert one_by_one(stored, [each for one in moved for each in bring(dialect, [one])], "auto") == due
        assert not any(each in lost for each in conversations.results_in(due))
        mended = swapped(repaired, lost, late)
        assert repair_messages(mended, dialect) == mended
        assert checker.CHECKS[dialect](mended) == []
        assert settled(due, bring(dialect, late), dialect) is None  # a second result is nobody's


@pytest.mark.parametrize("dialect", DIALECTS)
@QUICK
@given(data=st.data())
def test_whatever_stood_for_a_result_is_replaced_when_it_comes(dialect, data):
    """Cut anywhere: each late result is there once, in its place, no stand-in is left, and all else is as it was."""
    between = data.draw(st.sampled_from([[], [LATER], [LATER, YES]]))
    order = data.draw(st.permutations(range(8)))
    hold_for_cuts(dialect, data.draw(conversations.histories(dialect)), between, order)


@pytest.mark.parametrize("dialect", DIALECTS)
@QUICK
@given(data=st.data())
def test_an_id_that_was_used_again_is_the_newer_calls(dialect, data):
    """Late results of earlier calls go to their stand-ins only while no later call has their id."""
    history = data.draw(conversations.histories(dialect))
    cut = history[: data.draw(st.integers(1, len(history)))]
    repaired = repair_messages(cut, dialect)
    lost = stand_ins(cut, repaired)
    later = data.draw(conversations.histories(dialect))
    used = {conversations.asked_by(each) for each in conversations.results_in(later)}
    late = [conversations.real_one(each, number) for number, each in enumerate(lost, NEW)]
    first = [each for each in late if conversations.asked_by(each) not in used]
    others = [each for each in late if each not in first]
    kept = [each for each in lost if conversations.asked_by(each) not in used]
    due = swapped(repaired, kept, first) + later
    assert one_by_one([*repaired, *later], bring(dialect, first) if first else [], dialect) == due
    assert not others or settled([*repaired, *later], bring(dialect, others), dialect) is None


@pytest.mark.parametrize("dialect", DIALECTS)
@QUICK
@given(data=st.data())
def test_a_conversation_that_simply_goes_on_ends_as_if_it_was_never_interrupted(dialect, data):
    """Cut, repaired and then continued message by message, with everything that was lost: nothing is missing."""
    history = data.draw(conversations.histories(dialect))
    end = data.draw(st.integers(1, len(history)))
    repaired = repair_messages(history[:end], dialect)
    whole = one_by_one(repaired, history[end:], dialect)
    assert checker.CHECKS[dialect](whole) == []
    assert repair_messages(whole, dialect) == whole
    assert bag(conversations.results_in(whole)) == bag(conversations.results_in(history))


def bag(values):
    return sorted(map(json.dumps, values))


@QUICK
@given(dialect=st.sampled_from(["auto", *DIALECTS]), data=st.data())
def test_garbage_is_appended_as_it_is(dialect, data):
    """Messages of any shape never raise, and what was handed over is left alone."""
    stored, more = (data.draw(st.lists(conversations.GARBAGE, max_size=5)) for _ in range(2))
    before = copy.deepcopy([stored, more])
    settled(stored, more, dialect)
    assert [stored, more] == before


@pytest.mark.long
@pytest.mark.parametrize("dialect", DIALECTS)
@LONG
@given(data=st.data())
def test_long_whatever_stood_for_a_result_is_replaced(dialect, data):
    """The same for thousands of conversations."""
    order = data.draw(st.permutations(range(8)))
    hold_for_cuts(dialect, data.draw(conversations.histories(dialect)), [LATER, YES], order)
