"""What users write, checked by mypy --strict and by pyright. Never run.

A line that carries both ignores is a mistake that both checkers have to see: an ignore that is
not needed is an error in each of them.
"""

from __future__ import annotations

import asyncio
import datetime
import functools
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_type

import tenacity

from resilient_agent import (
    AsyncSession,
    Attempts,
    BackoffConfig,
    CallReport,
    CircuitBreaker,
    Classification,
    ConversationRecovery,
    Effect,
    ErrorClassifier,
    ErrorType,
    FileStore,
    Interruption,
    MemoryStore,
    Pacer,
    Pending,
    Policy,
    PostgresStore,
    RedisStore,
    Resilient,
    RetryBudget,
    RetryExecutor,
    Rule,
    Rung,
    Session,
    SessionStore,
    SharedPacer,
    SharedRetryBudget,
    StoredSession,
    When,
    attempts,
    claim_interrupted,
    current_attempt,
    discard_session,
    interrupted_sessions,
    last_call,
    open_store,
    prune_sessions,
    recover,
    redact_secrets,
    repair_messages,
    report_of,
    resilient,
    retry_if_retryable,
    session_guard,
    stop_by_error,
    wait_by_error,
)
from resilient_agent.session.guard import SessionGuard

if TYPE_CHECKING:
    from anthropic.types import Message
    from openai.types.chat import ChatCompletion, ChatCompletionUserMessageParam
    from openai.types.responses import Response

# -- functions ---------------------------------------------------------------------------------


@resilient
def plain(question: str, *, limit: int = 1) -> list[str]:
    return [question] * limit


@resilient(max_retries=2, on_retry=lambda attempt, error, delay: [attempt, error, delay])
async def coroutine(question: str, limit: int = 1) -> bytes:
    return question.encode() * limit


class Callable1:
    def __call__(self, number: int) -> str:
        return str(number)


assert_type(plain("why?", limit=2), list[str])
plain(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
plain()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
plain("why?", lim=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
plain("why?", 2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

as_callable: Callable[[str], list[str]] = plain
as_coroutine: Callable[[str], Coroutine[Any, Any, bytes]] = coroutine
as_resilient: Resilient[[int], str] = resilient(Callable1())
assert_type(resilient(functools.partial(plain, "why?"))(), list[str])
assert_type(resilient(max_retries=1)(Callable1())(1), str)


async def awaits() -> None:
    assert_type(await coroutine("why?", limit=2), bytes)
    assert_type(await asyncio.create_task(coroutine("why?")), bytes)
    await coroutine(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await coroutine("why?", lim=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


# -- methods -----------------------------------------------------------------------------------


class Agent:
    @resilient
    def ask(self, question: str, limit: int = 1) -> str:
        return question * limit

    @resilient(backoff=BackoffConfig(jitter=0.5))
    async def think(self, question: str) -> str:
        return question

    @staticmethod
    @resilient
    def static(question: str) -> str:
        return question

    @classmethod
    @resilient
    def of_class(cls, question: str) -> str:
        return question


agent = Agent()
assert_type(agent.ask("why?", limit=2), str)
assert_type(Agent.ask(agent, "why?"), str)
assert_type(agent.static("why?"), str)
assert_type(Agent.static("why?"), str)
assert_type(agent.of_class("why?"), str)
assert_type(Agent.of_class("why?"), str)
agent.ask(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
agent.ask()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
agent.ask("why?", lim=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
agent.static(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
agent.of_class(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def awaits_methods() -> None:
    assert_type(await agent.think("why?"), str)
    await agent.think(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# -- what a decorated function has beside its signature ------------------------------------------

assert_type(plain.retry_with(max_retries=5, wait=tenacity.wait_none())("why?"), list[str])
plain.retry_with(max_retry=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
resilient(max_retries="2")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
attempt_number: int = plain.statistics["attempt_number"]
more_attempts: int = agent.ask.statistics["attempt_number"]
plain.retry.wait = tenacity.wait_none()
assert_type(plain.__wrapped__("why?"), list[str])

# -- classifier and strategies -------------------------------------------------------------------

classifier = ErrorClassifier(
    BackoffConfig(base_delay_ms=10, shape="linear"),
    rules=[Rule("ours/x", when=When(status=418), then=ErrorType.DEGRADED, because="it is a teapot")],
)
verdict = classifier.classify(ValueError())
error_type, backoff = verdict
assert_type(verdict, Classification)
assert_type(error_type, ErrorType)
assert_type(backoff, BackoffConfig)
assert_type(verdict.retry_after, float | None)
assert_type(classifier.compute_delay(0, backoff), float)


@tenacity.retry(
    retry=retry_if_retryable(classifier) | tenacity.retry_if_result(lambda result: result is None),
    wait=wait_by_error(classifier) + tenacity.wait_random(0, 1),
    stop=stop_by_error(classifier) | tenacity.stop_after_delay(60),
)
def with_plain_tenacity() -> None: ...


@resilient(
    retry=retry_if_retryable() & tenacity.retry_if_exception_type(OSError),
    stop=tenacity.stop_after_delay(60) | stop_by_error(),
    wait=tenacity.wait_exponential() + wait_by_error(),
)
def with_strategies() -> int:
    return 1


assert_type(with_strategies(), int)

# -- sessions ------------------------------------------------------------------------------------


class SomeModel:
    """As pydantic has it."""

    def model_dump(self, *, mode: str = "python", by_alias: bool | None = None) -> dict[str, Any]:
        return {"mode": mode, "by_alias": by_alias}


model = SomeModel()


def of_the_sdks(
    session: Session, reply: ChatCompletion, user: ChatCompletionUserMessageParam, response: Response, answer: Message
) -> None:
    session.append(user)
    session.append(reply.choices[0].message)
    session.extend(response.output)
    session.replace([user, reply.choices[0].message])
    session.append(answer)
    repair_messages([user, answer])


async def sessions() -> None:
    async with session_guard("ticket-42", keep=True) as session:
        assert_type(session, AsyncSession)
        await session.append({"role": "user", "content": "hello"})
        await session.extend([{"role": "user"}, {"role": "assistant"}])
        await session.replace(session.messages[-2:])
        await session.set_extra({"step": 1})
        assert_type(session.messages, list[dict[str, Any]])
        assert_type(session.interruption, Interruption | None)
        assert_type(session.pending, Pending)
        assert_type(session.window(last=20), list[dict[str, Any]])
        assert_type(session.window(max_tokens=1000, count=lambda message: len(str(message))), list[dict[str, Any]])
        assert_type(session.effects, dict[str, Effect])
        await session.once("charge-1", abs, -5, may_repeat=True)
        await session.resolve("charge-1", skip=True)
        await session.append(model)
        await session.extend([model, {"role": "user"}])
        await session.replace([model])
        await session.append("hello")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        session.window(first=20)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    with session_guard("ticket-42", store="folder", resume=False) as plain_session:
        assert_type(plain_session, Session)
        plain_session.append({"role": "user", "content": "hello"})
    session_guard("ticket-42", max_resumes=None, resume="force", resume_within=60, wait=5, durability="process")
    session_guard("ticket-42", resume_within=datetime.timedelta(hours=1))
    session_guard("ticket-42", repair="anthropic", redact=redact_secrets, sigterm=True)
    session_guard("ticket-42", durability="disk")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    session_guard("ticket-42", retries=3)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    assert_type([found.session_id for found in interrupted_sessions()], list[str])
    assert_type(prune_sessions(older_than=60, status="closed"), list[StoredSession])
    assert_type(discard_session("ticket-42"), bool)


async def stores() -> None:
    store: SessionStore = open_store("postgresql://db/agents", ttl=30)
    for each in (store, FileStore("folder"), MemoryStore(), PostgresStore("postgresql://db"), RedisStore("redis://db")):
        async with session_guard("ticket-42", store=each) as session:
            assert_type(session.path, Path | None)
    assert_type([found.progress_at for found in store.scan()], list[datetime.datetime | None])
    session_guard("ticket-42", store=42)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

    async def handler(session: AsyncSession) -> None:
        await session.append({"role": "assistant", "content": "hello"})

    def plain(session: AsyncSession) -> None: ...

    assert_type(await recover(store, handler, concurrency=4, poll=None, keep=True, max_resumes=5), int)
    assert_type(claim_interrupted(store, limit=3, keep=True), list[SessionGuard])
    await recover(store, plain)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    shared: Pacer = SharedPacer("redis://db", name="openai")
    budget: RetryBudget = SharedRetryBudget("redis://db", name="openai")

    @resilient(pacer=shared, budget=budget)
    async def ask(question: str) -> str:
        return question

    assert_type(await ask("?"), str)
    assert_type(repair_messages([{"role": "user"}], "openai-responses"), list[dict[str, Any]])
    assert_type(await RetryExecutor().execute_with_retry(awaits, max_retries=1), None)
    assert_type(await RetryExecutor().execute_with_retry(str, 1), str)
    assert_type(await ConversationRecovery().save_snapshot("ticket-42", [model, {"role": "user"}]), bool)
    assert_type(await ConversationRecovery().restore_snapshot("ticket-42"), dict[str, Any] | None)


# -- the call policy ---------------------------------------------------------------------------


@resilient(commit_when=bool, resume=lambda partial, call: {"start": len(partial)}, first_item_timeout=60)
async def words(text: str, start: int = 0) -> AsyncGenerator[str, None]:
    for word in text.split()[start:]:
        yield word


@resilient
def lines(text: str) -> Generator[str, None, int]:
    yield from text.splitlines()
    return 1


def first_letter(question: str) -> str:
    return question[:1]


@resilient(Policy(max_retries=2), pacer=Pacer(name="shared"), pace_by=first_letter, timeout=30)
async def paced(question: str) -> str:
    return question


@resilient(
    fallback=[plain, Rung(plain, when=lambda verdict: verdict.load == "", transform=lambda call: {"limit": 1})],
    on_exhausted=True,
    budget=RetryBudget(share=0.1),
    breaker=CircuitBreaker(name="gateway"),
)
def guarded(question: str) -> list[str]:
    return [question, current_attempt().idempotency_key]


assert_type(words("a b"), AsyncGenerator[str, None])
assert_type(lines("a"), Generator[str, None, int])
assert_type(guarded("why?"), list[str])
assert_type(guarded.call_report(), CallReport)
assert_type(last_call(), CallReport | None)
assert_type(report_of(ValueError()), CallReport | None)
assert_type(attempts(Policy(), max_retries=3), Attempts)
assert_type(Policy.from_dict({"max_retries": 2}).replace(deadline=5), Policy)
resilient(max_retrys=2)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
resilient(deadline="soon")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]


async def in_a_loop() -> None:
    assert_type(await paced("why?"), str)
    async for attempt in attempts(timeout=5):
        with attempt:
            assert_type(attempt.number, int)
    for attempt in attempts():
        with attempt:
            pass
