"""An interrupted conversation becomes what its provider accepts, and nothing else about it changes."""

import copy
import json

import anthropic.types
import openai.types.chat
import openai.types.responses
import pydantic
import pytest
from dialect_tests import checker, conversations
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resilient_agent.session.dialects import _chat
from resilient_agent.session.pending import pending_of
from resilient_agent.session.repair import OUTCOME_UNKNOWN, repair_messages
from resilient_agent.session.window import window

DIALECTS = conversations.DIALECTS
QUICK = settings(max_examples=100)
LONG = settings(max_examples=2000)

USER = {"role": "user", "content": "go"}
LATER = {"role": "user", "content": "still there?"}


def mend(messages, dialect="auto"):
    """Repair, holding what must always hold: the input is left alone, and twice is once."""
    before = copy.deepcopy(messages)
    repaired = repair_messages(messages, dialect)
    assert messages == before
    assert repair_messages(repaired, dialect) == repaired
    json.dumps(repaired)
    return repaired


# -- chat -----------------------------------------------------------------------------------------


def calls(*ids, text=None):
    made = [{"id": each, "type": "function", "function": {"name": "pay", "arguments": "{}"}} for each in ids]
    return {"role": "assistant", "content": text, "tool_calls": made}


def tool(answers, content=OUTCOME_UNKNOWN):
    return {"role": "tool", "tool_call_id": answers, "content": content}


def test_chat_an_open_call_gets_one_result():
    """A call that was interrupted is answered by the sentence that its outcome is unknown."""
    assert mend([USER, calls("a")]) == [USER, calls("a"), tool("a")]
    assert "outcome unknown" in OUTCOME_UNKNOWN
    assert not any(word in OUTCOME_UNKNOWN for word in ("fail", "abort", "error"))


def test_chat_the_result_stands_before_what_a_user_said_later():
    """Nothing may stand between a call and its result."""
    assert mend([USER, calls("a"), LATER]) == [USER, calls("a"), tool("a"), LATER]


def test_chat_real_results_of_parallel_calls_are_kept():
    """Of parallel calls only those get a synthetic result that have none, and the others keep their order."""
    history = [USER, calls("a", "b", "c"), tool("c", "3"), tool("a", "1"), LATER]
    assert mend(history) == [USER, calls("a", "b", "c"), tool("c", "3"), tool("a", "1"), tool("b"), LATER]


def test_chat_a_result_without_a_call_goes():
    """A result that no call asked for is refused by the provider, and left out."""
    assert mend([USER, tool("a", "1"), {"role": "assistant", "content": "ok"}], "openai-chat") == [
        USER,
        {"role": "assistant", "content": "ok"},
    ]


def test_chat_a_late_result_takes_the_place_of_a_synthetic_one():
    """A result that is saved after all goes to its call, even from behind later messages."""
    history = mend([USER, calls("a", "b"), tool("b", "2"), LATER])
    assert mend([*history, tool("a", "1")]) == [USER, calls("a", "b"), tool("b", "2"), tool("a", "1"), LATER]


def test_chat_a_late_result_belongs_to_the_latest_call_of_its_id():
    """Once an id was used again, what comes answers the newer call."""
    history = [USER, calls("a"), tool("a"), LATER, calls("a"), tool("a", "new")]
    assert mend(history) == history
    assert mend([*history[:-1], LATER, tool("a", "new")]) == [*history, LATER]


def test_chat_of_two_real_results_the_first_is_kept():
    """What the model saw first stays; a second result of one call goes."""
    history = [USER, calls("a"), tool("a", "1"), tool("a", "2"), LATER, tool("a", "3")]
    assert mend(history) == [USER, calls("a"), tool("a", "1"), LATER]


def test_chat_pairs_by_order_not_by_id_alone():
    """An id that was answered in an earlier turn is open again when it is used again."""
    done = [USER, calls("a"), tool("a", "1"), {"role": "assistant", "content": "ok"}]
    assert mend([*done, LATER, calls("a")]) == [*done, LATER, calls("a"), tool("a")]


def test_chat_calls_made_together_may_share_an_id():
    """Services that give all calls of a message one id get as many results as there are calls."""
    assert mend([calls("", ""), tool("", "1"), tool("", "2")]) == [calls("", ""), tool("", "1"), tool("", "2")]
    assert mend([calls("", ""), tool("", "1")]) == [calls("", ""), tool("", "1"), tool("")]


def test_chat_arguments_that_are_no_json_stay():
    """Truncated arguments are a text like any other: nobody guesses what they were to be."""
    call = calls("a")
    call["tool_calls"][0]["function"]["arguments"] = '{"amount": 1'
    assert mend([USER, call])[1] == call


def test_chat_a_kind_of_call_that_is_not_known_is_answered_all_the_same():
    """Whatever is called, the API wants its id answered."""
    call = {"role": "assistant", "tool_calls": [{"id": "a", "type": "new", "new": {}}, {"type": "no id"}]}
    assert mend([USER, call]) == [USER, call, tool("a")]


def test_chat_an_assistant_that_says_nothing_goes():
    """An empty answer, as a cut stream leaves it, is no message; one with reasoning of a provider's own is."""
    empty = {"role": "assistant", "content": "", "refusal": None, "tool_calls": []}
    assert mend([USER, empty], "openai-chat") == [USER]
    assert mend([USER, calls("a"), empty, tool("a", "1")]) == [USER, calls("a"), tool("a", "1")]
    thinking = {"role": "assistant", "content": "", "reasoning_content": "hm"}
    assert mend([USER, thinking]) == [USER, thinking]


@pytest.mark.parametrize("kind", ["text", "output_text"])
@pytest.mark.parametrize("dialect", ["auto", "openai-chat", "openai-responses", "anthropic"])
def test_an_answer_of_empty_blocks_goes(dialect, kind):
    """Anthropic refuses it for ever, and of a history without tools nothing tells that it is Anthropic's."""
    empty = {"role": "assistant", "content": [{"type": kind, "text": ""}]}
    assert mend([USER, empty], dialect) == [USER]
    assert mend([USER, empty, USER], dialect) == [USER, USER]
    said = {"role": "assistant", "content": [{"type": kind, "text": ""}, {"type": kind, "text": "hm"}]}
    assert mend([USER, said], dialect)[1]["content"][-1] == {"type": kind, "text": "hm"}


def test_chat_an_empty_list_of_calls_goes():
    """The API refuses an empty array of tool calls."""
    assert mend([USER, {"role": "assistant", "content": "ok", "tool_calls": []}], "openai-chat") == [
        USER,
        {"role": "assistant", "content": "ok"},
    ]


# -- Responses ------------------------------------------------------------------------------------


def item(kind, **fields):
    return {"type": kind, **fields}


def function(made):
    return item("function_call", call_id=made, name="pay", arguments="{}")


def output(answers, text=OUTCOME_UNKNOWN):
    return item("function_call_output", call_id=answers, output=text)


THOUGHT = item("reasoning", id="rs_1", summary=[])
SAID = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "ok"}]}


def test_responses_an_open_call_gets_one_output_before_what_a_user_said_later():
    """The output stands right behind what the model made in one go, also where that ends in a message."""
    assert mend([USER, function("a"), function("b"), output("b", "2"), LATER]) == [
        *[USER, function("a"), function("b"), output("b", "2"), output("a"), LATER]
    ]
    assert mend([USER, function("a"), SAID, LATER]) == [USER, function("a"), SAID, output("a"), LATER]


def test_responses_reasoning_stays_in_front_of_its_call():
    """Reasoning is neither moved nor changed, nor is anything put between it and its call."""
    history = [USER, THOUGHT, function("a"), THOUGHT, function("b")]
    assert mend(history) == [*history, output("a"), output("b")]
    assert mend([*history, output("b", "2"), LATER]) == [*history, output("b", "2"), output("a"), LATER]


def test_responses_reasoning_that_led_nowhere_goes():
    """Reasoning whose item was never saved is refused without it."""
    assert mend([USER, SAID, LATER, THOUGHT]) == [USER, SAID, LATER]
    assert mend([USER, THOUGHT, LATER, SAID]) == [USER, LATER, SAID]
    assert mend([USER, THOUGHT, {**SAID, "content": []}]) == [USER]


def test_responses_outputs_that_are_in_their_place_stay_there():
    """What the service itself produced between calls and outputs is no reason to move anything."""
    for history in (
        [USER, THOUGHT, function("a"), SAID, output("a", "1")],
        [USER, function("a"), THOUGHT, function("b"), output("b", "2"), output("a", "1"), SAID],
        [USER, function("a"), output("a", "1"), function("a"), output("a", "2")],
    ):
        assert mend(history) == history
    partly = [USER, function("a"), function("b"), SAID, output("a", "1"), LATER]
    assert mend(partly) == [*partly[:-1], output("b"), LATER]


def test_responses_a_late_output_goes_to_its_call():
    """Compatible services refuse an output that does not follow its call at once."""
    assert mend([USER, function("a"), output("a"), LATER, output("a", "1")]) == [
        *[USER, function("a"), output("a", "1"), LATER]
    ]
    assert mend([USER, output("a", "1"), function("b"), output("b", "2"), output("b", "3")]) == [
        *[USER, function("b"), output("b", "2")]
    ]


def test_responses_a_call_that_is_not_waited_for_is_left_alone():
    """The output of an asynchronous call may come much later, or not at all."""
    running = {**function("a"), "async": True}
    assert mend([USER, running, SAID, LATER]) == [USER, running, SAID, LATER]
    late = [USER, running, SAID, LATER, output("a", "1")]
    assert mend([*late, output("a", "2")]) == late


LOST = {
    "function_call": {"output": OUTCOME_UNKNOWN},
    "custom_tool_call": {"output": OUTCOME_UNKNOWN},
    "local_shell_call": {"output": OUTCOME_UNKNOWN},
    "shell_call": {"output": [{"stdout": "", "stderr": OUTCOME_UNKNOWN, "outcome": {"type": "timeout"}}]},
    "apply_patch_call": {"status": "failed", "output": OUTCOME_UNKNOWN},
    "mcp_approval_request": {"approve": False, "reason": OUTCOME_UNKNOWN},
    "tool_search_call": {"execution": "client", "status": "incomplete", "tools": []},
}


@pytest.mark.parametrize(("kind", "fields"), LOST.items())
def test_responses_each_kind_of_call_gets_its_kind_of_output(kind, fields):
    """What the client has to answer is answered in the form that the API asks for."""
    made = next(make for make, _ in conversations.CALLS if make("x")["type"] == kind)("x")
    _, _, put_in = mend([USER, THOUGHT, made])[1:]
    assert put_in["type"] == checker.OUTPUT_OF[kind]
    assert fields.items() <= put_in.items()


def test_responses_a_lost_screenshot_is_a_picture_of_the_sentence():
    """A computer call can only be answered by an image, and its late real one replaces that."""
    make, answer = next(pair for pair in conversations.CALLS if pair[0]("x")["type"] == "computer_call")
    put_in = mend([USER, make("x")])[-1]
    assert put_in["output"]["image_url"].startswith("data:image/png;base64,")
    assert mend([USER, make("x"), put_in, LATER, answer("x", 1)]) == [USER, make("x"), answer("x", 1), LATER]


def test_responses_an_output_repeats_who_called():
    """A call that came out of a program names its caller, and so does its output."""
    caller = {"type": "program", "caller_id": "prog_1"}
    assert mend([USER, {**function("a"), "caller": caller}])[-1] == {**output("a"), "caller": caller}


def test_responses_a_search_for_tools_by_the_service_needs_no_output():
    """What the service runs itself, it answers itself."""
    search = item("tool_search_call", call_id=None, execution="server", arguments={})
    found = item("tool_search_output", call_id=None, execution="server", tools=[])
    for history in ([USER, search, found, SAID], [USER, search]):
        assert mend(history) == history


# -- Anthropic ------------------------------------------------------------------------------------


def said(*blocks):
    return {"role": "assistant", "content": list(blocks)}


def user(*blocks):
    return {"role": "user", "content": list(blocks)}


def text(words):
    return {"type": "text", "text": words}


def use(made):
    return {"type": "tool_use", "id": made, "name": "pay", "input": {}}


def result(answers, content=OUTCOME_UNKNOWN):
    return {"type": "tool_result", "tool_use_id": answers, "content": content}


HM = {"type": "thinking", "thinking": "hm", "signature": "sig"}
SEARCH = {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srv", "content": []}


def test_anthropic_an_open_call_gets_its_result_in_a_new_user_message():
    """At the end of a history, and before a message that is no user's, there is a message of results only."""
    assert mend([USER, said(HM, use("a"))]) == [USER, said(HM, use("a")), user(result("a"))]
    assert mend([USER, said(use("a")), said(text("ok"))]) == [
        *[USER, said(use("a")), user(result("a")), said(text("ok"))]
    ]


def test_anthropic_the_result_stands_in_front_of_what_the_user_said():
    """Where a user message follows, the results become the head of its content."""
    assert mend([USER, said(use("a")), LATER]) == [USER, said(use("a")), user(result("a"), text("still there?"))]
    history = [USER, said(use("a"), use("b")), user(text("and?"), result("b", "2"))]
    assert mend(history) == [USER, history[1], user(result("b", "2"), result("a"), text("and?"))]


def test_anthropic_no_error_is_claimed():
    """A synthetic result is not marked as an error, for nobody knows that it was one."""
    assert "is_error" not in mend([USER, said(use("a"))])[-1]["content"][0]


def test_anthropic_results_split_over_messages_are_brought_together():
    """All results of one message belong into the one user message behind it."""
    history = [USER, said(use("a"), use("b")), user(result("b", "2")), user(result("a", "1"))]
    assert mend(history) == [USER, history[1], user(result("b", "2"), result("a", "1"))]


def test_anthropic_a_late_result_takes_the_place_of_a_synthetic_one():
    """A real result wins over a synthetic one, also from behind later text, until its id is used again."""
    history = mend([USER, said(use("a")), LATER])
    late = mend([*history, said(text("hello")), user(result("a", "1"), text("here"))])
    assert late[2:] == [user(result("a", "1"), text("still there?")), said(text("hello")), user(text("here"))]
    again = [*history, said(use("a")), user(result("a", "2"))]
    assert mend(again) == again


def test_anthropic_orphans_and_doubles_go():
    """Results that no call asked for go, and messages that held nothing else; so do second results and calls."""
    assert mend([user(result("x", "1")), USER, said(use("a"), use("a")), user(result("a", "1"), result("a", "2"))]) == [
        *[USER, said(use("a")), user(result("a", "1"))]
    ]


def test_anthropic_thinking_stays_with_what_it_signs():
    """Thinking is kept as it is, in front of its call; with nothing behind it, it signs nothing that was saved."""
    history = [USER, said(HM, text("so"), HM, use("a")), user(result("a", "1"))]
    assert mend(history) == history
    assert mend([*history, said(HM)]) == history
    assert mend([USER, said(HM, text("so"), HM)]) == [USER, said(HM, text("so"))]


def test_anthropic_an_assistant_that_says_nothing_goes():
    """Blank text of an assistant is refused, and so is a message without content."""
    assert mend([USER, said(HM, text("\n\n"), use("a")), user(result("a", "1"))]) == [
        *[USER, said(HM, use("a")), user(result("a", "1"))]
    ]
    for nothing in ("", " \n", None, []):
        assert mend([USER, {"role": "assistant", "content": nothing}, LATER], "anthropic") == [USER, LATER]


def test_anthropic_an_unfinished_server_tool_stays_while_the_service_can_finish_it():
    """At the end of the history, or made with client calls after which there are only results."""
    assert mend([USER, said(text("so"), SEARCH)]) == [USER, said(text("so"), SEARCH)]
    mixed = [USER, said(SEARCH, use("a"))]
    assert mend(mixed) == [*mixed, user(result("a"))]
    done = [*mixed, user(result("a", "1")), said(FOUND, text("so"))]
    assert mend(done) == done


def test_anthropic_a_server_tool_that_nobody_can_finish_goes():
    """No client may invent a server's result; so its call goes, and what belongs to it."""
    assert mend([USER, said(text("so"), HM, SEARCH), LATER]) == [USER, said(text("so")), LATER]
    assert mend([USER, said(HM, SEARCH), LATER]) == [USER, LATER]
    assert mend([USER, said(FOUND, text("so"))]) == [USER, said(text("so"))]
    assert mend([USER, said(SEARCH, use("a")), LATER]) == [
        *[USER, said(use("a")), user(result("a"), text("still there?"))]
    ]


def test_anthropic_a_server_tool_that_calls_client_tools_stays():
    """A call that a program made names the program; without it, it would come from nowhere."""
    program = {"type": "server_tool_use", "id": "srv", "name": "code_execution", "input": {}}
    call = {**use("a"), "caller": {"type": "code_execution_20250825", "tool_id": "srv"}}
    assert mend([USER, said(program, call), LATER])[1] == said(program, call)


def test_anthropic_a_result_repeats_the_toolset():
    """A call of a toolset's member names the set, and so does its result."""
    assert mend([USER, said({**use("a"), "toolset_name": "browser"})])[-1]["content"] == [
        {**result("a"), "toolset_name": "browser"}
    ]


# -- which dialect --------------------------------------------------------------------------------


def test_a_history_tells_its_dialect():
    """The first message that only one provider knows decides; an unknown name is an error that names the known."""
    assert mend([USER, calls("a")])[-1]["role"] == "tool"
    assert mend([USER, function("a")])[-1]["type"] == "function_call_output"
    assert mend([USER, said(use("a"))])[-1]["role"] == "user"
    dumped = {"id": "msg_1", "type": "message", "model": "m", **said(text("hi"))}
    assert mend([USER, dumped, said(use("a"))])[-1] == user(result("a"))
    with pytest.raises(ValueError, match="'openai-chat', 'openai-responses', 'anthropic'"):
        repair_messages([], "gemini")


@pytest.mark.parametrize("dialect", ["auto", *DIALECTS])
def test_plain_text_is_the_same_in_all(dialect):
    """A conversation without tools needs no repair, in whatever dialect."""
    plain = [{"role": "system", "content": "brief"}, USER, {"role": "assistant", "content": "ok"}, LATER]
    for end in range(5):
        assert mend(plain[:end], dialect) == plain[:end]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_is_not_known_is_kept(dialect):
    """Unknown keys, blocks, items and things that are no messages come through as they are."""
    odd = [None, 1, "x", [USER], {}, {"role": 3}, {"role": "narrator", "content": 1}, {"type": "new", "x": [1]}]
    odd += [{"role": "user", "content": [{"type": "hologram"}, 7]}, {"role": "user", "content": "x", "y": {"z": 1}}]
    assert mend(odd, dialect) == odd
    with pytest.raises(TypeError, match="list of messages"):
        repair_messages(USER, dialect)


# -- any history ----------------------------------------------------------------------------------


def without_synthetic(messages):
    """The history without what was put in, to be compared with what there was."""
    kept = []
    for message in messages:
        content = message.get("content")
        if OUTCOME_UNKNOWN in (content, message.get("output"), message.get("reason")):
            continue
        if any(message.items() >= lost.items() for lost in LOST.values()) or "data:image/png" in json.dumps(message):
            continue
        if isinstance(content, list):
            content = [block for block in content if block.get("content") != OUTCOME_UNKNOWN]
            if not content and message["content"]:
                continue
            kept.append({**message, "content": content})
        else:
            kept.append(message)
    return kept


def without_a_cut_thought(messages):
    """The history without thoughts at its end, which belong to what was never saved."""
    kept = list(messages)
    while kept and kept[-1].get("type") == "reasoning":
        kept.pop()
    content = kept[-1].get("content") if kept else None
    if isinstance(content, list) and kept[-1]["role"] == "assistant":
        while content and content[-1]["type"] in {"thinking", "redacted_thinking"}:
            content = content[:-1]
        kept[-1:] = [{**kept[-1], "content": content}] if content else []
    return kept if kept == messages else without_a_cut_thought(kept)


def hold_for_valid(dialect, history):
    assert checker.CHECKS[dialect](history) == []
    assert mend(history, dialect) == history


def hold_for_cuts(dialect, history):
    for cut in conversations.cuts(history):
        repaired = mend(cut, dialect)
        assert checker.CHECKS[dialect](repaired) == []
        assert without_synthetic(repaired) == without_a_cut_thought(cut)


def hold_for_torn(dialect, history):
    assert checker.CHECKS[dialect](mend(history, dialect)) == []


@pytest.mark.parametrize("dialect", DIALECTS)
@QUICK
@given(data=st.data())
def test_a_valid_history_comes_back_equal(dialect, data):
    """What a provider accepts is not touched, whatever ids come again in it."""
    hold_for_valid(dialect, data.draw(conversations.histories(dialect)))


@pytest.mark.parametrize("dialect", DIALECTS)
@QUICK
@given(data=st.data())
def test_a_history_cut_anywhere_is_accepted_and_loses_nothing(dialect, data):
    """Cut after every message and inside every content, it gets results put in, and no more than that changes."""
    hold_for_cuts(dialect, data.draw(conversations.histories(dialect)))


BROKEN = {
    "openai-chat": [
        [USER, calls("a")],
        [calls("a"), USER, tool("a", "1")],
        [calls("a", "b"), tool("a", "1"), tool("a", "1")],
        [tool("a", "1")],
        [USER, {"role": "assistant", "content": None}],
        [{"role": "assistant", "content": "ok", "tool_calls": []}],
    ],
    "openai-responses": [
        [function("a")],
        [function("a"), USER, output("a", "1")],
        [function("a"), function("b"), output("a", "1"), SAID, output("b", "1")],
        [function("a"), output("a", "1"), output("a", "1")],
        [THOUGHT, USER],
        [{**SAID, "content": []}],
    ],
    "anthropic": [
        [USER, said(use("a"))],
        [said(use("a")), USER, user(result("a", "1"))],
        [said(use("a")), user(text("x"), result("a", "1"))],
        [said(use("a")), user(result("a", "1"), result("a", "1"))],
        [said(use("a"), use("a")), user(result("a", "1"))],
        [user(result("a", "1"))],
        [said()],
        [said(text(" "))],
        [said(text("so"), HM)],
        [said(SEARCH), USER],
        [said(FOUND)],
    ],
}


@pytest.mark.parametrize(("dialect", "broken"), [(name, each) for name, many in BROKEN.items() for each in many])
def test_the_checker_knows_what_is_broken(dialect, broken):
    """The checker complains of each rule that is broken; repaired, there is nothing to complain of."""
    assert checker.CHECKS[dialect](broken)
    assert checker.CHECKS[dialect](mend(broken, dialect)) == []


@pytest.mark.parametrize("dialect", DIALECTS)
@settings(QUICK, max_examples=250)
@given(data=st.data())
def test_a_torn_history_is_accepted(dialect, data):
    """Whatever went missing, came twice or came late: the provider accepts what comes out."""
    hold_for_torn(dialect, data.draw(conversations.torn(dialect)))


@pytest.mark.parametrize("dialect", DIALECTS)
@QUICK
@given(data=st.data())
def test_a_result_that_comes_late_ends_where_it_would_have_been(dialect, data):
    """Interrupted, repaired, continued, and then saved after all: the call has its real result, and only that."""
    history = data.draw(conversations.histories(dialect))
    end = data.draw(st.integers(1, len(history)))
    broken = mend(history[: end - 1], dialect)
    late = mend(
        [*broken, LATER, history[end - 1], SAID if dialect == "openai-responses" else said(text("ok"))], dialect
    )
    assert checker.CHECKS[dialect](late) == []
    real = [each for each in conversations.results_in(history[:end]) if OUTCOME_UNKNOWN not in json.dumps(each)]
    assert sorted(map(json.dumps, real)) == sorted(
        json.dumps(each) for each in conversations.results_in(late) if not _is_synthetic(each)
    )


def _is_synthetic(each):
    return not without_synthetic([{"content": [each]} if "tool_use_id" in each else each])


@QUICK
@given(dialect=st.sampled_from(DIALECTS), data=st.data())
def test_garbage_comes_through(dialect, data):
    """Messages of any shape never raise, in none of the three rooms, and twice is still once."""
    messages = data.draw(st.lists(conversations.GARBAGE, max_size=8))
    for each in (dialect, "auto"):
        mend(messages, each)
        pending_of(messages, each)
        kept = window(messages, last=1, dialect=each)
        assert all(message in messages for message in kept)


TYPES = {
    "openai-chat": openai.types.chat.ChatCompletionMessageParam,
    "openai-responses": openai.types.responses.ResponseInputItemParam,
    "anthropic": anthropic.types.MessageParam,
}


@pytest.fixture(scope="module")
def adapters():
    """What reads messages as the official SDKs' own types."""
    return {dialect: pydantic.TypeAdapter(kind) for dialect, kind in TYPES.items()}


@pytest.mark.parametrize("dialect", DIALECTS)
@settings(QUICK, max_examples=40, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_the_official_types_accept_it(dialect, data, adapters):
    """A repaired history is one in the types of the provider's SDK."""
    history = data.draw(conversations.histories(dialect) | conversations.torn(dialect))
    for message in repair_messages(history[: data.draw(st.integers(1, len(history)))], dialect):
        drain(adapters[dialect].validate_python(message, strict=True))


def drain(value):
    """Read everything: pydantic checks an `Iterable` only when it is read."""
    if isinstance(value, dict):
        value = value.values()
    if not isinstance(value, str | int | float | None):
        for inner in value:
            drain(inner)


@pytest.mark.long
@pytest.mark.parametrize("dialect", DIALECTS)
@LONG
@given(data=st.data())
def test_long_valid_and_cut(dialect, data):
    """The same for thousands of conversations."""
    history = data.draw(conversations.histories(dialect))
    hold_for_valid(dialect, history)
    hold_for_cuts(dialect, history)


@pytest.mark.long
@pytest.mark.parametrize("dialect", DIALECTS)
@settings(LONG, max_examples=8000)
@given(data=st.data())
def test_long_torn(dialect, data):
    """The same for thousands of torn histories."""
    hold_for_torn(dialect, data.draw(conversations.torn(dialect)))


@given(data=st.data())
def test_chat_a_quick_look_never_passes_what_needs_repair(data):
    """What a look finds in order, the whole repair leaves as it is; a valid history is found in order."""
    history = data.draw(conversations.torn("openai-chat"))
    if _chat.is_in_order(history):
        assert _chat.mended(history) == history
    valid = data.draw(conversations.histories("openai-chat"))
    assert _chat.is_in_order(valid) or any(len(set(ids(message))) < len(ids(message)) for message in valid)


def ids(message):
    """The ids of a message's calls: made together they may share one, and then a look is not enough."""
    return [entry["id"] for entry in message.get("tool_calls") or ()]


# -- the SDKs' own objects ------------------------------------------------------------------------


def test_an_sdks_message_is_repaired_as_its_json_is():
    """A model among the messages is a message like any other, and stands in the result as its JSON."""
    said = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "pay", "arguments": "{}"}}],
    }
    message = openai.types.chat.ChatCompletionMessage.model_validate(said)
    repaired = repair_messages([said])
    assert len(repaired) == 2
    assert repair_messages([message]) == repaired
    assert repair_messages([{"role": "assistant", "content": None, "tool_calls": message.tool_calls}]) == repaired
    with pytest.raises(TypeError, match="pass a list of messages"):
        repair_messages(message)


def test_an_sdks_blocks_are_repaired_as_their_json_is():
    """An Anthropic answer is appended as its content, which is a list of models."""
    said = {"type": "tool_use", "id": "toolu_1", "name": "pay", "input": {}}
    history = [{"role": "user", "content": "Pay"}, {"role": "assistant", "content": [said]}]
    repaired = repair_messages(history)
    assert len(repaired) == 3
    assert (
        repair_messages([history[0], {"role": "assistant", "content": [anthropic.types.ToolUseBlock(**said)]}])
        == repaired
    )
