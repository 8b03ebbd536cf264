"""`Rung`: what is called where the function itself cannot answer, and when.

Decides whether a rung stands for a failure. Does not call it: to the machinery a rung is one more
attempt, of another function.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from resilient_agent._callables import name_of
from resilient_agent.verdict import ErrorType

if TYPE_CHECKING:
    import tenacity

    from resilient_agent.verdict import Classification

__all__ = ["Arguments", "NoArguments", "Rung", "as_arguments", "ladder", "stands_for"]

Arguments = tuple[tuple[Any, ...], dict[str, Any]]

_BY_PLACE: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_OPEN: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class NoArguments(TypeError):
    """What a user's function gave cannot be arguments. The text names classes and parameters, no values: for logs."""


@dataclasses.dataclass(frozen=True)
class Rung:
    """A step of a fallback ladder: `@resilient(fallback=[Rung(shorter), Rung(smaller)])`.

    Each rung is called once, in order, with the arguments of the call, until one answers. What
    it raises is chained to the first error; where that is not worth another try (`FATAL`,
    `NON_RETRYABLE`), the rungs below it are left alone.

    Args:
        fn: what to call; for a coroutine function a coroutine function or a plain one, for a
            plain function a plain one, for a stream one of the same kind.
        when: called with the `Classification` of the failure: whether this rung can help. A
            prompt that is too long can only go to a larger model. Always, when not given.
        transform: called with the call's state (`.args`, `.kwargs`, `.error`): the arguments for
            this rung, as `(args, kwargs)` or as a dict of those that change, by the names of the rung's
            own parameters, however the call gave them. What the call gave by a name that the rung does not
            know is left out then.
        name: how reports and logs call it; the function's own name when not given.

    Raises:
        TypeError: `fn`, `when` or `transform` cannot be called, or one of the last two would have to be awaited.

    Example:
        >>> from resilient_agent import resilient
        >>> class TooLong(Exception):
        ...     code = "context_length_exceeded"
        >>> def halved(call):
        ...     return {"text": call.kwargs["text"][: len(call.kwargs["text"]) // 2]}
        >>> def brief(*, text):
        ...     return f"read {len(text)} letters"
        >>> @resilient(fallback=Rung(brief, transform=halved))
        ... def ask(*, text):
        ...     raise TooLong("maximum context length exceeded")
        >>> ask(text="x" * 100)
        'read 50 letters'
        >>> ask.call_report().rung
        'brief'
    """

    fn: Callable[..., Any]
    when: Callable[[Classification], bool] | None = None
    transform: Callable[[tenacity.RetryCallState], Arguments | dict[str, Any]] | None = None
    name: str = ""

    def __post_init__(self) -> None:
        for name in ("fn", "when", "transform"):
            value = getattr(self, name)
            if not callable(value) and not (value is None and name != "fn"):
                raise TypeError(f"{name} of a Rung must be callable, not {value!r}")
            if name != "fn" and inspect.iscoroutinefunction(value):
                raise TypeError(f"{name} of a Rung must be a plain function, not {value!r}: nobody awaits it")
        if not self.name:
            object.__setattr__(self, "name", name_of(self.fn).rpartition(".")[2])


def ladder(fallback: Callable[..., Any] | Rung | Sequence[Callable[..., Any] | Rung] | None) -> tuple[Rung, ...]:
    """What was given as `fallback=`, as rungs.

    Raises:
        TypeError: something in it can be no rung.
    """
    if fallback is None:
        return ()
    if isinstance(fallback, Rung):
        return (fallback,)
    if callable(fallback):
        return (Rung(fallback),)
    steps: Any = fallback  # whatever was given
    if not isinstance(steps, Sequence) or not all(isinstance(step, Rung) or callable(step) for step in steps):
        raise TypeError(f"fallback must be a function, a Rung or a sequence of them, not {fallback!r}")
    return tuple(step if isinstance(step, Rung) else Rung(step) for step in steps)


def stands_for(rung: Rung, verdict: Classification, *, exhausted: bool) -> bool:
    """Whether a rung may be called after a failure.

    Args:
        rung: the rung.
        verdict: the judgement of the failure.
        exhausted: whether failures that were worth a retry count as well.
    """
    kind = verdict.error_type
    if kind is not ErrorType.DEGRADED and not (exhausted and kind is ErrorType.RETRYABLE):
        return False
    return rung.when is None or bool(rung.when(verdict))


def as_arguments(
    given: Any, args: tuple[Any, ...], kwargs: dict[str, Any], whose: str, fn: Callable[..., Any]
) -> Arguments:
    """New arguments in full, from what a user's function gave.

    Args:
        given: `(args, kwargs)`, or a dict of the arguments that change, by the names of the parameters of `fn`.
        args: the call's own, as are `kwargs`.
        whose: the user's function, for the error.
        fn: what will be called with them.

    Raises:
        TypeError: it gave something else, or named an argument that `fn` does not take.
    """
    if isinstance(given, dict):
        return _changed(given, args, kwargs, whose, fn)
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], dict):
        return tuple(given[0]), given[1]
    kind = type(given).__name__
    raise NoArguments(f"{whose} must give (args, kwargs) or a dict of the arguments that change, not a {kind}")


def _changed(
    changes: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any], whose: str, fn: Callable[..., Any]
) -> Arguments:
    """The arguments with some replaced, each where it stood: whoever is asked next finds them given as they were."""
    parameters = _parameters(fn)
    if parameters is None:
        return args, {**kwargs, **changes}
    named = [parameter.name for parameter in parameters if parameter.kind not in _OPEN]
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
    unknown = [name for name in changes if name not in named]
    if unknown and not takes_any:
        takes = f"it takes {', '.join(named)}" if named else "it takes no arguments"
        raise NoArguments(
            f"{whose} changes {', '.join(map(repr, unknown))}, which is no argument of what is called: {takes}"
        )
    places, left = list(args), dict(changes)
    for place, parameter in enumerate(parameters):
        if parameter.name not in left or parameter.kind not in _BY_PLACE:
            continue
        if place < len(args):
            places[place] = left.pop(parameter.name)
        elif place == len(places) and parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            places.append(left.pop(parameter.name))
    kept = {name: value for name, value in kwargs.items() if takes_any or name in named}
    return tuple(places), {**kept, **left}


def _parameters(fn: Callable[..., Any]) -> list[inspect.Parameter] | None:
    """What a function takes; None where it does not say, as some that are written in C."""
    try:
        return list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        return None
