"""`Limits`: the numbers that bound a call, from argument, environment and default, in this order.

Decides which of the three counts, and reads the texts of the environment, which it is handed.
Does not look at the environment itself, nor warn: it says what is wrong and leaves it out.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from resilient_agent.backoff import check_retries, check_seconds
from resilient_agent.policy import check_identical, nearest
from resilient_agent.strategies import MAX_RETRY_AFTER

if TYPE_CHECKING:
    from resilient_agent.policy import Policy

__all__ = ["VARIABLES", "Limits", "misspelled", "resolve"]

_PREFIX: Final = "RESILIENT_AGENT_"

_MAX_IDENTICAL: Final = 10
"""Equal failures in a row. A request that failed ten times in the same words will not pass the eleventh time: one
project's fixed 500 was tried 1,149 times in 24 days."""
_OF_OTHER_ROOMS: Final = ("HOME", "STORE")
_TRUE: Final = ("1", "true", "yes", "on")
_FALSE: Final = ("0", "false", "no", "off")


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What bounds one call.

    Attributes:
        max_retries: the most retries, whatever failed; None: as each kind of failure says.
        deadline: seconds for the whole call; None for no limit.
        timeout: seconds for one attempt; None for no limit.
        max_retry_after: seconds; where the server asks for more the call stops.
        max_identical: how many equal failures in a row end the call.
        enabled: whether anything is retried.
        paced: whether calls wait together.
    """

    max_retries: int | None
    deadline: float | None
    timeout: float | None
    max_retry_after: float
    max_identical: float
    enabled: bool
    paced: bool


# The bounds are those of the arguments.


def _retries(text: str) -> int:
    value = int(text)
    check_retries("max_retries", value)
    return value


def _identical(text: str) -> int:
    value = int(text)
    check_identical(value)
    return value


def _seconds(text: str) -> float:
    value = float(text)
    check_seconds("seconds", value)
    return value


def _switch(text: str) -> bool:
    word = text.strip().lower()
    if word not in _TRUE + _FALSE:
        raise ValueError(text)
    return word in _TRUE


_SECONDS: Final = (_seconds, "seconds above 0, or inf")
_ON_OFF: Final = (_switch, "1, true, yes, on, or 0, false, no, off")
_READERS: Final[dict[str, tuple[Callable[[str], Any], str]]] = {
    "max_retries": (_retries, "a number of retries, 0 or more"),
    "deadline": _SECONDS,
    "timeout": _SECONDS,
    "max_retry_after": _SECONDS,
    "max_identical": (_identical, "a number of failures, 1 or more"),
    "enabled": _ON_OFF,
    "pacer": _ON_OFF,
}

VARIABLES: Final = tuple(_PREFIX + name.upper() for name in _READERS)
"""The environment variables that bound calls."""


def resolve(policy: Policy, environ: Mapping[str, str]) -> tuple[Limits, tuple[str, ...]]:
    """The limits of a call, and what is wrong with the environment, a sentence each.

    Args:
        policy: what the arguments say.
        environ: what the environment says; only `VARIABLES` are looked at.

    Example:
        >>> from resilient_agent import Policy
        >>> limits, problems = resolve(Policy(deadline=60), {"RESILIENT_AGENT_DEADLINE": "5",
        ...                                                  "RESILIENT_AGENT_MAX_RETRIES": "many"})
        >>> limits.deadline, limits.max_retries
        (60, None)
        >>> problems
        ("RESILIENT_AGENT_MAX_RETRIES is 'many', but takes a number of retries, 0 or more",)
    """
    said: dict[str, Any] = {}
    problems = []
    for name, (read, takes) in _READERS.items():
        text = environ.get(_PREFIX + name.upper())
        if text is None or not text.strip():
            continue
        try:
            said[name] = read(text)
        except ValueError:
            problems.append(f"{_PREFIX}{name.upper()} is {text!r}, but takes {takes}")
    return _limits(policy, said), tuple(problems)


def _limits(policy: Policy, said: Mapping[str, Any]) -> Limits:
    def first(name: str, default: Any) -> Any:
        argument = getattr(policy, name)
        return said.get(name, default) if argument is None else argument

    return Limits(
        max_retries=first("max_retries", None),
        deadline=_or_none(first("deadline", None)),
        timeout=_or_none(first("timeout", None)),
        max_retry_after=first("max_retry_after", MAX_RETRY_AFTER),
        max_identical=first("max_identical", _MAX_IDENTICAL),
        enabled=first("enabled", default=True),
        # A pacer that was handed over is an argument; one of the function's own is the default.
        paced=policy.pacer is not None and (policy.pacer != "own" or said.get("pacer", True)),
    )


def _or_none(seconds: float | None) -> float | None:
    return None if seconds is None or math.isinf(seconds) else seconds


def misspelled(names: Iterable[str]) -> list[str]:
    """What is wrong with names of environment variables that begin as ours do and are none, a sentence each.

    Example:
        >>> misspelled(["PATH", "RESILIENT_AGENT_HOME", "RESILIENT_AGENT_MAX_RETRYS"])
        ["RESILIENT_AGENT_MAX_RETRYS is not known: did you mean 'RESILIENT_AGENT_MAX_RETRIES'?"]
    """
    known = (*VARIABLES, *(_PREFIX + name for name in _OF_OTHER_ROOMS))
    ours = [name for name in names if name.startswith(_PREFIX) and name not in known]
    return [f"{name} is not known{nearest(name, known)}" for name in sorted(ours)]
