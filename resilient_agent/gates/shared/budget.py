"""`SharedRetryBudget`: one retry budget for all processes that name the same server and the same budget.

Decides what a process does with its part: it spends tokens that it was given ahead of time (`purse.py`),
and tells what came of them. What all processes have is decided in `budget.lua`; the way there is
`link.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import uuid4

from resilient_agent.gates.budget import RetryBudget, RetryToken
from resilient_agent.gates.shared.link import Place, link_to
from resilient_agent.gates.shared.purse import LAPSE, Purse

__all__ = ["SharedRetryBudget"]

_LAYOUT: Final = 1
"""As that of `SharedPacer`."""


class SharedRetryBudget(RetryBudget):
    """A `RetryBudget` of all processes that name the same server, name and settings together.

    Twenty workers that see a service go down add as many retries to its traffic as one would. Each is
    given tokens ahead of time by a Redis (6.2 or later) or Valkey server, and spends them without
    asking; about once a second, while calls are made, it tells what came of them. No call waits for the
    server. As the figures travel, all together may make a few retries more than the budget allows.

    While the server cannot be reached, or nothing is known of the others yet, each process keeps to a
    budget of its own, as a plain `RetryBudget` does; that is logged once as a warning
    ("resilient_agent.gates"). What a process held that died counts for a window, as if it had been made.

    Safe for threads and for forks. Copies and pickles as its url (with the password, if it has one), name
    and settings.

    Args:
        url: of the server, as for `SharedPacer`.
        name: of what is retried against, the same in all processes.
        share: retries for each first attempt of all processes, from 0 to 1.
        floor: retries per second that are allowed to all together, whatever the traffic is.
        window: seconds, above 0: how long attempts and retries are remembered, to a tenth of it.

    Raises:
        TypeError: url or name is no str, or another value no number.
        ValueError: the name is empty, the url none of a server, or a number out of its range.
        ModuleNotFoundError: the extra is not installed; the message says how to.

    Example:
        >>> budget = SharedRetryBudget("redis://localhost:6379/0", name="openai", share=0.5, floor=0)
        >>> budget
        <SharedRetryBudget 'openai' (share=0.5, floor=0, window=60): 0 retries left, 0 held>
    """

    def __init__(self, url: str, *, name: str, share: float = 0.2, floor: float = 1.0, window: float = 60.0) -> None:
        super().__init__(share, floor=floor, window=window)
        if not isinstance(name, str):
            raise TypeError(f"name must be a str, not {name!r}")
        if not name:
            raise ValueError("name must not be empty: it says which budget is shared")
        self._link = link_to(url, "SharedRetryBudget")
        self._url, self._name = url, name
        tag = f"{{resilient_agent:budget:{name}}}:{_LAYOUT}:{share:g}:{floor:g}:{window:g}"
        self.channel, self.live = f"{tag}:news", f"{tag}:live"
        self._place = Place("budget", (tag, f"{tag}:who"), self.channel)
        self._begin()

    def _begin(self) -> None:
        self._me = uuid4().hex
        self._purse = Purse()
        self._attached = False

    @property
    def name(self) -> str:
        """What is retried against, for people and processes."""
        return self._name

    def first_attempt(self, now: float) -> None:
        """A call sets out: counted as traffic, never charged, never refused. See `RetryBudget`."""
        with self._lock:
            super().first_attempt(now)
            self._purse.untold += 1
            self._speak_up()

    def retry(self, now: float) -> RetryToken | None:
        """Ask for one retry, before its wait. See `RetryBudget`."""
        with self._lock:
            if not self._shares():
                self._speak_up()
                return super().retry(now)
            granted = self._purse.spend()
            if granted:
                self._held += 1
            self._speak_up()
            return RetryToken(self) if granted else None

    def left(self, now: float) -> int:
        """How many retries could set out at this moment, in this process."""
        with self._lock:
            return self._purse.left if self._shares() else super().left(now)

    def _shares(self) -> bool:
        return self._link.up and self._purse.knows(self._link.now())

    def _take_back(self, token: RetryToken, spent_at: float | None) -> bool:
        with self._lock:
            first = super()._take_back(token, spent_at)
            if first and spent_at is not None:
                self._purse.charged += 1
            elif first:
                self._purse.put_back()
            if first:
                self._speak_up()
            return first

    def _speak_up(self) -> None:
        """Have the others asked and told, where it is time to."""
        if not self._attached:
            self._attached = True
            self._link.attach(self)
        now = self._link.now()
        if self._link.up and self._purse.is_due(now):
            self._purse.asks(now)
            self._link.wake(self, self._place)

    def question(self) -> dict[str, Any]:
        """What is to be asked now, for the script that decides about the budget."""
        with self._lock:
            calls, spent = self._purse.told()
            told = {"me": self._me, "calls": calls, "spent": spent, "held": self._held}
            settings = {"share": self._share, "reserve": self._reserve, "window": self._settings[2], "lapse": LAPSE}
            return {**told, **settings}

    def answer(self, reply: Mapping[str, Any]) -> None:
        """What was answered."""
        with self._lock:
            self._purse.filled(int(reply["tokens"]), int(reply["credit"]), self._link.now())

    def heard(self, name: str, fields: Mapping[str, str]) -> None:
        """Of a budget nothing is made known: whoever wants to know asks."""

    def after_fork(self) -> None:
        """This is a child: what is held, its parent holds."""
        super().__init__(self._share, floor=self._settings[1], window=self._settings[2])
        self._begin()

    def __reduce__(self) -> tuple[Any, ...]:
        return _shared_budget, (self._url, self._name, *self._settings)

    def __repr__(self) -> str:
        plain = super().__repr__().removeprefix("<RetryBudget")
        return f"<SharedRetryBudget {self._name!r} {plain}"


def _shared_budget(url: str, name: str, share: float, floor: float, window: float) -> SharedRetryBudget:
    return SharedRetryBudget(url, name=name, share=share, floor=floor, window=window)
