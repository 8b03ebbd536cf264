"""`Schedule`: what a policy amounts to in the worst case, as numbers and as a table for people.

Works it out from the curves and limits alone. Does not know what fails, nor how often.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
from typing import TYPE_CHECKING, Final

from resilient_agent.backoff import BackoffConfig, check_retries
from resilient_agent.classify.knowledge.curves import (
    DISCONNECTED,
    GATEWAY,
    RATE_LIMIT,
    SERVER_ERROR,
    TRANSPORT,
    UNAVAILABLE,
)
from resilient_agent.strategies import MAX_RETRY_AFTER, TOTAL_RETRIES

if TYPE_CHECKING:
    from resilient_agent.policy import Policy

__all__ = ["Row", "Schedule", "schedule_of"]

_KINDS: Final = (
    ("rate limit", RATE_LIMIT),
    ("overloaded or down", UNAVAILABLE),
    ("server error", SERVER_ERROR),
    ("gateway", GATEWAY),
    ("server disconnected", DISCONNECTED),
    ("connection, timeout", TRANSPORT),
)
_UNKNOWN: Final = "unknown, from outside"
_SHOWN: Final = 8  # waits in a line


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One kind of failure, met again and again.

    Attributes:
        kind: what fails, in words.
        waits: the seconds before each retry, without jitter.
        longest: the most seconds that all of them take together, with jitter.
    """

    kind: str
    waits: tuple[float, ...]
    longest: float

    @property
    def requests(self) -> int:
        """How many calls that makes: one more than there are waits."""
        return len(self.waits) + 1

    def __str__(self) -> str:
        shown = [f"{wait:.3g}" for wait in self.waits[:_SHOWN]] + ["..."] * (len(self.waits) > _SHOWN)
        return f"{self.kind:<22} {self.requests:>8}  {_spelled(self.longest):>13}  {', '.join(shown) or 'none'}"


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The worst case of a policy, where servers name no waits and each call waits for itself. Print it.

    After a 429 the waits hold with `pacer=None`. With a pacer, the default, it decides: where the server names no
    wait the first is half a second, and the next come by the rate that the limit lets through, or by this curve as
    long as it lets nothing through. How often a call is tried stays as it is here.

    Attributes:
        rows: for each kind of failure; none where the policy has `enabled=False`.
        attempts: the most attempts of one call, whatever fails.
        rungs: how many fallbacks may be called after them, each once.
        sdk_retries: how often an SDK below retries each of all these.
        seconds: the most that one call takes before a fallback: its waits, and its attempts where they have a limit
            of time.
        deadline: what bounds that, or None.
        timeout: what bounds one attempt, or None.
        max_retry_after: the longest wait that a server may name.

    Example:
        >>> from resilient_agent import BackoffConfig, Policy
        >>> curve = BackoffConfig(base_delay_ms=1000, jitter=0, max_retries=3)
        >>> print(Policy(backoff=curve, timeout=20).schedule(sdk_retries=2))
        failure                requests  waits at most  waits in seconds, without jitter
        of any kind                   4            7 s  1, 2, 4
        in the worst case 4 attempts x 3 requests of the SDK = 12 requests, 1 min 27 s
        up to 2 min where the server names a wait; in the pacer it may be longer
    """

    rows: tuple[Row, ...]
    attempts: int
    rungs: int
    sdk_retries: int
    seconds: float
    deadline: float | None
    timeout: float | None
    max_retry_after: float

    @property
    def requests(self) -> int:
        """The most requests that one call makes."""
        return (self.attempts + self.rungs) * (1 + self.sdk_retries)

    def __str__(self) -> str:
        if not self.rows:
            below = f", each up to {self.requests} requests of the SDK" if self.sdk_retries else ""
            return f"enabled=False: calls are made once{below}, and what they raise comes out at once"
        return "\n".join(
            [
                f"{'failure':<22} requests  waits at most  waits in seconds, without jitter",
                *map(str, self.rows),
                f"in the worst case {self._said()}",
                self._waits(),
            ]
        )

    def _waits(self) -> str:
        if self.attempts == 1:
            return "no retry, so no wait after a failure; in the pacer a call may wait before it is made"
        return f"up to {_spelled(self.max_retry_after)} where the server names a wait; in the pacer it may be longer"

    def _said(self) -> str:
        said = f"{self.attempts} attempt{'s' * (self.attempts > 1)}"
        if self.rungs:
            said = f"{said} and {self.rungs} fallback{'s' * (self.rungs > 1)}"
        if self.sdk_retries:
            said += f" x {1 + self.sdk_retries} requests of the SDK = {self.requests} requests"
        what = "" if self.timeout is not None else " of waiting"
        bound = ", the deadline" if self.deadline is not None and self.seconds >= self.deadline else ""
        return f"{said}, {_spelled(self.seconds)}{bound or what}"


def schedule_of(policy: Policy, rungs: int, sdk_retries: int) -> Schedule:
    """What a policy amounts to in the worst case.

    Args:
        policy: the policy.
        rungs: how many fallbacks it has.
        sdk_retries: how often the SDK below retries each attempt by itself.

    Raises:
        TypeError: `sdk_retries` is no int.
        ValueError: it is negative; or the policy has a `stop` or `wait` of tenacity's.
    """
    check_retries("sdk_retries", sdk_retries)
    longest = MAX_RETRY_AFTER if policy.max_retry_after is None else policy.max_retry_after
    if policy.enabled is False:
        return Schedule((), 1, 0, sdk_retries, seconds=0.0, deadline=None, timeout=None, max_retry_after=longest)
    for name in ("stop", "wait"):
        if getattr(policy, name) is not None:
            raise ValueError(f"a policy with {name}= has no schedule: what that will say is not known beforehand")
    most = policy.max_retries
    if policy.backoff is not None:
        rows = [_row("of any kind", policy.backoff, policy.backoff.max_retries if most is None else most)]
    else:
        rows = [_row(kind, curve, curve.max_retries if most is None else most) for kind, curve in _KINDS]
    total = TOTAL_RETRIES if most is None and policy.backoff is None else len(rows[0].waits)
    if total and policy.backoff is None:  # one more try, whatever the number says: see classify/knowledge/unknown.py
        rows.append(_row(_UNKNOWN, BackoffConfig(), 1))
    attempts = total + 1
    seconds = _worst(policy, total)
    if policy.timeout is not None:
        seconds += attempts * policy.timeout
    return Schedule(
        rows=tuple(rows),
        attempts=attempts,
        rungs=rungs,
        sdk_retries=sdk_retries,
        seconds=seconds if policy.deadline is None else min(seconds, policy.deadline),
        deadline=policy.deadline,
        timeout=policy.timeout,
        max_retry_after=longest,
    )


def _row(kind: str, curve: BackoffConfig, retries: int) -> Row:
    plain = dataclasses.replace(curve, jitter=0)
    waits = tuple(plain.delay(n, _Most()) for n in range(retries))
    return Row(kind, waits, sum(curve.delay(n, _Most()) for n in range(retries)))


def _worst(policy: Policy, total: int) -> float:
    """The most seconds of waiting: of all kinds in turn, the longest waits that there can be."""
    if policy.backoff is not None:
        return sum(policy.backoff.delay(n, _Most()) for n in range(total))
    own = policy.max_retries is None
    waits = [curve.delay(n, _Most()) for _, curve in _KINDS for n in range(curve.max_retries if own else total)]
    return sum(heapq.nlargest(total, waits))


class _Most:
    """Randomness at its upper end."""

    def random(self) -> float:
        """All but 1."""
        return 1 - 2**-53


def _spelled(seconds: float) -> str:
    """Seconds as people say them."""
    if math.isinf(seconds):
        return "without end"
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.3g} s"
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    parts = [f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(minutes) + [f"{rest} s"] * bool(rest)
    return " ".join(parts)
