"""An agent that is killed at every turn and started again: it finishes, and does nothing to the world twice.

The model is a local server, the client OpenAI's own. Each tool leaves a line in a ledger outside of
the session, which says what really took place.
"""

import json
import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress

import pytest

from resilient_agent import interrupted_sessions, repair_messages
from resilient_agent.testing import Answer, FakeLLM, ToolCall

PLAN = [
    [()],
    [("charge 1",), ()],
    [("charge 2", "mail 2"), ("note 2",), ()],
]
"""What the model does about each question, turn by turn: it has these tools called, or it answers."""

QUESTIONS = [f"Question {number}: naïve, as ever" for number in range(len(PLAN))]
TOOLS = [what for turns in PLAN for calls in turns for what in calls]
UNKNOWN = "Nobody knows whether it took place."

AGENT = """
import asyncio, json, os, signal, sys, tempfile
import openai
from resilient_agent import OutcomeUnknown, session_guard

base_url, questions, unknown = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]

def say(word):
    os.write(1, f"{word}\\n".encode())

class Points:
    # Where this process dies of its own hand: at the n-th of the points that it passes.
    def __init__(self, deadly):
        self._left = deadly

    def __call__(self, point):
        self._left -= 1
        if self._left == 0:
            say(point)
            os.kill(os.getpid(), signal.SIGKILL)

def tool(ledger, point):
    def act(what):
        point(f"before {what}")
        fd = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(fd, f"{what}\\n".encode())
        os.close(fd)
        point(f"after {what}")
        return f"done: {what}"
    return act

def next_call(session):
    call = session.pending.calls[0]
    return call.id, json.loads(call.arguments)["what"]

def result_of(call_id, result):
    # What was skipped has no result: it is reported as unknown, also where that was decided by a process before.
    return {"role": "tool", "tool_call_id": call_id, "content": unknown if result is None else result}

def next_question(session):
    asked = sum(message["role"] == "user" for message in session.messages)
    return {"role": "user", "content": questions[asked]} if asked < len(questions) else None

def in_plain_code(client, guard, act, point):
    with guard as session:
        say("entered")
        while True:
            match session.pending.kind:
                case "calls":
                    call_id, what = next_call(session)
                    try:
                        result = session.once(call_id, act, what)
                    except OutcomeUnknown:
                        session.resolve(call_id, skip=True)
                        point("skipped")
                        result = None
                    said = result_of(call_id, result)
                case "prompt" | "results":
                    reply = client.chat.completions.create(model="any", messages=session.messages)
                    point("answered")
                    said = reply.choices[0].message
                case _:
                    said = next_question(session)
                    if said is None:
                        break
            session.append(said)
            point("appended")

async def in_a_coroutine(client, guard, act, point):
    async def act_and_wait(what):
        await asyncio.sleep(0)
        return act(what)

    async with guard as session:
        say("entered")
        while True:
            match session.pending.kind:
                case "calls":
                    call_id, what = next_call(session)
                    try:
                        result = await session.once(call_id, act_and_wait, what)
                    except OutcomeUnknown:
                        await session.resolve(call_id, skip=True)
                        point("skipped")
                        result = None
                    said = result_of(call_id, result)
                case "prompt" | "results":
                    reply = await client.chat.completions.create(model="any", messages=session.messages)
                    point("answered")
                    said = reply.choices[0].message
                case _:
                    said = next_question(session)
                    if said is None:
                        break
            await session.append(said)
            point("appended")

def live(face, folder, name, deadly):
    point = Points(deadly)
    guard = session_guard(name, store=folder, keep=True, max_resumes=None)
    act = tool(os.path.join(folder, name + ".ledger"), point)
    if face == "with":
        in_plain_code(clients[0], guard, act, point)
    else:
        asyncio.run(in_a_coroutine(clients[1], guard, act, point))

def new_clients():  # costs more than all that an agent does with it, so that the parent makes it for all
    return [made(base_url=base_url, api_key="none-needed", max_retries=0) for made in (openai.OpenAI, openai.AsyncOpenAI)]

with tempfile.TemporaryDirectory() as folder, new_clients()[0] as client:
    clients = [client]
    live("with", folder, "warm", 0)  # everything is imported once
clients = new_clients()
say("warm")
"""


def model(request):
    """What the model says, from the history alone: a question that is asked again after a crash is answered again."""
    messages = request.json["messages"]
    asked = [place for place, message in enumerate(messages) if message["role"] == "user"]
    turn = sum(message["role"] == "assistant" for message in messages[asked[-1] :])
    calls = PLAN[len(asked) - 1][turn]
    return Answer("" if calls else "At your service.", tool_calls=[ToolCall("act", {"what": what}) for what in calls])


class Agents:
    """Starts agents of one conversation after the other, and sees them die."""

    def __init__(self, process, store):
        self._process, self._store = process, store
        while (line := process.stdout.readline()) != "warm\n":
            assert line
        self.lives = self.kills = self.conversations = self.entered = self.found = 0
        self.fates = Counter()

    def live(self, face, name, deadly=0, *, words=0, seconds=None):
        """What an agent said, and whether it came to its end; it dies at a point, or is killed after words and a while."""
        self._process.stdin.write(json.dumps([face, str(self._store.folder), name, deadly]) + "\n")
        child = int(self._process.stdout.readline())
        said = [self._process.stdout.readline().strip() for _ in range(words)]
        if seconds is not None:
            time.sleep(seconds)
            with suppress(ProcessLookupError):  # it has come to its end
                os.kill(child, signal.SIGKILL)
        for line in self._process.stdout:
            said.append(line.strip())
            if line.startswith("died"):
                break
        status = said.pop()
        assert status in ("died 0", "died 9"), (status, said)
        self.lives += 1
        self.kills += status == "died 9"
        stored = self._store.find(name)
        ended = status == "died 0" or (stored is not None and stored.status == "closed")  # killed behind its clean end
        if not ended:
            found = [session for session in interrupted_sessions(self._store) if session.session_id == name]
            self.entered += "entered" in said
            self.found += "entered" in said and len(found)
            assert len(found) == 1 or "entered" not in said
        return said, ended

    def check(self, name):
        """A finished conversation is whole, and each tool's effect is there once, or perhaps and told as unknown."""
        history = self._store.read(name)
        messages = history.messages
        assert self._store.find(name).status == "closed"
        assert repair_messages(messages) == messages
        assert [said["content"] for said in messages if said["role"] == "user"] == QUESTIONS
        assert (messages[-1]["role"], messages[-1]["content"]) == ("assistant", "At your service.")
        calls = [call for said in messages for call in said.get("tool_calls") or ()]
        asked = {call["id"]: json.loads(call["function"]["arguments"])["what"] for call in calls}
        assert list(asked.values()) == TOOLS
        results = {said["tool_call_id"]: said["content"] for said in messages if said["role"] == "tool"}
        assert sorted(results) == sorted(asked)
        assert len(messages) == len(QUESTIONS) + sum(map(len, PLAN)) + len(TOOLS)
        ledger = self._store.folder / f"{name}.ledger"
        seen = Counter(ledger.read_text().split("\n")[:-1] if ledger.exists() else [])
        fates = {}
        for call_id, what in asked.items():
            known = results[call_id] != UNKNOWN
            assert results[call_id] in (f"done: {what}", UNKNOWN)
            assert seen[what] == 1 if known else seen[what] <= 1
            fates[what] = "done" if known else f"unknown, {('not done', 'done')[seen[what]]}"
        assert not seen.keys() - set(TOOLS)
        self.conversations += 1
        self.fates.update(fates.values())
        return fates

    def tell(self):
        fates = ", ".join(f"{count:,} {fate}" for fate, count in sorted(self.fates.items()))
        told = f"{self.conversations:,} conversations, {self.lives:,} lives, {self.kills:,} kills"
        print(f"\n  agents: {told}, found {self.found:,} of {self.entered:,} entered; tools: {fates}")  # noqa: T201 - for -s


@pytest.fixture
def agents(start_nursery, store):
    with FakeLLM(model) as llm:
        agents = Agents(start_nursery(AGENT, llm.openai_base_url, json.dumps(QUESTIONS), UNKNOWN), store)
        yield agents
        agents.tell()


both_faces = pytest.mark.parametrize("face", ["with", "async with"])


@both_faces
def test_an_agent_that_dies_once_anywhere_finishes_in_its_next_life(agents, face):  # B1 B12 B60 B61
    """After each append, after each answer, in each tool before and after its effect: one more life is enough."""
    points = []
    while True:
        name = f"dies-at-{len(points) + 1}"
        said, ended = agents.live(face, name, len(points) + 1)
        if ended:
            break
        points.append(said[-1])
        assert agents.live(face, name)[1]
        fates = agents.check(name)
        where, _, what = points[-1].partition(" ")
        mishap = {"before": "unknown, not done", "after": "unknown, done"}.get(where)
        assert fates == {tool: mishap if tool == what else "done" for tool in TOOLS}
    assert agents.check(name) == dict.fromkeys(TOOLS, "done")
    turns = sum(map(len, PLAN))
    assert Counter(point.split()[0] for point in points) == {
        "appended": len(QUESTIONS) + turns + len(TOOLS),
        "answered": turns,
        "before": len(TOOLS),
        "after": len(TOOLS),
    }


@both_faces
def test_an_agent_that_dies_in_every_life_finishes_all_the_same(agents, face):  # B11 B12 B57 B60
    """Each life ends at the second, third, ... point that it passes, until one gets to the end."""
    for pace in (2, 3, 5, 7):
        name, lives = f"dies-at-each-{pace}", 0
        while not agents.live(face, name, pace)[1]:
            lives += 1
            assert lives < 100
        agents.check(name)
        assert lives > 1


@both_faces
@pytest.mark.long
def test_an_agent_that_is_killed_at_random_moments_finishes_all_the_same(agents, face):  # B1 B2 B11 B12 B57 B58 B60
    """Whatever it is doing: 200 conversations, each of as many lives as it takes."""
    rng = random.Random(20261123)
    for number in range(200):
        name, lives = f"ticket-{number}", 0
        while not agents.live(face, name, words=rng.choice([0, 1, 1, 1]), seconds=rng.uniform(0, 0.02))[1]:
            lives += 1
            assert lives < 300
        agents.check(name)
    assert agents.kills > 200
    assert agents.found == agents.entered
