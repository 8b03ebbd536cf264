"""The main job: an agent whose model calls fail, and that is killed in the middle and goes on.

    python examples/02_crash_and_resume.py

A support agent works through six questions with the official openai SDK and one tool. Its
model server limits its rate, is overloaded and breaks connections. In the fourth question
the agent kills itself with SIGKILL, in the middle of a tool call; a second process finds the
interrupted session, resumes it and finishes.

Without configuration the server is a local one that fails on a script. With OPENAI_BASE_URL,
OPENAI_API_KEY and OPENAI_MODEL it is the real thing.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from typing import Any

import openai

from resilient_agent import OUTCOME_UNKNOWN, AsyncSession, interrupted_sessions, resilient, session_guard
from resilient_agent.testing import Answer, FakeLLM, Request, Reset, Status, ToolCall

SESSION = "support/ticket-42"
SYSTEM = "You are a support agent. Use look_up_order for every order number. Answer in one sentence."
QUESTIONS = (
    "Hello, I have a few questions about my orders.",
    "Where is order 1001?",
    "Thanks. And what do you deliver to?",
    "Where is order 1002?",
    "And order 1003?",
    "That was all, thank you.",
)
KILLED_IN_QUESTION = 4
ORDERS = {"1001": "delivered on Monday", "1002": "held by customs", "1003": "packed, leaves tomorrow"}
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "look_up_order",
            "description": "Where an order is.",
            "parameters": {"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]},
        },
    }
]
Message = dict[str, Any]
MODELS_TURN, TOOLS_TURN = object(), object()


# -- the agent: one process of it ------------------------------------------------------------------


def tell(event: str, **facts: Any) -> None:
    """To the parent process, which tells the story; at once, because we may be killed in the next line."""
    print(json.dumps({"event": event, **facts}), flush=True)


def on_retry(attempt: int, error: Exception, delay: float) -> None:
    tell("retry", attempt=attempt, error=type(error).__name__, delay=delay)


async def agent(*, crash: bool) -> None:
    # The parent tells of each retry; without this line Python would show the log's warnings as well.
    logging.getLogger("resilient_agent").setLevel(logging.ERROR)
    for found in interrupted_sessions():
        tell("found", session=found.session_id, messages=found.message_count)

    async with openai.AsyncOpenAI(max_retries=0) as client:

        @resilient(on_retry=on_retry)
        async def ask(messages: list[Any]) -> Any:
            tell("attempt")
            model = os.environ.get("OPENAI_MODEL", "any-model")
            reply = await client.chat.completions.create(model=model, messages=messages, tools=TOOLS)
            return reply.choices[0].message

        async with session_guard(SESSION) as session:
            if session.resumed:
                tell("resumed", messages=len(session.messages))
            while (step := next_step(session)) is not None:
                if step is MODELS_TURN:
                    step = await ask(session.messages)
                elif step is TOOLS_TURN:
                    step = await answer(session, crash=crash)
                await session.append(step)
            tell("done", messages=session.messages)


def next_step(session: AsyncSession) -> Any:
    """What comes next, from the history alone, so that a resumed agent knows it as well as a new one.

    A message to append, `MODELS_TURN`, `TOOLS_TURN`, or None at the end.
    """
    messages = session.messages
    if not messages:
        return {"role": "system", "content": SYSTEM}
    match session.pending.kind:
        case "calls":
            return TOOLS_TURN
        case "prompt" | "results":
            return MODELS_TURN
    return {"role": "user", "content": QUESTIONS[asked(messages)]} if asked(messages) < len(QUESTIONS) else None


async def answer(session: AsyncSession, *, crash: bool) -> Message:
    """The result of the first call that has none. After a crash that is the one which was under way."""
    call = session.pending.calls[0]

    def look_up_order(order: str) -> str:
        if crash and asked(session.messages) == KILLED_IN_QUESTION:
            tell("dies")
            os.kill(os.getpid(), signal.SIGKILL)
        return ORDERS.get(order, "no such order")

    # To look twice does no harm. A payment would have no may_repeat: it would raise OutcomeUnknown after the crash.
    order = json.loads(call.arguments).get("order", "")
    result = await session.once(call.id, look_up_order, order, may_repeat=True)
    return {"role": "tool", "tool_call_id": call.id, "content": result}


def asked(messages: list[Message]) -> int:
    return sum(message["role"] == "user" for message in messages)


# -- the model server: scripted, for a run without configuration -----------------------------------

TROUBLE: dict[int, Status | Reset] = {
    1: Status(429, headers={"retry-after-ms": "300"}),
    3: Status(503, headers={"retry-after-ms": "500"}),
    4: Reset(),
    8: Status(529, headers={"retry-after": "1"}),
    9: Reset("mid-body"),
    12: Status(429, headers={"retry-after-ms": "200"}),
}


def model(request: Request) -> Answer | Status | Reset:
    """Trouble at the requests named above; else a tool call for an order number, or a sentence."""
    if request.index in TROUBLE:
        return TROUBLE[request.index]
    last = request.json["messages"][-1]
    if last["role"] == "tool":
        return Answer(f"Your order is {last['content']}.")
    order = next((number for number in ORDERS if number in last["content"]), None)
    if order is not None:
        return Answer(tool_calls=[ToolCall("look_up_order", {"order": order})])
    return Answer("Of course, at your service.")


# -- the story: runs the agent, sees it die, runs it again -----------------------------------------


def run_agent(environment: dict[str, str], *, crash: bool) -> tuple[int, list[dict[str, Any]]]:
    """One process of the agent: its exit status and what it told."""
    told = []
    command = [sys.executable, __file__, "agent", *(["--crash"] if crash else [])]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            told.append(json.loads(line))
            show(told[-1])
    return process.returncode, told


def show(fact: dict[str, Any]) -> None:
    match fact["event"]:
        case "retry":
            print(f"    attempt {fact['attempt']} failed: {fact['error']}; waits {fact['delay']:.1f} s")
        case "found":
            print(f"    found interrupted: {fact['session']} with {fact['messages']} messages")
        case "resumed":
            print(f"    resumed with {fact['messages']} messages")
        case "dies":
            print("    kills itself with SIGKILL, in the middle of a tool call")
        case "done":
            print(f"    done: {len(fact['messages'])} messages")


def story() -> None:
    real = bool(os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_KEY"))
    with tempfile.TemporaryDirectory() as home, FakeLLM(model) as llm:
        environment = {**os.environ, "RESILIENT_AGENT_HOME": home}
        if not real:
            environment |= {"OPENAI_BASE_URL": llm.openai_base_url, "OPENAI_API_KEY": "none-needed"}
        print("First process:")
        status, first = run_agent(environment, crash=True)
        if real and status == 0:
            sys.exit("The model never called the tool, so there was nothing to survive: try another model.")
        assert status == -signal.SIGKILL, f"the first process ended with {status}"
        print("Second process:")
        status, second = run_agent(environment, crash=False)
        assert status == 0, f"the second process ended with {status}"

        history = second[-1]["messages"]
        check(history)
        events = [fact["event"] for fact in first + second]
        waited = sum(fact["delay"] for fact in first + second if fact["event"] == "retry")
        print(
            f"Survived: {asked(history)} questions, {len(history)} messages, complete, in order, none twice.\n"
            f"{events.count('attempt')} attempts were made, {events.count('retry')} failed and were "
            f"repeated after {waited:.1f} s of waiting in all."
        )
        if not real:
            assert events.count("attempt") == llm.request_count
            print(f"The server counted {llm.request_count} requests.")


def check(history: list[Message]) -> None:
    """The conversation is whole: every question once and in order, every call with its one result."""
    assert [message["content"] for message in history if message["role"] == "user"] == list(QUESTIONS)
    assert history[-1]["role"] == "assistant"
    calls = [call["id"] for message in history for call in message.get("tool_calls") or ()]
    results = [message["tool_call_id"] for message in history if message["role"] == "tool"]
    assert calls == results
    assert len(set(calls)) == len(calls)
    assert OUTCOME_UNKNOWN not in [message["content"] for message in history]


if __name__ == "__main__":
    if "agent" in sys.argv:
        asyncio.run(agent(crash="--crash" in sys.argv))
    else:
        story()
