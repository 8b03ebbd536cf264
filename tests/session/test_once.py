"""What is done to the world is done once: over crashes and restarts, and unknown where nobody can know."""

import asyncio
import functools
import threading
import time
import unittest.mock

import anyio
import anyio.lowlevel
import pytest

from resilient_agent import NotStorable, OutcomeUnknown, StorageFull, current_attempt, resilient, session_guard
from resilient_agent.session._core import _digest
from resilient_agent.session.stores import _posix
from resilient_agent.testing import no_waiting


class Face:
    """A guarded session's effects, whichever way it was entered."""

    def __init__(self, session, face):
        self.session = session
        self._async = face == "async with"

    async def once(self, key, fn, *args, **options):
        done = self.session.once(key, fn, *args, **options)
        return await done if self._async else done

    async def resolve(self, key, **answer):
        done = self.session.resolve(key, **answer)
        return await done if self._async else done


@pytest.fixture(params=["with", "async with"])
def enter(request, store):
    """Run a body in a guard of ticket-42, with a face whose effects are awaited."""

    async def enter(body, **options):
        guard = session_guard("ticket-42", store=store, **options)
        if request.param == "with":
            with guard as session:
                return await body(Face(session, request.param))
        async with guard as session:
            return await body(Face(session, request.param))

    return enter


class Counted:
    """A function that is called, and counts."""

    __qualname__ = "charge"

    def __init__(self, *answers):
        self.answers = list(answers)
        self.calls = []

    def __call__(self, *args):
        self.calls.append(args)
        answer = self.answers.pop(0) if self.answers else {"paid": args}
        if isinstance(answer, BaseException):
            raise answer
        return answer


class Crash(Exception):
    """What ends a body, so that the session stays."""


async def crashing(enter, body):
    async def to_its_end(face):
        await body(face)
        raise Crash

    with pytest.raises(Crash):
        await enter(to_its_end)


pytestmark = pytest.mark.anyio


async def test_an_effect_runs_once_and_its_result_comes_back(enter):  # B60
    """In the same run and after a crash the stored result is given, and nothing runs again."""
    charge, seen = Counted(), []

    async def body(face):
        for _ in range(2):
            seen.append(await face.once("charge-1", charge, 5, "EUR"))

    await crashing(enter, body)
    await crashing(enter, body)
    assert charge.calls == [(5, "EUR")]
    assert seen == [{"paid": [5, "EUR"]}] * 4, "the same from the first time on: as JSON has it"


async def test_a_result_is_a_copy(enter):
    """What the caller does to it changes nothing that is stored."""

    async def body(face):
        (await face.once("a", Counted([1]))).append(2)
        assert await face.once("a", Counted()) == [1]
        face.session.effects["a"].result  # noqa: B018 - readable

    await crashing(enter, body)


async def test_that_it_sets_out_is_on_the_disk_before_it_runs(enter, store):  # B60
    """A look from outside sees it while it runs; and its end after."""

    def look():
        effect = store.read("ticket-42").effects["a"]
        assert (effect.finished, effect.name, effect.arguments) == (
            False,
            "test_that_it_sets_out_is_on_the_disk_before_it_runs.<locals>.look",
            [],
        )
        return "looked"

    async def body(face):
        await face.once("a", look)
        effect = store.read("ticket-42").effects["a"]
        assert (effect.finished, effect.result) == (True, "looked")

    await enter(body)


async def test_an_effect_without_an_end_is_not_run_again(enter):
    """It raises `OutcomeUnknown` with what is known: here and after a restart, however it failed."""
    charge = Counted(TimeoutError("no answer"))

    async def fails(face):
        with pytest.raises(TimeoutError):
            await face.once("charge-1", charge, 5)
        await refused(face)

    async def refused(face):
        with pytest.raises(OutcomeUnknown, match=r"charge\(5\) was started at .* may or may not") as unknown:
            await face.once("charge-1", charge, 5)
        found = unknown.value
        assert (found.key, found.name, found.arguments) == ("charge-1", "charge", [5])
        assert abs(found.at.timestamp() - time.time()) < 60
        assert not face.session.effects["charge-1"].finished

    await crashing(enter, fails)
    await crashing(enter, refused)
    assert len(charge.calls) == 1


async def test_what_may_repeat_is_run_again(enter):
    """The caller's word: it does no harm twice."""
    read = Counted(TimeoutError(), "42")

    async def body(face):
        with pytest.raises(TimeoutError):
            await face.once("read-1", read, may_repeat=True)
        assert await face.once("read-1", read, may_repeat=True) == "42"
        assert await face.once("read-1", read) == "42"

    await crashing(enter, body)
    assert len(read.calls) == 2


@pytest.mark.parametrize(
    ("answer", "gives", "calls"),
    [
        ({"result": {"id": 7}}, {"id": 7}, 1),
        ({"skip": True}, None, 1),
        ({"rerun": True}, "done", 2),
        ({"result": None}, None, 1),
    ],
)
async def test_somebody_says_what_became_of_it(enter, answer, gives, calls):
    """A result that was found out, nothing, or once more; it holds after the next crash as well."""
    charge = Counted(TimeoutError(), "done")

    async def fails(face):
        with pytest.raises(TimeoutError):
            await face.once("charge-1", charge)

    async def resolved(face):
        await face.resolve("charge-1", **answer)

    async def again(face):
        assert await face.once("charge-1", charge) == gives

    for body in (fails, resolved, again, again):
        await crashing(enter, body)
    assert len(charge.calls) == calls


@pytest.mark.parametrize("answer", [{}, {"rerun": True, "skip": True}, {"result": 1, "skip": True}, {"rerun": False}])
async def test_one_answer_is_due(enter, answer):
    """None, or two, is a mistake and changes nothing."""
    fails = Counted(ZeroDivisionError())

    async def body(face):
        with pytest.raises(ZeroDivisionError):
            await face.once("a", fails)
        with pytest.raises(TypeError, match="one of result="):
            await face.resolve("a", **answer)
        with pytest.raises(OutcomeUnknown):
            await face.once("a", fails)

    await enter(body)


async def test_only_what_is_unknown_is_resolved(enter):
    """The text says what is unknown, and why this is not."""

    async def body(face):
        await face.once("known", Counted())
        with pytest.raises(ZeroDivisionError):
            await face.once("unknown", lambda: 1 // 0)
        with pytest.raises(ValueError, match="of 'known' is known; unknown are: unknown"):
            await face.resolve("known", rerun=True)
        with pytest.raises(ValueError, match="never started"):
            await face.resolve("other", rerun=True)

    await enter(body)


@pytest.mark.parametrize("key", ["", None, 7])
async def test_a_key_is_a_text(enter, key):
    """And not an empty one: it names the effect for ever."""

    async def body(face):
        with pytest.raises(TypeError, match="the key of an effect"):
            await face.once(key, Counted())

    await enter(body)


async def test_a_result_that_cannot_be_stored_is_told(enter):
    """The effect took place, so it is not run again; the error says so."""
    charge = Counted(object())

    async def body(face):
        with pytest.raises(NotStorable) as refused:
            await face.once("a", charge)
        assert "took place" in refused.value.__notes__[0]
        with pytest.raises(OutcomeUnknown):
            await face.once("a", charge)

    await crashing(enter, body)
    assert len(charge.calls) == 1


async def test_arguments_that_cannot_be_stored_are_shown(enter, store):
    """An open connection among them is no obstacle."""

    async def body(face):
        await face.once("a", Counted("done"), object, {"n": 1})
        assert store.read("ticket-42").effects["a"].arguments == ["<class 'object'>", {"n": 1}]

    await enter(body)


async def test_a_partial_is_told_by_its_function(enter):
    """Keyword arguments go by `functools.partial`."""

    def transfer(amount, *, to):
        return [amount, to]

    async def body(face):
        assert await face.once("a", functools.partial(transfer, to="Bob"), 5) == [5, "Bob"]
        assert face.session.effects["a"].name.endswith("transfer")

    await enter(body)


async def test_a_new_conversation_knows_no_effects(enter):
    """After a clean end, and where resumption was declined."""

    async def body(face):
        assert face.session.effects == {}
        await face.once("a", Counted())

    await enter(body)
    await crashing(enter, body)
    await enter(body, resume=False)


async def test_two_at_the_same_time_are_one_too_many(store):
    """The second is refused while the first runs, and says so; then the result is there."""
    refused, begun, over = [], anyio.Event(), anyio.Event()

    async def slow():
        begun.set()
        await over.wait()
        return "done"

    async with session_guard("ticket-42", store=store) as session:

        async def second():
            await begun.wait()
            with pytest.raises(OutcomeUnknown) as unknown:
                await session.once("a", slow, may_repeat=True)
            refused.append(unknown.value.__notes__[0])
            over.set()

        async with anyio.create_task_group() as group:
            group.start_soon(second)
            assert await session.once("a", slow) == "done"
        assert "running right now" in refused[0]
        assert await session.once("a", slow) == "done"


async def test_an_effect_that_is_cancelled_is_unknown(store):  # B19
    """Nobody knows how far it came; what had come to its end when it was cancelled is written down."""
    async with session_guard("ticket-42", store=store) as session:

        async def endless():
            scope.cancel()
            await anyio.sleep_forever()

        async def just_in_time():
            scope.cancel()
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.01)
            return "done"

        with anyio.CancelScope() as scope:
            await session.once("a", endless)
        with pytest.raises(OutcomeUnknown):
            await session.once("a", endless)
        with anyio.CancelScope() as scope:
            await session.once("b", just_in_time)
        assert session.effects["b"].result == "done"


@pytest.mark.parametrize("known", ["finished", "unknown"])
async def test_a_key_belongs_to_one_call(enter, known):  # B60
    """Other arguments under it are refused, after a crash as well, and nothing runs; a function may be renamed."""
    charge, renamed = Counted(*([Crash()] if known == "unknown" else [])), Counted()
    renamed.__qualname__ = "renamed"

    async def first(face):
        await face.once("call_0", charge, 5, {"to": ("Ann", 1)})

    async def second(face):
        for args in ((7, {"to": ("Ann", 1)}), (5,)):
            with pytest.raises(ValueError, match=r"the key 'call_0' is that of charge\(5, .*the turn"):
                await face.once("call_0", charge, *args, may_repeat=True)
        assert await face.once("call_0", charge, 5, {"to": ["Ann", 1]}, may_repeat=True)
        assert await face.once("call_0", renamed, 5, {"to": ["Ann", 1]})

    await crashing(enter, first)
    await enter(second)
    assert (len(charge.calls), renamed.calls) == (1 + (known == "unknown"), [])


async def test_what_is_not_stored_of_an_argument_tells_no_call_from_another(enter):  # B55 B60
    """A connection is another one after a crash, and of two secrets nobody can say that they differ."""
    charge = Counted("paid")

    def redact(value):
        return "[redacted]" if str(value).startswith("sk-") else value

    async def body(face):
        return await face.once("a", charge, object(), "sk-" + str(len(charge.calls)))

    async def twice(face):
        await body(face)
        return await body(face)

    await enter(twice, redact=redact)
    assert len(charge.calls) == 1


async def test_what_runs_right_now_is_not_resolved(store):  # B60
    """It will say itself what it came to; and so nothing is done twice, and no result is lost."""
    runs = []

    async def slow():
        runs.append("run")
        began.set()
        await goes_on.wait()
        return "done"

    async with session_guard("ticket-42", store=store) as session:
        began, goes_on = anyio.Event(), anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(session.once, "a", slow)
            await began.wait()
            for answer in ({"rerun": True}, {"skip": True}, {"result": 1}):
                with pytest.raises(ValueError, match="running right now"):
                    await session.resolve("a", **answer)
            with pytest.raises(OutcomeUnknown):
                await session.once("a", slow)
            goes_on.set()
        assert await session.once("a", slow) == "done"
    assert runs == ["run"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_result_that_waits_for_its_turn_is_written_down_whoever_cancels(store):  # B19 B60
    """Asyncio's own `task.cancel()`, which no scope keeps off, while other saves are before it in the line."""
    saves = []

    async def pay():
        saves.extend(asyncio.create_task(session.append({"n": number})) for number in range(5))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(paying.cancel)
        return "paid"

    async with session_guard("ticket-42", store=store) as session:
        paying = asyncio.create_task(session.once("a", pay))
        with pytest.raises(asyncio.CancelledError):
            await paying
        await asyncio.gather(*saves)
        assert session.effects["a"].result == "paid"
        assert await session.once("a", pay) == "paid"


def numbers():
    yield 1


async def more_numbers():
    yield 1


@pytest.mark.parametrize("fn", [numbers, more_numbers, functools.partial(numbers)])
async def test_a_generator_function_is_not_started(enter, fn):  # B60
    """To call it runs nothing of it, so nothing took effect: it is refused before anything is written."""

    async def body(face):
        with pytest.raises(TypeError, match="is a generator function"):
            await face.once("a", fn)
        assert face.session.effects == {}

    await enter(body)


async def test_what_is_known_of_effects_is_a_copy(enter):
    """Whoever changes it changes nothing that is stored, nor what the next `once` finds."""

    async def body(face):
        charge = Counted({"paid": [5]}, Crash())
        await face.once("a", charge, {"amount": 5})
        with pytest.raises(Crash):
            await face.once("b", charge, {"amount": 6})
        with pytest.raises(OutcomeUnknown) as unknown:
            await face.once("b", charge, {"amount": 6})
        unknown.value.arguments[0].clear()
        face.session.effects["a"].result.clear()
        face.session.effects["a"].arguments.clear()
        assert face.session.effects["a"].result == {"paid": [5]}
        assert [effect.arguments for effect in face.session.effects.values()] == [[{"amount": 5}], [{"amount": 6}]]

    await enter(body)


# -- keys -----------------------------------------------------------------------------------------


async def test_a_key_for_a_service_is_the_same_after_a_crash(enter):
    """And another for another name, and in the next conversation of the same id."""
    keys = []

    async def body(face):
        keys.append([face.session.idempotency_key(name) for name in ("charge", "refund", "charge")])

    await crashing(enter, body)
    await enter(body)
    await enter(body)
    assert keys[0] == keys[1] != keys[2]
    assert keys[0][0] == keys[0][2] != keys[0][1]
    assert all(len(key) == 32 and int(key, 16) for key in keys[0])


async def test_the_call_inside_of_a_guard_has_a_key_that_outlives_a_crash(enter):  # A57
    """The same for all attempts of the same call at the same place of the history; another for any other call."""
    keys = []

    @resilient(max_retries=2)
    def charge(amount):
        keys[-1].append(current_attempt().idempotency_key)
        if len(keys[-1]) == 1:
            raise ConnectionResetError("reset")
        return amount

    async def body(face):
        keys.append([])
        with no_waiting():
            charge(5)
            charge(5)
            charge(6)
        face.session.effects  # noqa: B018

    await crashing(enter, body)
    await crashing(enter, body)
    first, again, same, other = keys[0]
    assert first == again
    assert len({first, same, other}) == 3
    assert keys[0] == keys[1]
    outside = []
    keys.append(outside)
    with no_waiting():
        charge(5)
    assert outside[0] not in keys[0]


async def test_the_key_of_a_call_goes_by_its_arguments(enter):  # A57
    """Whichever of two calls comes first after a crash: each has the key that it had."""
    keys = []

    @resilient
    def charge(amount, *, to):
        keys[-1][amount, to] = current_attempt().idempotency_key

    async def body(face):
        keys.append({})
        for amount, to in calls:
            charge(amount, to=to)

    calls = [(5, "Ann"), (6, "Ann"), (5, "Bob")]
    await crashing(enter, body)
    calls.reverse()
    await enter(body)
    assert keys[0] == keys[1]
    assert len(set(keys[0].values())) == 3


SETS = """
import json, sys
from resilient_agent import current_attempt, resilient, session_guard

@resilient
def charge(tags):
    return current_attempt().idempotency_key

with session_guard("ticket-42", store=sys.argv[1], keep=True):
    print(json.dumps([charge({"vip", "new", "eu"}), charge({"of": [frozenset("xyz")]})]))
"""


def test_a_key_does_not_go_by_the_order_of_a_set(store, child, monkeypatch):  # A57
    """Which differs from process to process."""
    keys = []
    for seed in "123":
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        keys.append(child(SETS, store.folder))
    assert keys[0] == keys[1] == keys[2]


async def test_a_set_with_itself_in_it_has_a_key():
    """What has no end is shown as far as Python shows it."""
    endless = [{1}]
    endless.append(endless)
    assert _digest(endless) == _digest(endless)


async def test_a_key_is_made_while_a_save_waits_for_the_disk(store, monkeypatch):  # A57
    """The event loop goes on: nobody who counts calls waits for a save."""
    began, goes_on = threading.Event(), threading.Event()

    @resilient
    async def ask():
        return current_attempt().idempotency_key

    def waits(_):
        began.set()
        assert goes_on.wait(10)

    async with session_guard("ticket-42", store=store) as session:
        with monkeypatch.context() as patch:
            patch.setattr(_posix, "sync", waits)
            async with anyio.create_task_group() as group:
                group.start_soon(session.append, {"n": 1})
                while not began.is_set():
                    await anyio.lowlevel.checkpoint()
                assert await ask()
                goes_on.set()


async def test_a_call_that_was_cut_off_has_its_key_again(enter):  # A57
    """Killed inside of a tool, the history is repaired, and the tool's call is still the same call."""
    keys = []
    asked = [
        {"role": "user", "content": "Pay"},
        {"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "pay", "arguments": "{}"}}]},
    ]

    @resilient
    def pay(amount):
        keys.append(current_attempt().idempotency_key)

    async def cut_off(face):
        saved = face.session.extend(asked)
        await saved if saved is not None else None
        pay(5)

    async def resumed(face):
        assert len(face.session.messages) == 3
        pay(5)

    await crashing(enter, cut_off)
    await crashing(enter, resumed)
    assert keys[0] == keys[1]


def test_a_call_outside_of_all_guards_has_a_key_of_its_own(store):
    """Generators that take turns leave their guards in any order; none of these stands around a later call."""

    @resilient
    def charge(amount):
        return current_attempt().idempotency_key

    def turn(name):
        with session_guard(name, store=store, keep=True):
            yield

    first, second = turn("a"), turn("b")
    next(first)
    next(second)
    assert list(first) == list(second) == []
    with session_guard("a", store=store):
        inside = charge(5)
    assert charge(5) != inside
    outside = [charge(5), charge(5)]
    assert len({inside, *outside}) == 3


# -- what cannot be called, and what cannot be stored ---------------------------------------------


async def test_a_mock_is_a_function_like_any_other(enter):
    """Every attribute that is asked of a mock is there, its `func` too: the search for a name ends all the same."""

    async def body(face):
        assert await face.once("a", unittest.mock.Mock(return_value="ok"), 5) == "ok"
        assert face.session.effects["a"].name == "Mock"

    await enter(body)


def transfer(amount, *, to="Bob"):
    return [amount, to]


@pytest.mark.parametrize(
    ("fn", "args"),
    [
        (5, ()),
        (None, (5,)),
        (transfer, ()),
        (transfer, (5, "Ann")),
        (functools.partial(transfer, 5), (6,)),
        (functools.partial(transfer, by="Ann"), (5,)),
    ],
)
async def test_what_cannot_be_called_like_this_is_not_started(enter, fn, args):  # B60
    """A TypeError before anything is written: an effect that cannot begin has no unknown end."""

    async def body(face):
        with pytest.raises(TypeError, match="once"):
            await face.once("a", fn, *args)
        assert face.session.effects == {}
        assert await face.once("a", transfer, 5) == [5, "Bob"]

    await enter(body)


async def test_a_decorator_may_hand_in_an_argument(enter):
    """What counts is what is called, and not the function that it wraps."""

    @functools.wraps(transfer)
    def with_amount():
        return transfer(5)

    async def body(face):
        assert await face.once("a", with_amount) == [5, "Bob"]
        assert await face.once("b", max, 5, 6) == 6, "some functions tell no signature"

    await enter(body)


async def later(amount):
    return amount


class Later:
    async def __call__(self, amount):
        return amount


@pytest.mark.parametrize("fn", [later, functools.partial(later), Later(), functools.partial(Later())])
def test_a_coroutine_function_in_a_plain_session_is_not_started(store, fn):  # B60
    """Nobody could await it: a TypeError that says how, before anything is written."""
    with session_guard("ticket-42", store=store) as session:
        with pytest.raises(TypeError, match="coroutine function: enter the guard with `async with`"):
            session.once("a", fn, 5)
        assert session.effects == {}


def test_a_coroutine_that_comes_back_in_a_plain_session_is_told(store):
    """It is no result, nothing claims that the effect took place, and Python has nothing to warn of."""
    with session_guard("ticket-42", store=store) as session:
        with pytest.raises(TypeError, match="gave a coroutine, which nobody awaits") as refused:
            session.once("a", lambda: later(5))
        assert not hasattr(refused.value, "__notes__")
        with pytest.raises(OutcomeUnknown):
            session.once("a", lambda: later(5))


async def test_a_result_that_finds_no_room_is_told(enter, monkeypatch):  # B60
    """The disk is full when the effect has taken place: the error says so, and it is not run again."""
    charge, full = Counted(), StorageFull(28, "No space left on device")

    async def body(face):
        log = face.session._core.log
        append = log.append

        def refusing(kind, fields):
            if kind == "finished":
                raise full
            append(kind, fields)

        with monkeypatch.context() as patched:
            patched.setattr(log, "append", refusing)
            with pytest.raises(StorageFull) as raised:
                await face.once("a", charge)
        assert "'a' took place" in raised.value.__notes__[0]
        with pytest.raises(OutcomeUnknown):
            await face.once("a", charge)
        await face.resolve("a", result="paid")
        assert await face.once("a", charge) == "paid"

    await enter(body)
    assert len(charge.calls) == 1


async def test_a_result_that_cannot_be_redacted_is_told(enter):  # B55 B60
    """What the redactor raises says that the effect took place; what it raises of an argument does not."""

    def redact(value):
        raise LookupError

    async def body(face):
        with pytest.raises(LookupError) as raised:
            await face.once("a", Counted("secret"))
        assert "'a' took place" in raised.value.__notes__[0]
        with pytest.raises(LookupError) as raised:
            await face.once("b", Counted(), "argument")
        assert not hasattr(raised.value, "__notes__")

    await enter(body, redact=redact)
