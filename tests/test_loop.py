"""The loop form: a block of code that is tried again."""

import anyio
import pytest

from resilient_agent import Policy, attempts, last_call, report_of
from resilient_agent.testing import no_waiting, switched_off


def test_a_block_is_tried_again(waits):
    """It fails, the loop waits and comes round; the first that goes through ends it."""
    failures = [ConnectionError(), ConnectionError()]
    rounds = []
    for attempt in attempts(sleep=waits):
        with attempt:
            rounds.append(attempt.number)
            if failures:
                raise failures.pop()
    assert rounds == [1, 2, 3]
    assert len(waits) == 2


@pytest.mark.anyio
async def test_a_block_in_a_coroutine_is_tried_again(async_waits):
    """`async for`, with `with` inside."""
    failures = [ConnectionError()]
    rounds = []
    async for attempt in attempts(sleep=async_waits):
        with attempt:
            rounds.append(attempt.number)
            await anyio.lowlevel.checkpoint()
            if failures:
                raise failures.pop()
    assert rounds == [1, 2]


def test_the_blocks_own_exception_comes_out(waits):
    """The same object, with its report."""
    error = ConnectionError()
    with pytest.raises(ConnectionError) as caught:
        for attempt in attempts(max_retries=1, sleep=waits):
            with attempt:
                raise error
    assert caught.value is error
    assert report_of(error).limit == "max_retries=1"


def test_an_error_for_good_ends_the_loop(waits):
    """One round, no wait."""
    rounds = []
    with pytest.raises(ValueError, match="wrong"):
        for attempt in attempts(sleep=waits):
            with attempt:
                rounds.append(1)
                raise ValueError("wrong")
    assert (rounds, waits) == ([1], [])


def test_a_return_inside_the_block_is_a_success():
    """It ends the call there and then."""

    def ask():
        for attempt in attempts(deadline=60):
            with attempt:
                return "answer"
        return None

    assert ask() == "answer"
    assert last_call().outcome == "succeeded"


@pytest.mark.anyio
async def test_a_return_inside_an_async_block_is_a_success():
    """Also where the loop itself is left to the garbage collector."""

    async def ask():
        async for attempt in attempts(deadline=60):
            with attempt:
                return "answer"
        return None

    assert await ask() == "answer"
    assert last_call().outcome == "succeeded"


def test_a_body_that_does_not_enter_its_attempt_is_told():
    """Nothing would be retried, and nobody would notice."""
    with pytest.raises(RuntimeError, match="with attempt:"):
        for _ in attempts():
            pass


def test_an_attempt_is_entered_once():
    """Two blocks in one round are a mistake."""
    with pytest.raises(RuntimeError, match="entered once"):
        for attempt in attempts():
            with attempt:
                pass
            with attempt:
                pass


@pytest.mark.anyio
async def test_a_cancelled_block_is_left_alone():
    """The cancellation passes, and there is no second round."""  # A1
    rounds = []
    with anyio.move_on_after(0.05) as scope:
        async for attempt in attempts():
            with attempt:
                rounds.append(1)
                await anyio.sleep(30)
    assert scope.cancelled_caught
    assert rounds == [1]
    assert last_call().outcome == "cancelled"


def test_one_object_serves_many_loops(waits):
    """Each loop is a call of its own."""
    again = attempts(max_retries=1, sleep=waits)
    for _ in range(3):
        failures = [ConnectionError()]
        for attempt in again:
            with attempt:
                if failures:
                    raise failures.pop()
        assert again.call_report().requests == 2


def test_a_policy_may_be_given():
    """Its settings, with some changed."""
    with no_waiting() as waits, pytest.raises(ConnectionError):
        for attempt in attempts(Policy(max_retries=5), max_retries=2):
            with attempt:
                raise ConnectionError
    assert len(waits) == 2


def test_what_needs_a_function_is_refused():
    """`fallback`, `resume` and their kin have no meaning for a block."""
    with pytest.raises(TypeError, match="fallback is not for a loop"):
        attempts(fallback=print)


def test_a_plain_loop_cannot_keep_a_timeout_or_await():
    """Said before the first round."""
    with pytest.raises(TypeError, match="timeout cannot be kept"):
        iter(attempts(timeout=5))

    async def hook(*args): ...

    with pytest.raises(TypeError, match="on_retry is a coroutine function"):
        iter(attempts(on_retry=hook))


def test_a_loop_that_is_switched_off_goes_round_once(waits):
    """The block's error comes out at once, as it is."""
    with switched_off(), pytest.raises(ConnectionError) as caught:
        for attempt in attempts(sleep=waits):
            with attempt:
                raise ConnectionError
    assert waits == []
    assert not hasattr(caught.value, "__notes__")
