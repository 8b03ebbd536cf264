"""`Rule`: one row of knowledge, and `When`: the evidence that it asks for.

Says whether a row fits a piece of evidence, and what it misses where it does not. Does not know
any provider: the rows stand in `knowledge/`, special before general, and the first that fits decides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterable
from typing import TYPE_CHECKING, Final, get_args

from resilient_agent.backoff import BackoffConfig, check_retries
from resilient_agent.classify.looking import any_in
from resilient_agent.classify.words import plain, snake
from resilient_agent.verdict import ErrorType, Load

if TYPE_CHECKING:
    from resilient_agent.classify.evidence import Evidence

__all__ = ["OPEN", "Rule", "When"]

OPEN: Final = 4  # letters that a word with an open end must show
_PHRASES: Final = ("words", "also", "unless")
_NO_COUNT: Final = "no count"
_TEXTS: Final = ("codes", "types", "causes", "headers", *_PHRASES)


@dataclasses.dataclass(frozen=True, slots=True)
class When:
    """What an exception must show for a rule to fit: every condition given, each by any of its values.

    Attributes:
        status: HTTP statuses: one, a `range`, or several.
        codes: words by which the failure is named: in the body (`error.code`, `error.type`, a
            `reason`), or by a library (`sqlstate`, a gRPC status, a number such as MySQL's).
            Case and style do not matter: `RateLimitExceeded` is `rate_limit_exceeded`.
        types: class names, of the exception or any of its bases: bare (`ReadTimeout`), behind
            the top-level package (`httpx.ReadTimeout`), or whatever is of it (`httpx.*`).
        causes: the same, but of the exception or of anything that stands behind it.
        words: phrases to find in what the body says, or else the message; in the codes; and in the
            class name where there is no HTTP status. Whole words; case and punctuation do not matter, and a
            `*` at the end leaves the end of the last word open (`exceed*`).
        also: phrases of which one has to be there too.
        unless: phrases of which none may be there.
        headers: headers of the answer, by name, or `name: value`; `name: no count` fits what is no whole
            number from 0 on.
        errnos: the system's error numbers, as in `errno.ENOSPC`.
        outside: whether an answer, a request or the system stands behind the exception.

    Raises:
        ValueError: nothing is asked for, or a phrase has no word in it.
        TypeError: no tuple of strings where one is due (a class where its name is meant), a status or an error
            number that is no number, or an `outside` that is neither True nor False.

    Example:
        >>> When(status=429, words=("per day", "daily"), also=("limit", "quota*"))
        When(status=(429,), words=('per day', 'daily'), also=('limit', 'quota*'))
    """

    status: int | range | tuple[int, ...] | frozenset[int] | None = None
    codes: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    errnos: tuple[int, ...] = ()
    outside: bool | None = None
    needles: tuple[str, ...] = dataclasses.field(init=False, repr=False, compare=False)
    """`words` as they are looked for in `Evidence.text`."""
    _headers: tuple[tuple[str, str], ...] = dataclasses.field(init=False, repr=False, compare=False)
    _also: tuple[str, ...] = dataclasses.field(init=False, repr=False, compare=False)
    _unless: tuple[str, ...] = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in _TEXTS:
            _check_tuple(name, getattr(self, name), str, "strings")
        _check_tuple("errnos", self.errnos, int, "numbers, as in `errno.ENOSPC`")
        _check_status(self.status)
        if not isinstance(self.outside, bool | None):
            raise TypeError(f"outside must be True, False or None, not {self.outside!r}")
        if isinstance(self.status, int):
            object.__setattr__(self, "status", (self.status,))
        object.__setattr__(self, "codes", tuple(snake(code) for code in self.codes))
        for name, kept in zip(_PHRASES, ("needles", "_also", "_unless"), strict=True):
            object.__setattr__(self, kept, tuple(_needle(phrase) for phrase in getattr(self, name)))
        object.__setattr__(self, "_headers", tuple(_header(asked) for asked in self.headers))
        if not self.asked():
            raise ValueError("a When that asks for nothing would fit every failure: give it a condition")

    def __repr__(self) -> str:
        return f"When({', '.join(f'{name}={getattr(self, name)!r}' for name in self.asked())})"

    @property
    def header_names(self) -> tuple[str, ...]:
        """The names of the headers that are asked for, lower case."""
        return tuple(name for name, _ in self._headers)

    def asked(self) -> tuple[str, ...]:
        """The names of the conditions that were given."""
        names = (field.name for field in dataclasses.fields(self) if field.init)
        return tuple(name for name in names if getattr(self, name) not in (None, ()))

    def wants(self, status: int | None) -> bool:
        """Whether the status is among those asked for."""
        return status is not None and isinstance(self.status, Container) and status in self.status

    def fits(self, evidence: Evidence) -> bool:
        """Whether the evidence shows all that is asked for; the cheap questions come first."""
        return (
            (not self.types or not evidence.names.isdisjoint(self.types))
            and (self.status is None or self.wants(evidence.status))
            and (not self.codes or not evidence.codes.isdisjoint(self.codes))
            and (not self.errnos or evidence.errno in self.errnos)
            and (not self.needles or any_in(self.needles, evidence.text))
            and (not self._also or any_in(self._also, evidence.text))
            and (not self._unless or not any_in(self._unless, evidence.text))
            and (not self.causes or not evidence.cause_names.isdisjoint(self.causes))
            and (not self._headers or _any_header(self._headers, evidence))
            and (self.outside is None or evidence.outside is self.outside)
        )

    def met(self, evidence: Evidence) -> dict[str, tuple[object, ...]]:
        """Which values of each condition the evidence shows, by the names of the conditions that it meets."""
        shown: dict[str, tuple[object, ...]] = {
            "status": (evidence.status,) if self.wants(evidence.status) else (),
            "codes": tuple(code for code in self.codes if code in evidence.codes),
            "types": tuple(name for name in self.types if name in evidence.names),
            "causes": tuple(name for name in self.causes if name in evidence.cause_names),
            "words": _said(self.words, evidence.text),
            "also": _said(self.also, evidence.text),
            "headers": tuple(
                header
                for header, asked in zip(self.headers, self._headers, strict=True)
                if _any_header((asked,), evidence)
            ),
            "errnos": tuple(number for number in self.errnos if number == evidence.errno),
        }
        return {name: values for name, values in shown.items() if values}

    def missing(self, evidence: Evidence) -> tuple[str, ...]:
        """The names of the conditions that the evidence does not meet; empty where the rule fits."""
        met = self.met(evidence)
        missing = [name for name in self.asked() if name not in met and name not in ("unless", "outside")]
        if any_in(self._unless, evidence.text):
            missing.append("unless")
        if self.outside not in (None, evidence.outside):
            missing.append("outside")
        return tuple(missing)


def _check_status(status: object) -> None:
    """Refuse what no status could ever be equal to: a rule that can fit nothing looks like one that works."""
    if status is None or isinstance(status, range):
        return
    several = status if isinstance(status, Iterable) and not isinstance(status, str | bytes) else (status,)
    for one in several:
        if isinstance(one, bool) or not isinstance(one, int):
            raise TypeError(f"status takes HTTP statuses as numbers, such as 429, a range or several, not {status!r}")


def _check_tuple(name: str, values: object, kind: type, what: str) -> None:
    """Refuse what is no tuple of that kind: it would fit nothing, or fail in place of the failure that is judged."""
    if isinstance(values, kind):
        raise TypeError(f"{name} takes a tuple of {what}: write ({values!r},) for one")
    if not isinstance(values, tuple):
        raise TypeError(f"{name} takes a tuple of {what}, not {values!r}")
    for value in values:
        if isinstance(value, type):  # a class where its name is meant
            raise TypeError(f"{name} takes a tuple of {what}: write {value.__name__!r}, not {value!r}")
        if isinstance(value, bool) or not isinstance(value, kind):
            raise TypeError(f"{name} takes a tuple of {what}, and {value!r} is none")


def _said(phrases: tuple[str, ...], text: str) -> tuple[str, ...]:
    return tuple(phrase for phrase in phrases if _needle(phrase) in text)


def _needle(phrase: str) -> str:
    """A phrase as it stands in a text: whole words between blanks, Chinese ones anywhere."""
    words = plain(phrase)
    if not words:
        raise ValueError(f"{phrase!r} has no word in it")
    if phrase.endswith("*") and len(words.rpartition(" ")[2]) < OPEN and words.isascii():
        raise ValueError(f"{phrase!r} fits too much: give at least {OPEN} letters before the *")
    start = " " if words[0].isascii() else ""
    end = "" if phrase.endswith("*") or not words[-1].isascii() else " "
    return f"{start}{words}{end}"


def _header(asked: str) -> tuple[str, str]:
    name, _, value = asked.partition(":")
    return name.strip().lower(), value.strip().lower()


def _any_header(asked: tuple[tuple[str, str], ...], evidence: Evidence) -> bool:
    for name, wanted in asked:
        value = evidence.header(name)
        if value is not None and (not wanted or _header_says(value.strip().lower(), wanted)):
            return True
    return False


def _header_says(value: str, wanted: str) -> bool:
    if wanted == _NO_COUNT:
        return not (value.isascii() and value.isdigit())
    return value == wanted


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """One row: when it fits, what the failure then means, and because of what.

    Attributes:
        name: `room/what-it-is`, as it appears in notes and logs.
        when: the evidence asked for.
        then: the judgement.
        because: the reason, a sentence that a user understands.
        backoff: how to wait and how often to try again; None: the classifier's default.
        at_most: the most retries that make sense whatever the caller's `max_retries` says.
        load: `"limit"` where the server has refused one request too many (429), `"overload"` where it
            is overloaded or down for everybody (503): then all calls through one pacer wait
            together. Empty for every other failure.
        seen: where this was met: a document or an example.

    Example:
        >>> from resilient_agent import ErrorClassifier, ErrorType
        >>> class GatewayError(Exception):
        ...     status_code = 400
        >>> asleep = Rule(
        ...     "ours/shard-asleep",
        ...     when=When(status=400, words=("shard is asleep",)),
        ...     then=ErrorType.RETRYABLE,
        ...     because="our gateway answers 400 while a shard wakes up",
        ... )
        >>> ErrorClassifier(rules=[asleep]).classify(GatewayError("the shard is asleep")).rule
        'ours/shard-asleep'
        >>> ErrorClassifier().classify(GatewayError("the shard is asleep")).rule
        'http/bad-request'
    """

    name: str
    when: When
    then: ErrorType
    because: str
    backoff: BackoffConfig | None = None
    at_most: int | None = None
    load: Load = ""
    seen: str = ""

    def __post_init__(self) -> None:
        if not self.name or not self.because:
            raise ValueError("a Rule needs a name and a because: they are what people will read")
        object.__setattr__(self, "then", ErrorType(self.then))
        if self.at_most is not None:
            check_retries("at_most", self.at_most)
        if self.load not in get_args(Load):
            raise ValueError(f"load must be 'limit', 'overload' or empty, not {self.load!r}")
