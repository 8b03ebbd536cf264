"""What became of a call, as a value: `CallReport`, one `AttemptReport` for each attempt.

Says what is known when a call has ended. Does not know how it was found out (`_call.py`), nor in
which task or thread somebody asks (`context.py`).
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any, Final, Literal, Self

from resilient_agent.verdict import ErrorType

__all__ = ["NOWHERE", "AttemptReport", "CallReport", "Surroundings", "attach", "carried", "report_of"]

_ATTRIBUTE: Final = "resilient_agent_report"
_LEFT: Final = "_resilient_agent_left"

Surroundings = tuple[tuple[tuple[int, str], ...], tuple[tuple[int, int], ...]]
"""Where a call ended: the frames of the shells around its own, each with its function's name, and the attempts that
are known, by call and number."""
NOWHERE: Final[Surroundings] = (), ()


@dataclasses.dataclass(frozen=True, slots=True)
class AttemptReport:
    """One attempt that failed, or the one that answered.

    Attributes:
        number: from 1.
        error: the class of what it raised, by name; empty where it returned.
        verdict: what the classifier made of that; None where it returned, or was not judged.
        rule: the rule that decided.
        because: its reason.
        wait: the seconds that the call waited by itself after this attempt.
        paced: the seconds that it waited in the pacer after this attempt, together with others.
        elapsed: the seconds that the attempt took; None for a first attempt, which is made
            without looking at a clock unless something asks for it.
        rung: the name of the fallback that was called; empty for the function itself.

    Example:
        >>> print(AttemptReport(2, error="TimeoutError", rule="local/timeout", wait=0.5))
        attempt 2: TimeoutError (local/timeout), waited 0.5 s
    """

    number: int
    error: str = ""
    verdict: ErrorType | None = None
    rule: str = ""
    because: str = ""
    wait: float = 0.0
    paced: float = 0.0
    elapsed: float | None = None
    rung: str = ""

    def __str__(self) -> str:
        who = f" of fallback {self.rung!r}" if self.rung else ""
        rule = f" ({self.rule})" if self.rule else ""
        line = f"attempt {self.number}{who}: {self.error or 'answered'}{rule}"
        if self.wait or self.paced:
            line += f", waited {self.wait + self.paced:.3g} s"
        return f"{line} in the pacer" if self.paced > self.wait else line


@dataclasses.dataclass(frozen=True)
class CallReport:
    """What became of one call of a decorated function. Immutable; survives `pickle` and `copy`.

    Attributes:
        function: its qualified name.
        outcome: `"succeeded"`, `"failed"` or `"cancelled"`; `"unknown"` where this task or thread
            knows of no call: it made none, or left it to a task or a thread of its own (`asyncio.gather`). As long as
            all calls of a function succeeded at once, a task that made none is told of a success too.
        attempts: the attempts in order; of very many the first two and the last.
        requests: how many attempts there were, those counted that an SDK or another decorated
            function made below this one; of several calls inside of an attempt, the most that one made which failed.
            0 where it was refused before the first.
        waited: seconds waited between attempts by this call alone.
        paced: seconds waited in the pacer.
        worked: seconds spent in attempts, as far as they were measured (see `AttemptReport`).
        limit: which limit ended the call, in words; empty where none did.
        server_wait: the seconds that the server asked for last, or None.
        rung: the name of the fallback that answered; empty where the function itself did.
        delivered: of a stream that broke, the items that had been handed out; not pickled.

    Example:
        >>> from resilient_agent import resilient
        >>> answers = iter([ConnectionResetError("connection reset by peer"), "42"])
        >>> @resilient(sleep=lambda seconds: None)
        ... def ask():
        ...     answer = next(answers)
        ...     if isinstance(answer, Exception):
        ...         raise answer
        ...     return answer
        >>> ask()
        '42'
        >>> report = ask.call_report()
        >>> report.outcome, report.requests, [attempt.error for attempt in report.attempts]
        ('succeeded', 2, ['ConnectionResetError', ''])
    """

    function: str
    outcome: Literal["succeeded", "failed", "cancelled", "unknown"] = "succeeded"
    attempts: tuple[AttemptReport, ...] = (AttemptReport(1),)
    requests: int = 1
    waited: float = 0.0
    paced: float = 0.0
    worked: float = 0.0
    limit: str = ""
    server_wait: float | None = None
    rung: str = ""
    delivered: tuple[Any, ...] = dataclasses.field(default=(), compare=False)

    @property
    def because(self) -> str:
        """Why the last failed attempt failed, in the words of its rule; empty where none failed."""
        return next((attempt.because for attempt in reversed(self.attempts) if attempt.error), "")

    def __str__(self) -> str:
        if self.outcome == "unknown":
            return f"{self.function}: this task or thread knows of no call"
        head = f"{self.function} {self.outcome} after {self.requests} request{'s' * (self.requests != 1)}"
        waits = f"{self.waited:.3g} s waiting, {self.paced:.3g} s in the pacer, {self.worked:.3g} s working"
        ends = [f"ended by: {self.limit}"] if self.limit else []
        ends += [f"answered by fallback {self.rung!r}: {self.because}"] if self.rung else []
        return "\n  ".join([f"{head} ({waits})", *map(str, self.attempts), *ends])

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return _rebuild, ({**values, "delivered": ()},)  # items of a stream may be anything, an open socket as well


def report_of(error: BaseException) -> CallReport | None:
    """The report of the call that ended with this exception; None where its first attempt failed for good.

    Of the exception itself, or else of the nearest one behind it.

    Args:
        error: what came out of a decorated function.

    Raises:
        TypeError: that is no exception; None means that one has no report.

    Example:
        >>> from resilient_agent import resilient
        >>> @resilient(max_retries=1, sleep=lambda seconds: None)
        ... def ask():
        ...     raise ConnectionResetError("connection reset by peer")
        >>> try:
        ...     ask()
        ... except ConnectionResetError as error:
        ...     print(report_of(error).limit)
        max_retries=1
    """
    if not isinstance(error, BaseException):
        raise TypeError(f"report_of takes the exception that came out of a call, not {error!r}")
    return next((report for report, _ in carried(error)), None)


def carried(error: BaseException, *, suppressed: bool = False) -> Iterator[tuple[CallReport, Surroundings]]:
    """The reports on an exception and those behind it, the nearest first, each with where it was left.

    Args:
        error: the exception.
        suppressed: whether to look behind a `raise ... from None` too: it hides what was, and undoes nothing.
    """
    if not error.__dict__ and error.__cause__ is None and error.__context__ is None:
        return
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        report = getattr(link, "__dict__", {}).get(_ATTRIBUTE)
        if isinstance(report, CallReport):
            yield report, link.__dict__.get(_LEFT, NOWHERE)
        link = link.__cause__ or (None if link.__suppress_context__ and not suppressed else link.__context__)


def attach(report: CallReport, error: BaseException, left: Surroundings) -> None:
    """Let an exception carry the report, if it takes attributes at all.

    Args:
        report: the report.
        error: the exception.
        left: in which attempts of other calls it is left there.
    """
    with contextlib.suppress(Exception):
        error.__dict__[_ATTRIBUTE] = report
        error.__dict__[_LEFT] = left


def _rebuild(values: dict[str, Any]) -> CallReport:
    return CallReport(**values)
