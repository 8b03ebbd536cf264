"""The end of a conversation that fits, with nothing torn apart."""

import copy
import math

import pytest
from dialect_tests import checker, conversations
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_agent.session.repair import repair_messages
from resilient_agent.session.window import window

DIALECTS = conversations.DIALECTS
QUICK = settings(max_examples=80)

SYSTEM = {"role": "system", "content": "Be brief."}
ASK = {"role": "user", "content": "go"}
SAID = {"role": "assistant", "content": "ok"}


def chat_calls(*ids):
    made = [{"id": each, "type": "function", "function": {"name": "pay", "arguments": "{}"}} for each in ids]
    return {"role": "assistant", "content": None, "tool_calls": made}


def tool(answers):
    return {"role": "tool", "tool_call_id": answers, "content": "done"}


CALLED = [ASK, chat_calls("a", "b"), tool("a"), tool("b")]
HISTORY = [SYSTEM, ASK, SAID, *CALLED, SAID]


def test_the_last_messages():
    """As many of the most recent messages as were asked for."""
    assert window([ASK, SAID, ASK, SAID], last=3, dialect="openai-chat") == [SAID, ASK, SAID]
    assert window([ASK, SAID], last=9) == [ASK, SAID]
    assert window([], last=1) == []


def test_plain_text_begins_with_a_user():
    """Where nothing tells the dialect, the first message is one that all providers accept."""
    assert window([ASK, SAID, ASK, SAID], last=3) == [ASK, SAID]


def test_calls_are_never_cut_from_their_results():
    """A cut that would fall between a call and its results is made behind them."""
    assert window(HISTORY, last=2) == [SYSTEM, SAID]
    assert window(HISTORY, last=3) == [SYSTEM, SAID]
    assert window(HISTORY, last=4) == [SYSTEM, *HISTORY[-4:]]


def test_the_last_piece_is_kept_whole():
    """If not even the last piece fits, it is kept, for half of it would be refused."""
    assert window(HISTORY[:-1], last=1) == [SYSTEM, *CALLED[1:]]


def test_what_the_application_said_first_is_kept_and_not_counted():
    """System and developer messages at the beginning stay; later ones are messages like any other."""
    lead = [SYSTEM, {"role": "developer", "content": "x"}]
    assert window([*lead, ASK, SAID, SYSTEM, ASK], last=1) == [*lead, ASK]
    assert window([*lead, *CALLED, SYSTEM, ASK], last=2) == [*lead, SYSTEM, ASK]


def test_reasoning_is_kept_with_what_it_led_to():
    """Of what the model made in one go, all or nothing is kept, outputs included."""
    call = {"type": "function_call", "call_id": "a", "name": "pay", "arguments": "{}"}
    done = {"type": "function_call_output", "call_id": "a", "output": "done"}
    thought = {"type": "reasoning", "id": "rs_1", "summary": []}
    items = [ASK, thought, call, done, thought, SAID]
    assert window(items, last=1) == [thought, SAID]
    assert window(items, last=4) == [thought, SAID]
    assert window(items, last=5) == items[1:]
    running = [{**call, "async": True}, SAID, ASK, SAID, ASK, done]
    assert window(running, last=2) == running


def test_anthropic_begins_with_what_a_user_asked():
    """All the work on one prompt is kept or cut together, for nothing else may come first."""
    use = {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "pay", "input": {}}]}
    done = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "done"}]}
    history = [ASK, SAID, ASK, use, done, use, done]
    assert window(history, last=2) == history[2:]
    assert window(history, last=6) == history[2:]
    assert window(history, last=7) == history


def test_tokens_are_counted_with_what_is_always_kept():
    """System messages take room, and the last piece is kept even if there is none left."""

    def size(message):
        return len(message["content"])

    assert window([SYSTEM, ASK, SAID, ASK, ASK], max_tokens=13, count=size) == [SYSTEM, ASK, ASK]
    assert window([SYSTEM, ASK, SAID, ASK], max_tokens=1, count=size) == [SYSTEM, ASK]


def test_no_more_is_counted_than_needed():
    """Counting is expensive: it stops at the first piece that does not fit."""
    counted = []
    window(
        [ASK, SAID, ASK, SAID], max_tokens=2, dialect="openai-chat", count=lambda message: counted.append(message) or 2
    )
    assert len(counted) == 2


@pytest.mark.parametrize(
    ("error", "match", "asked"),
    [
        (TypeError, "exactly one", {}),
        (TypeError, "exactly one", {"last": 1, "max_tokens": 1, "count": len}),
        (TypeError, "go together", {"max_tokens": 1}),
        (TypeError, "go together", {"last": 1, "count": len}),
        (TypeError, "pass a function", {"max_tokens": 1, "count": 3}),
        (TypeError, "no whole number", {"last": 1.5}),
        (TypeError, "no whole number", {"last": True}),
        (TypeError, "no whole number", {"max_tokens": "9", "count": len}),
        (ValueError, "1 or more", {"last": 0}),
        (ValueError, "1 or more", {"max_tokens": -1, "count": len}),
        (TypeError, "has to return", {"max_tokens": 1, "count": lambda message: None}),
        (ValueError, "no fewer than 0", {"max_tokens": 1, "count": lambda message: -1}),
        (ValueError, "no fewer than 0", {"max_tokens": 1, "count": lambda message: math.nan}),
        (ValueError, "'anthropic'", {"last": 1, "dialect": "claude"}),
    ],
)
def test_a_wrong_question_says_what_to_ask(error, match, asked):
    """Numbers and combinations that mean nothing are refused, with what would be right."""
    with pytest.raises(error, match=match):
        window([ASK], **asked)
    with pytest.raises(TypeError, match="list of messages"):
        window("hello", last=1)


def best(dialect, lead, body, most):
    """What has to come out, found by trying every place to start at."""
    starts = [start for start in range(len(body)) if is_legal(dialect, lead + body[start:], body[start])]
    fitting = [start for start in starts if len(body) - start <= most]
    return lead + body[min(fitting, default=max(starts)) :]


def is_legal(dialect, messages, first):
    results = [] if dialect == "openai-chat" else checker._of(first, "tool_result")
    if dialect == "anthropic" and (first["role"] != "user" or results):
        return False
    return checker.CHECKS[dialect](messages) == []


@pytest.mark.parametrize("dialect", ["openai-chat", "anthropic"])
@QUICK
@given(data=st.data())
def test_the_most_that_is_legal_and_fits(dialect, data):
    """Of all ends of a history that a provider accepts, it is the longest one that fits."""
    history = data.draw(conversations.histories(dialect))
    history = repair_messages(history[: data.draw(st.integers(2, len(history)))], dialect)
    before = copy.deepcopy(history)
    lead, body = history[: dialect == "openai-chat"], history[dialect == "openai-chat" :]
    for most in range(1, len(history) + 1):
        assert window(history, last=most, dialect=dialect) == best(dialect, lead, body, most)
    assert history == before


@QUICK
@given(conversations.histories("openai-responses"), st.integers(1, 40))
def test_any_window_of_items_is_legal(history, most):
    """Items come out as an end of the history that the provider accepts, and one piece at least."""
    kept = window(history, last=most)
    assert checker.responses(kept) == []
    assert kept[:1] == history[:1]
    assert kept[1:] == history[len(history) - len(kept) + 1 :]
    assert kept[1:]
    if len(kept) - 1 > most:
        assert not any(item.get("role") == "user" for item in kept[2:])


@pytest.mark.parametrize("dialect", DIALECTS)
@QUICK
@given(data=st.data())
def test_a_window_that_was_repaired_first_is_accepted(dialect, data):
    """Whatever was torn: repaired and cut, it is what the provider accepts."""
    history = repair_messages(data.draw(conversations.torn(dialect)), dialect)
    kept = window(history, max_tokens=data.draw(st.integers(1, 30)), count=lambda message: 1, dialect=dialect)
    assert checker.CHECKS[dialect](kept) == []
