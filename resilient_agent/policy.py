"""`Policy`: every choice for one decorated function, as a frozen value.

Decides what may be chosen, and refuses the rest by name. Does not know what follows from a
choice (`_control.py`), nor what the environment adds (`environment.py`).
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from resilient_agent.backoff import BackoffConfig, check_retries, check_seconds
from resilient_agent.fallback import Rung, ladder
from resilient_agent.gates.breaker import CircuitBreaker
from resilient_agent.gates.budget import RetryBudget
from resilient_agent.gates.pacer import Pacer
from resilient_agent.schedule import Schedule, schedule_of

if TYPE_CHECKING:
    from resilient_agent.classify import ErrorClassifier

__all__ = ["SETTINGS", "Policy", "check_identical", "check_names", "nearest"]

_SECONDS: Final = ("deadline", "timeout", "max_retry_after", "first_item_timeout", "item_timeout")
# What is called, and with what; `pace_by` with the arguments of the function, which is not known here.
_CALLED: Final[dict[str, tuple[str, ...] | None]] = {
    "pace_by": None,
    "on_retry": ("attempt", "error", "delay"),
    "commit_when": ("item",),
    "resume": ("partial", "call"),
    "sleep": ("seconds",),
    **dict.fromkeys(("stop", "wait", "retry", "before", "after", "before_sleep"), ("retry_state",)),
}
_OBJECTS: Final = {"backoff": BackoffConfig, "budget": RetryBudget, "breaker": CircuitBreaker}
# What can stand in a file.
_DATA: Final = (
    "max_retries", "deadline", "timeout", "max_retry_after", "max_identical", "first_item_timeout", "item_timeout",
    "on_exhausted", "enabled", "defer",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Policy:
    """The settings of `resilient` as a value: to be named, shared, compared, and read from a file.

    `@resilient(policy)` and `attempts(policy)` take one; arguments beside it change it. Each field is
    the argument of the same name, explained at `resilient`; None leaves the word to the
    environment and then to the default. A policy that names no pacer of its own gives each
    function that it decorates one.

    Raises:
        TypeError: a value is of the wrong kind; the text names the field.
        ValueError: a value is out of its range.

    Example:
        >>> from resilient_agent import Policy, resilient
        >>> patient = Policy(max_retries=8, deadline=300)
        >>> @resilient(patient, timeout=60)
        ... async def ask(question): ...
        >>> ask.retry.policy == patient.replace(timeout=60)
        True
        >>> Policy(deadline=-1)
        Traceback (most recent call last):
            ...
        ValueError: deadline must be above 0 seconds (math.inf for none), not -1
    """

    max_retries: int | None = None
    deadline: float | None = None
    timeout: float | None = None
    max_retry_after: float | None = None
    max_identical: int | None = None
    backoff: BackoffConfig | None = None
    classifier: ErrorClassifier | None = None
    fallback: Callable[..., Any] | Rung | Sequence[Callable[..., Any] | Rung] | None = None
    on_exhausted: bool = False
    pacer: Pacer | Literal["own"] | None = "own"
    pace_by: Callable[..., Hashable] | None = None
    budget: RetryBudget | None = None
    breaker: CircuitBreaker | None = None
    on_retry: Callable[[int, Exception, float], Any] | None = None
    commit_when: Callable[[Any], bool] | None = None
    resume: Callable[[list[Any], Any], Any] | None = None
    first_item_timeout: float | None = None
    item_timeout: float | None = None
    stop: Callable[[Any], Any] | None = None
    wait: Callable[[Any], Any] | None = None
    retry: Callable[[Any], Any] | None = None
    before: Callable[[Any], Any] | None = None
    after: Callable[[Any], Any] | None = None
    before_sleep: Callable[[Any], Any] | None = None
    sleep: Callable[[float], Any] | None = None
    enabled: bool | None = None
    defer: bool = False

    def __post_init__(self) -> None:
        for name in _SECONDS:
            if getattr(self, name) is not None:
                check_seconds(name, getattr(self, name))
        if self.max_retries is not None:
            check_retries("max_retries", self.max_retries)
        if self.max_identical is not None:
            check_identical(self.max_identical)
        _check_predicate(self.retry)
        for name, given in _CALLED.items():
            value = getattr(self, name)
            if value is not None:
                _check_called(name, value, given)
        for name, kind in _OBJECTS.items():
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise TypeError(f"{name} must be a {kind.__name__}, not {value!r}")
        self._check_the_rest()

    def _check_the_rest(self) -> None:
        if not (self.pacer is None or self.pacer == "own" or isinstance(self.pacer, Pacer)):
            raise TypeError(
                f"pacer must be a Pacer, None for no pacing, or left out for one of its own, not {self.pacer!r}"
            )
        classify = getattr(self.classifier, "classify", None)
        if self.classifier is not None and (isinstance(self.classifier, type) or not callable(classify)):
            raise TypeError(f"classifier must be an ErrorClassifier, not {self.classifier!r}")
        for name in ("on_exhausted", "enabled", "defer"):
            value = getattr(self, name)
            if not isinstance(value, bool) and not (value is None and name == "enabled"):
                raise TypeError(f"{name} must be True or False, not {value!r}")
        if self.backoff is not None and self.wait is not None:
            raise TypeError("give backoff= or wait=, not both: each says how long to wait")
        ladder(self.fallback)

    def replace(self, **changes: Any) -> Self:
        """The same policy with some fields changed; this one stays as it is.

        Raises:
            TypeError: no such field, or a value of the wrong kind.
            ValueError: a value out of its range.
        """
        check_names(changes, SETTINGS, "Policy")
        return dataclasses.replace(self, **changes)

    def settings(self) -> dict[str, Any]:
        """The fields that differ from their defaults, as arguments for `resilient`.

        Example:
            >>> Policy(max_retries=2).settings()
            {'max_retries': 2}
        """
        values = {field.name: (getattr(self, field.name), field.default) for field in dataclasses.fields(self)}
        return {name: value for name, (value, default) in values.items() if value is not default and value != default}

    def schedule(self, *, sdk_retries: int = 0) -> Schedule:
        """What the policy amounts to in the worst case: waits, seconds, requests. For people: print it.

        Args:
            sdk_retries: how often the SDK below the function retries by itself; those multiply.

        Raises:
            TypeError: `sdk_retries` is no int.
            ValueError: it is negative; or the policy has a `stop` or `wait` of tenacity's: what code will say
                is not known.

        Example:
            >>> Policy(max_retries=2).schedule(sdk_retries=2).requests
            9
        """
        return schedule_of(self, len(ladder(self.fallback)), sdk_retries)

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Self:
        """A policy from a dict, as from a table of a TOML file.

        Args:
            table: numbers and booleans under the names of the fields; `backoff` a table of
                `BackoffConfig`'s fields; `pacer = false` for none. What is code cannot stand in a
                file: add it with `replace`.

        Raises:
            TypeError: a key that is not known, said with those that are; a value of the wrong kind.
            ValueError: a value out of its range.

        Example:
            >>> import tomllib
            >>> table = tomllib.loads("backoff = { base_delay_ms = 500 }")
            >>> Policy.from_dict(table).backoff.base_delay_ms
            500
            >>> Policy.from_dict({"max_retrys": 8})
            Traceback (most recent call last):
                ...
            TypeError: Policy.from_dict does not know 'max_retrys': did you mean 'max_retries'? ...
        """
        if not isinstance(table, Mapping):
            raise TypeError(f"Policy.from_dict takes a dict, not {table!r}")
        known = (*_DATA, "backoff", "pacer")
        for name in table:
            if name in SETTINGS and name not in known:
                raise TypeError(
                    f"{name} cannot stand in a table: give it in the program, by @resilient(policy, {name}=...)"
                )
        check_names(table, known, "Policy.from_dict")
        values = dict(table)
        if isinstance(curve := values.get("backoff"), Mapping):
            check_names(curve, _CURVE, "the table backoff")
            values["backoff"] = BackoffConfig(**curve)
        if "pacer" in values:
            if not isinstance(values["pacer"], bool):
                raise TypeError(f"pacer must be true or false, not {values['pacer']!r}")
            values["pacer"] = "own" if values["pacer"] else None
        return cls(**values)


SETTINGS: Final = tuple(field.name for field in dataclasses.fields(Policy))
"""The names of all settings, which are those of the arguments of `resilient`."""

_CURVE: Final = tuple(field.name for field in dataclasses.fields(BackoffConfig))


def check_identical(value: object) -> None:
    """Refuse what is no number of equal failures; inf is one.

    Raises:
        TypeError: not an int.
        ValueError: below 1.
    """
    if isinstance(value, bool) or not (isinstance(value, int) or value == math.inf):
        raise TypeError(f"max_identical must be an int, the number of equal failures in a row, not {value!r}")
    if value < 1:
        raise ValueError(f"max_identical must be at least 1, not {value}")


def _check_called(name: str, value: Any, given: Sequence[str] | None) -> None:
    """Refuse what cannot be called, or not with what it will be given: else that comes out at the first failure."""
    if not callable(value):
        raise TypeError(f"{name} must be callable, not {value!r}")
    if given is None:
        return
    try:
        takes = inspect.signature(value, follow_wrapped=False)
    except (TypeError, ValueError):  # some builtins do not say
        return
    try:
        takes.bind(*given)
    except TypeError:
        raise TypeError(f"{name} is called with ({', '.join(given)}), but takes {takes}") from None


def _check_predicate(retry: object) -> None:
    """Refuse exception classes in place of a predicate: a class can be called, and what it makes would be a yes."""
    kinds = retry if isinstance(retry, tuple) else (retry,)
    if not kinds or not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        return
    names = ", ".join(kind.__name__ for kind in kinds)
    shown = f"({names})" if len(kinds) > 1 else names
    raise TypeError(
        f"retry takes a predicate, not exception classes: write retry=tenacity.retry_if_exception_type({shown})"
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that was probably meant, as a question; empty where none is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f": did you mean {near[0]!r}?" if near else "."


def check_names(given: Iterable[str], known: Sequence[str], who: str) -> None:
    """Refuse a name that is not known, with the one that was probably meant.

    Raises:
        TypeError: there is one.
    """
    for name in given:
        if name not in known:
            raise TypeError(f"{who} does not know {name!r}{nearest(str(name), known)} It takes {', '.join(known)}")
