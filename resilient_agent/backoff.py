"""`BackoffConfig`: how long to wait before a retry, as a value and one pure function.

Decides the wait from numbers alone. Does not know which error is waited for, does not
sleep, and draws from the randomness that it is handed.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, Protocol, get_args

__all__ = ["BackoffConfig", "Shape"]

Shape = Literal["exponential", "linear", "fixed"]


class Rng(Protocol):
    """What randomness is needed: `random.Random`, the `random` module, or anything alike."""

    def random(self) -> float:
        """A float from 0 up to, but not including, 1."""


@dataclasses.dataclass(frozen=True, slots=True)
class BackoffConfig:
    """The curve of waits between retries. A frozen value; durations in milliseconds.

    Attributes:
        base_delay_ms: the wait before the first retry.
        max_delay_ms: the cap: no wait is ever longer, jitter included.
        multiplier: the factor from one wait to the next (`shape="exponential"`).
        jitter: the share, 0 to 1, by which a wait is spread at random around its value.
            At the cap it spreads downwards only.
        max_retries: how many retries follow the first attempt (so `max_retries + 1` calls).
        shape: `"exponential"` (base · multiplier^n), `"linear"` (base · (n + 1)) or
            `"fixed"` (base), where n counts retries from 0.

    Raises:
        ValueError: a number is negative, not finite or out of its range; the text names the field.
        TypeError: a value is no number.

    The default numbers are those of the system that this library takes further.

    Example:
        >>> import random
        >>> config = BackoffConfig(base_delay_ms=500, multiplier=2, max_delay_ms=3000, jitter=0)
        >>> [config.delay(n, random.Random(1)) for n in range(4)]
        [0.5, 1.0, 2.0, 3.0]
        >>> BackoffConfig(jitter=1.5)
        Traceback (most recent call last):
            ...
        ValueError: jitter must be from 0 to 1, not 1.5
    """

    base_delay_ms: float = 1000
    max_delay_ms: float = 60000
    multiplier: float = 2.0
    jitter: float = 0.1
    max_retries: int = 3
    shape: Shape = "exponential"

    def __post_init__(self) -> None:
        for name in ("base_delay_ms", "max_delay_ms", "multiplier", "jitter"):
            _check_number(name, getattr(self, name))
        if self.max_delay_ms < self.base_delay_ms:
            raise ValueError(
                f"max_delay_ms must not be below base_delay_ms ({self.base_delay_ms}), not {self.max_delay_ms}"
            )
        if self.jitter > 1:
            raise ValueError(f"jitter must be from 0 to 1, not {self.jitter}")
        check_retries("max_retries", self.max_retries)
        if self.shape not in get_args(Shape):
            raise ValueError(f"shape must be one of {', '.join(get_args(Shape))}, not {self.shape!r}")

    def delay(self, attempt: int, rng: Rng) -> float:
        """The wait in seconds before retry number `attempt`, counted from 0.

        Pure: the same arguments and draws give the same wait. Never negative, never above
        `max_delay_ms`, and as quick for retry 10,000 as for the first.

        Args:
            attempt: how many retries went before; 0 for the first.
            rng: where the jitter is drawn from, once per call.

        Raises:
            ValueError: `attempt` is negative.
        """
        if attempt < 0:
            raise ValueError(f"attempt counts from 0, it cannot be {attempt}")
        cap = self.max_delay_ms
        try:
            if self.shape == "exponential":
                # As a float: an int power of 10,000 would be exact, and slow.
                value = self.base_delay_ms * (1.0 * self.multiplier) ** attempt
            elif self.shape == "linear":
                value = float(self.base_delay_ms) * (attempt + 1)
            else:
                value = self.base_delay_ms
        except OverflowError:
            # Past 1e308: the cap decides, unless there is nothing to multiply.
            value = cap if self.base_delay_ms else 0.0
        # Comparisons and no `min`, which takes three times as long: every failure comes by here.
        if value > cap:  # noqa: PLR1730
            value = cap
        spread = value * self.jitter
        # The upper end is cut, not the drawn value: else every second wait at the cap would
        # be the cap itself, and callers that failed together would come back together.
        high = value + spread
        if high > cap:  # noqa: PLR1730
            high = cap
        low = value - spread
        wait = low + (high - low) * rng.random()
        return (high if wait > high else wait) / 1000  # noqa: FURB136


def check_retries(name: str, value: object) -> None:
    """Refuse what is no count of retries, naming the argument.

    Raises:
        TypeError: not an int.
        ValueError: negative.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, the number of retries, not {value!r}")
    if value < 0:
        raise ValueError(f"{name} must not be negative, not {value} (0 means: never try again)")


def check_seconds(name: str, value: object) -> None:
    """Refuse what is no limit of time, naming the argument.

    Raises:
        TypeError: no number.
        ValueError: not above 0.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of seconds, not {value!r}")
    if math.isnan(value) or value <= 0:
        raise ValueError(f"{name} must be above 0 seconds (math.inf for none), not {value}")


def _check_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, not {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, not {value}")
    if value < 0:
        raise ValueError(f"{name} must not be negative, not {value}")
