"""`CircuitBreaker`: keeps attempts away from a service that is down, and finds out when it is back.

Decides whether one more attempt may set out. Does not know what is being called, nor what a
refused call does instead; it is handed the time and told what came of each attempt.

A state is an object that holds only its own numbers, and a ticket remembers the one that it was
given in: what was admitted before the breaker opened says nothing about the time after it, so
it is not heard when it comes back late (as in gobreaker; without it an old success closes the
circuit of a service that is down).
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, Literal, NoReturn

from resilient_agent.gates._window import SlidingCount, Stopwatch, check_number
from resilient_agent.gates.outcome import Outcome, check_outcome
from resilient_agent.verdict import Classification, ErrorType

__all__ = ["BreakerState", "BreakerTicket", "CircuitBreaker", "Refusal", "is_outage"]

_ROUNDING: Final = 1e-9

_ALIVE: Final = frozenset(
    {
        "http/conflict",
        "server/conflict",
        "server/locked",
        "stores/conflict",
        "stores/conflict-class",
    }
)
"""Rules whose failures are worth a retry, and which a service in good health answers with, as it does with limits."""


class BreakerState(StrEnum):
    """Where a breaker stands. A `StrEnum`: `BreakerState.OPEN == "open"`.

    Example:
        >>> from resilient_agent import BreakerState, CircuitBreaker
        >>> CircuitBreaker().state is BreakerState.CLOSED
        True
    """

    CLOSED = "closed"
    """Everything is admitted, and counted."""
    OPEN = "open"
    """Nothing is admitted until the break is over."""
    HALF_OPEN = "half-open"
    """A fixed number of probes is admitted: they decide."""


def is_outage(verdict: Classification) -> bool:
    """Whether a failure says that the service is down, as a `CircuitBreaker` sees it by default.

    Yes for what is `RETRYABLE`, as 5xx, overload, timeouts and broken connections are. No for
    refused requests, keys and programs, which the service is not to blame for; and no for rate
    limits and conflicts, which a service in good health answers with.

    Args:
        verdict: the judgement of the failure.

    Example:
        >>> from resilient_agent import ErrorClassifier
        >>> is_outage(ErrorClassifier().classify(ConnectionResetError("connection reset by peer")))
        True
        >>> is_outage(ErrorClassifier().classify(TypeError("no such argument")))
        False
    """
    return verdict.error_type is ErrorType.RETRYABLE and verdict.load != "limit" and verdict.rule not in _ALIVE


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """The answer to an attempt that may not set out. It is false, where a ticket is true.

    Attributes:
        state: `OPEN`, or `HALF_OPEN` where all probes are under way.
        wait: seconds, above 0, until a probe may set out: exact while open; while half-open the
            longest that it can take, as it may be any moment.
        name: the breaker's name.
    """

    state: BreakerState
    wait: float
    name: str = ""

    def __bool__(self) -> Literal[False]:
        return False

    def __str__(self) -> str:
        within = "within" if self.state is BreakerState.HALF_OPEN else "in"
        return f"{_title(self.name)} is {self.state}; the next probe may set out {within} {self.wait:.3g} s"


class CircuitBreaker:
    """Stops attempts while a service is down, and lets single probes find out when it is back.

    Closed, it admits everything and opens when `failure_share` of at least `min_attempts` failed
    within `window` seconds, or `consecutive_failures` in a row. Open, it refuses everything for
    `open_for` seconds. Then it is half-open: it admits `probes` attempts; when that many
    succeed it closes, and the first that fails opens it again.

    What counts as a failure is `trips_on`'s business; by default refused requests, rate limits
    and programming errors do not (`is_outage`), and a cancellation never does: these count for
    nothing at all, and a probe that ends so gives its slot to the next. So does a probe that was
    not heard of for `open_for` seconds: one that hangs must not keep everybody out.

    Shared by whoever is handed the same object, and by nobody else: a copy, also one that was
    pickled, has the same settings and begins closed. Safe for threads.

    Args:
        failure_share: above 0 and at most 1: the share of failures that opens it; None to go by
            `consecutive_failures` alone.
        min_attempts: how many attempts there have to be within the window before their share
            says anything; at least 1.
        window: seconds, above 0: how long attempts are remembered, to a tenth of it.
        consecutive_failures: how many failures without a success between them open it, whatever
            their share; at least 1; None to go by the share alone. For a program that asks too
            seldom to fill a window.
        open_for: seconds, above 0, from opening until the first probe.
        probes: how many attempts are admitted while half-open, all of which have to succeed; at
            least 1.
        trips_on: called with the `Classification` of a failure, and says whether it counts. It
            must be quick, and must not raise. A breaker with a lambda cannot be pickled.
        name: what is broken, for people: a model, a host.

    Raises:
        TypeError: a value is no number, no int where things are counted, or not callable.
        ValueError: a number is not finite or out of its range, or nothing is left that could
            open the breaker; the text names the argument.

    Methods are handed `now`, the seconds of the caller's clock; see `RetryBudget`. A trio run begins its
    clock anywhere: to one that is shared with plain code, asyncio or another run, long may seem to have
    passed, and a wait or an opening may be over too early. Give trio one of its own, and keep to one run.

    Example:
        >>> from resilient_agent import ErrorClassifier
        >>> down = ErrorClassifier().classify(ConnectionRefusedError("connection refused"))
        >>> breaker = CircuitBreaker(consecutive_failures=2, open_for=30, name="gpt-4o")
        >>> for second in (0.0, 1.0):
        ...     ticket = breaker.admit(now=second)
        ...     ticket.settle(down, now=second + 0.5)
        True
        True
        >>> print(breaker.admit(now=2.5))
        circuit breaker 'gpt-4o' is open; the next probe may set out in 29 s
        >>> probe = breaker.admit(now=31.5)
        >>> breaker
        <CircuitBreaker 'gpt-4o': half-open, 1 of 1 probes under way, 0 succeeded>
        >>> probe.settle("succeeded", now=33.0)
        True
        >>> breaker.state
        <BreakerState.CLOSED: 'closed'>
    """

    def __init__(
        self,
        *,
        failure_share: float | None = 0.5,
        min_attempts: int = 20,
        window: float = 60.0,
        consecutive_failures: int | None = 10,
        open_for: float = 30.0,
        probes: int = 1,
        trips_on: Callable[[Classification], bool] = is_outage,
        name: str = "",
    ) -> None:
        self._rules = _Rules(
            failure_share, min_attempts, window, consecutive_failures, open_for, probes, trips_on, name
        )
        # Reentrant: the garbage collector may close an abandoned stream, and that settle its
        # ticket, in the middle of a method of this very breaker.
        self._lock = threading.RLock()
        self._watch = Stopwatch()
        self._phase: _Phase = _Closed(self._rules)

    def admit(self, now: float) -> BreakerTicket | Refusal:
        """Ask for one attempt, right before it sets out.

        Args:
            now: seconds by the caller's clock.

        Returns:
            The ticket of this attempt, to be settled once; or a `Refusal`, which is false. It
            never blocks.
        """
        with self._lock:
            at = self._watch.read(now)
            phase = self._phase
            if isinstance(phase, _Open):
                if at < phase.until:
                    return Refusal(phase.state, phase.until - at, self.name)
                phase = self._phase = _HalfOpen(self._rules)
            ticket = BreakerTicket(self, phase)
            wait = phase.admit(ticket, at)
            return Refusal(phase.state, wait, self.name) if wait else ticket

    @property
    def state(self) -> BreakerState:
        """Where it stood when it was last asked or told something: it has no clock of its own."""
        return self._phase.state

    @property
    def name(self) -> str:
        """What is broken, for people."""
        return self._rules.name

    def reset(self) -> None:
        """Close it and forget everything, as when a person knows better. Tickets that are out are not heard."""
        with self._lock:
            self._phase = _Closed(self._rules)

    def _hear(self, ticket: BreakerTicket, failed: bool | None, now: float) -> bool:
        """Take a ticket back; `failed` is None for what counts for nothing. Whether it was out still."""
        with self._lock:
            phase, ticket._phase = ticket._phase, None  # noqa: SLF001 - one room
            if phase is None:
                return False
            at = self._watch.read(now)
            if phase is self._phase:
                self._phase = phase.hear(ticket, failed, at)
            return True

    def __reduce__(self) -> tuple[Any, ...]:
        return _breaker, tuple(getattr(self._rules, field.name) for field in dataclasses.fields(_Rules))

    def __repr__(self) -> str:
        with self._lock:
            return f"<{_title(self.name, 'CircuitBreaker')}: {self._phase.told(self._watch.elapsed)}>"


class BreakerTicket:
    """The leave for one attempt. Settle it once: the first word counts, and what comes later changes nothing.

    Attributes:
        probe: whether this attempt finds out for all the others if the service is back.
    """

    __slots__ = ("_breaker", "_phase", "probe")

    def __init__(self, breaker: CircuitBreaker, phase: _Closed | _HalfOpen) -> None:
        self._breaker = breaker
        self._phase: _Closed | _HalfOpen | None = phase  # None when settled
        self.probe = phase.state is BreakerState.HALF_OPEN

    def settle(self, outcome: Outcome, now: float) -> bool:
        """The attempt came to this, or was not made after all (`"cancelled"`).

        Args:
            outcome: `"succeeded"`, `"cancelled"` or the `Classification` of the failure.
            now: seconds by the caller's clock.

        Returns:
            Whether this was the first word.

        Raises:
            TypeError: no such outcome. The ticket is still out.
            Exception: what the breaker's `trips_on` raised; the attempt counts for nothing.
        """
        check_outcome(outcome)
        failed: bool | None = None
        try:
            failed = self._breaker._rules.failed(outcome)  # noqa: SLF001 - one room
        finally:
            heard = self._breaker._hear(self, failed, now)  # noqa: SLF001
        return heard

    def __reduce__(self) -> NoReturn:
        raise TypeError("a BreakerTicket belongs to the attempt that it was given to: it cannot be copied or pickled")

    def __repr__(self) -> str:
        kind = "a probe" if self.probe else "an attempt"
        return f"<BreakerTicket of {kind}, {'settled' if self._phase is None else 'out'}>"


@dataclasses.dataclass(frozen=True, slots=True)
class _Rules:
    """What the states need to know, checked once."""

    failure_share: float | None
    min_attempts: int
    window: float
    consecutive_failures: int | None
    open_for: float
    probes: int
    trips_on: Callable[[Classification], bool]
    name: str

    def __post_init__(self) -> None:
        if self.failure_share is not None:
            check_number("failure_share", self.failure_share, above=0, most=1)
        if self.consecutive_failures is not None:
            _check_count("consecutive_failures", self.consecutive_failures)
        if self.failure_share is None and self.consecutive_failures is None:
            raise ValueError(
                "failure_share and consecutive_failures cannot both be None: nothing would open the breaker"
            )
        _check_count("min_attempts", self.min_attempts)
        _check_count("probes", self.probes)
        check_number("window", self.window, above=0)
        check_number("open_for", self.open_for, above=0)
        if not callable(self.trips_on):
            raise TypeError(f"trips_on must be callable with a Classification, not {self.trips_on!r}")
        if not isinstance(self.name, str):
            raise TypeError(f"name must be a str, not {self.name!r}")

    def failed(self, outcome: Outcome) -> bool | None:
        """Whether the service failed; None where the outcome says nothing about it."""
        if isinstance(outcome, Classification):
            return True if self.trips_on(outcome) else None
        return None if outcome == "cancelled" else False


class _Closed:
    """Everything passes: how much of it failed lately, and how often in a row."""

    state = BreakerState.CLOSED

    def __init__(self, rules: _Rules) -> None:
        self._rules = rules
        self._attempts = SlidingCount(rules.window)
        self._failures = SlidingCount(rules.window)
        self._in_a_row = 0

    def admit(self, ticket: BreakerTicket, at: float) -> float:  # noqa: ARG002 - as a half-open one
        """Seconds to wait: none."""
        return 0.0

    def hear(self, ticket: BreakerTicket, failed: bool | None, at: float) -> _Phase:  # noqa: ARG002 - likewise
        """The state after an outcome."""
        if failed is None:
            return self
        self._attempts.add(at)
        if failed:
            self._failures.add(at)
        self._in_a_row = self._in_a_row + 1 if failed else 0
        # After a success as well: it may be the attempt that makes them enough to judge by.
        return _Open(self._rules, at) if self._trips(at) else self

    def _trips(self, at: float) -> bool:
        rules = self._rules
        if rules.consecutive_failures is not None and self._in_a_row >= rules.consecutive_failures:
            return True
        attempts = self._attempts.total(at)
        if rules.failure_share is None or attempts < rules.min_attempts:
            return False
        failures = self._failures.total(at)
        return failures > 0 and failures >= rules.failure_share * attempts - _ROUNDING

    def told(self, at: float) -> str:
        """The state in words."""
        failures, attempts = self._failures.total(at), self._attempts.total(at)
        return f"{self.state}, {failures} of {attempts} attempts failed, {self._in_a_row} in a row"


class _Open:
    """Nothing passes, until a time."""

    state = BreakerState.OPEN

    def __init__(self, rules: _Rules, at: float) -> None:
        self.until = at + rules.open_for

    def told(self, at: float) -> str:
        """The state in words."""
        return f"{self.state}, the next probe may set out in {max(0.0, self.until - at):.3g} s"


class _HalfOpen:
    """Probes pass: which are under way, and until when they are waited for; how many succeeded."""

    state = BreakerState.HALF_OPEN

    def __init__(self, rules: _Rules) -> None:
        self._rules = rules
        self._out: dict[BreakerTicket, float] = {}
        self._succeeded = 0

    def admit(self, ticket: BreakerTicket, at: float) -> float:
        """Seconds to wait; 0, and the ticket is a probe, where a slot is free."""
        self._out = {probe: until for probe, until in self._out.items() if until > at}
        if len(self._out) + self._succeeded < self._rules.probes:
            self._out[ticket] = at + self._rules.open_for
            return 0.0
        return min(self._out.values()) - at

    def hear(self, ticket: BreakerTicket, failed: bool | None, at: float) -> _Phase:
        """The state after a probe's outcome; its slot is free again, unless it succeeded."""
        self._out.pop(ticket, None)
        if failed is None:
            return self
        if failed:
            return _Open(self._rules, at)
        self._succeeded += 1
        return _Closed(self._rules) if self._succeeded >= self._rules.probes else self

    def told(self, at: float) -> str:
        """The state in words."""
        out = sum(until > at for until in self._out.values())
        return f"{self.state}, {out} of {self._rules.probes} probes under way, {self._succeeded} succeeded"


_Phase = _Closed | _Open | _HalfOpen


def _check_count(name: str, value: object) -> None:
    """Refuse what is no count of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value}")


def _title(name: str, what: str = "circuit breaker") -> str:
    return f"{what} {name!r}" if name else what


def _breaker(*settings: Any) -> CircuitBreaker:
    names = (field.name for field in dataclasses.fields(_Rules))
    return CircuitBreaker(**dict(zip(names, settings, strict=True)))
