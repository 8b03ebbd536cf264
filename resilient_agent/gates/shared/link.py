"""`Link`: the way to one server, over which processes share their limits. The only room of the gates that knows redis.

Asks what gates want to know, and tells them what was answered and what others made known; decides
nothing about limits. Nobody who calls it waits: for each server one daemon thread speaks (it asks the
questions of whoever was woken), and one listens. It is subscribed to what is made known, in place of
asking from time to time: while no limit is met anywhere next to nothing is sent, and a limit that
another process met is known here within a round trip.

While the server cannot be reached `up` is False, and every gate goes on alone. That is said once, as a
warning; the link comes back by itself.
"""

from __future__ import annotations

import json
import logging
import os
import random
import threading
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from resilient_agent import clock
from resilient_agent._drivers import needs, redis_client
from resilient_agent.gates.shared.moment import ServerTime

if TYPE_CHECKING:
    import redis
    from redis.client import PubSub

__all__ = ["Link", "Listener", "Party", "Place", "link_to", "text_of"]

_log = logging.getLogger("resilient_agent.gates")

_TIMEOUT: Final = 1.0
"""Seconds within which a server that is there has answered."""
_LOOK: Final = 10.0
"""Seconds after which a thread that has nothing to do looks whether it is still needed."""
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0
"""Seconds between two attempts to reach the server."""
_READINGS: Final = 3
"""Readings of the server's clock before the first question."""


class Party(Protocol):
    """Somebody who has questions."""

    def question(self) -> dict[str, Any]:
        """What is to be asked now."""

    def answer(self, reply: Mapping[str, Any]) -> None:
        """What was answered."""


class Place(NamedTuple):
    """Where a question is decided.

    Attributes:
        script: the name of the script that decides.
        keys: what it decides on.
        channel: where it makes known what concerns all.
    """

    script: str
    keys: tuple[str, ...]
    channel: str


class Listener(Protocol):
    """Somebody who is told what others make known."""

    @property
    def channel(self) -> str:
        """Where it is made known."""

    @property
    def live(self) -> str:
        """The sorted set of what was made known and holds still; the hash of each stands beside it."""

    def heard(self, name: str, fields: Mapping[str, str]) -> None:
        """It was made known, or holds since before the link was there."""

    def after_fork(self) -> None:
        """This is a child: what was going on belongs to the parent."""


class Link:
    """The way to one server; see `link_to`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = _client(url)
        self._scripts: dict[str, Any] = {}
        self._time = ServerTime()
        self._listeners: weakref.WeakSet[Listener] = weakref.WeakSet()
        self._begin()

    def _begin(self) -> None:
        self._hears, self._speaks = False, True
        self._warned = False
        self._threads: dict[str, threading.Thread] = {}
        self._pubsub: PubSub | None = None
        self._new: list[Listener] = []  # those who are not subscribed for yet
        self._changed = threading.Condition()
        self._woken: dict[Party, Place] = {}
        self._dice = random.Random()  # of its own: whoever seeds the common one counts on nobody else to throw it

    @property
    def up(self) -> bool:
        """Whether the server can be reached, as far as is known."""
        return self._hears and self._speaks

    def now(self) -> float:
        """The moment by the clock of this process."""
        return clock.monotonic()

    def shared(self, moment: float) -> float:
        """What the server's clock said at a moment by the clock of this process."""
        return self._time.at(moment)

    def attach(self, listener: Listener) -> None:
        """Tell it from now on what others make known. Starts the threads where there are none."""
        with self._changed:
            self._listeners.add(listener)
            self._new.append(listener)
            try:
                for work in (self._speak, self._listen):  # in this order: whoever is heard of counts on answers
                    self._start(work)
            except RuntimeError as error:  # of the system's limit, or as the interpreter is about to end
                _log.warning("limits are not shared by those who come now, each process keeps to its own: %s", error)
            self._changed.notify()

    def _start(self, work: Callable[[threading.Condition], None]) -> None:
        name = work.__name__
        if name not in self._threads:
            named = f"resilient_agent{name}"
            thread = threading.Thread(target=work, args=(self._changed,), name=named, daemon=True)
            thread.start()
            self._threads[name] = thread  # now that it runs: else nobody would start another

    def _over(self, changed: threading.Condition, work: str) -> bool:
        """Whether a thread is to end, as nobody is left. Whoever comes later finds that it is gone."""
        with changed:
            if self._listeners:
                return False
            self._threads.pop(work, None)
            return True

    def wake(self, party: Party, place: Place) -> None:
        """Have its question asked soon. Costs the caller a few microseconds."""
        with self._changed:
            self._woken[party] = place
            self._changed.notify()

    # One thread speaks

    def _speak(self, changed: threading.Condition) -> None:
        pause = _FIRST_PAUSE
        while not self._over(changed, "_speak"):
            with changed:
                if not (self._woken or (self._new and self._pubsub is not None)):
                    changed.wait(_LOOK)
                woken, self._woken = self._woken, {}
            try:
                if not self._speaks:
                    self._read_clock()
                    self._found(speaks=True)
                if self._new and self._pubsub is not None:
                    self._subscribe(self._pubsub)
                for party, place in woken.items():
                    self._ask(party, place)
                pause = _FIRST_PAUSE
            except Exception as error:  # whatever it is, no call may suffer from it
                self._found(speaks=False, error=error)
                pause = self._rested(pause)

    def _ask(self, party: Party, place: Place) -> None:
        script = self._scripts.get(place.script)
        if script is None:
            script = self._scripts[place.script] = self._client.register_script(text_of(place.script))
        question = json.dumps(party.question())
        asked = clock.monotonic()
        reply = json.loads(script(keys=place.keys, args=[question, self._here(place.channel)]))
        self._time.seen(asked, float(reply["now"]), clock.monotonic())
        party.answer(reply)

    def _read_clock(self) -> None:
        for _ in range(_READINGS):
            asked = clock.monotonic()
            seconds, micros = self._client.time()
            self._time.seen(asked, seconds + micros / 1e6, clock.monotonic())

    # And one listens

    def _listen(self, changed: threading.Condition) -> None:
        pause = _FIRST_PAUSE
        while not self._over(changed, "_listen"):
            try:
                self._read_clock()
                with self._client.pubsub() as pubsub:  # type: ignore[no-untyped-call]
                    with changed:
                        self._new = list(self._listeners)
                    self._subscribe(pubsub)
                    with changed:
                        self._pubsub = pubsub
                        changed.notify()  # somebody may have come in between
                    pause = _FIRST_PAUSE
                    while self._listeners:
                        self._hear(pubsub.get_message(timeout=_LOOK))
                    self._hears, self._pubsub = False, None
            except Exception as error:
                self._pubsub = None
                self._found(hears=False, error=error)
                pause = self._rested(pause)

    def _subscribe(self, pubsub: PubSub) -> None:
        with self._changed:
            new, self._new = self._new, []
        for listener in new:  # also where its channel is heard already: the confirmation is what it waits for
            pubsub.subscribe(self._here(listener.channel))

    def _here(self, channel: str) -> str:
        """The channel of this database: a server's databases have their keys apart, but not their channels."""
        return f"{channel}:{self._client.connection_pool.connection_kwargs.get('db') or 0}"

    def _attached(self) -> list[Listener]:
        with self._changed:  # a set must not grow while it is gone through
            return list(self._listeners)

    def _hear(self, message: Mapping[str, Any] | None) -> None:
        if message is None:
            return
        listeners = [listener for listener in self._attached() if self._here(listener.channel) == message["channel"]]
        if message["type"] == "message":
            told = json.loads(message["data"])
            for listener in listeners:
                listener.heard(told["name"], told["fields"])
        elif message["type"] == "subscribe":
            for listener in listeners:
                self._catch_up(listener)
            self._found(hears=True)

    def _catch_up(self, listener: Listener) -> None:
        """Tell what was made known before the subscription."""
        names: Any = self._client.zrangebyscore(listener.live, self.shared(self.now()), "+inf")
        for name in names:
            fields: Any = self._client.hgetall(f"{listener.live.removesuffix(':live')}:{name}")
            if fields:
                listener.heard(name, fields)

    def _rested(self, pause: float) -> float:
        """Wait before the next try; how long to wait before the one after it."""
        clock.sleep(pause * self._dice.uniform(0.5, 1))
        return min(2 * pause, _LONGEST_PAUSE)

    # Whether it leads anywhere

    def _found(self, *, hears: bool | None = None, speaks: bool | None = None, error: Exception | None = None) -> None:
        with self._changed:
            self._hears = self._hears if hears is None else hears
            self._speaks = self._speaks if speaks is None else speaks
            news = self._warned is self.up
            self._warned = not self.up
        if news and error is not None:
            _log.warning(
                "%s cannot be reached (%s: %s): each process keeps to its limits alone until it is back",
                _where(self._client), type(error).__name__, error,
            )  # fmt: skip
        elif news:
            _log.info("%s is back: limits are shared again", _where(self._client))

    def after_fork(self) -> None:
        """In a forked child: threads and connections are the parent's, so begin anew at the next use."""
        self._client = _client(self._url)
        self._scripts = {}
        self._begin()
        for listener in self._attached():
            listener.after_fork()


_links: weakref.WeakValueDictionary[str, Link] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def text_of(script: str) -> str:
    """A script, behind what all of them begin with."""
    parts = (Path(__file__).with_name(f"{name}.lua").read_text("utf-8") for name in ("common", script))
    return "\n".join(parts)


def link_to(url: str, wanted_by: str) -> Link:
    """The way to this server, one for the whole process. Connects to nothing yet.

    Args:
        url: as redis-py reads it; `valkey://` and `valkeys://` are understood as well.
        wanted_by: for the error.

    Raises:
        TypeError: the url is no str.
        ValueError: it is no url of a server.
        ModuleNotFoundError: redis is not installed.
    """
    if not isinstance(url, str):
        raise TypeError(f"url must be a str, not {url!r}")
    with _lock:
        link = _links.get(url)
        if link is None:
            with needs("redis", wanted_by):
                link = _links[url] = Link(url)
        return link


def _client(url: str) -> redis.Redis:
    return redis_client(url, _TIMEOUT, decode_responses=True, health_check_interval=_LOOK)


def _where(client: redis.Redis) -> str:
    """The server by its address, without user and password."""
    at = client.connection_pool.connection_kwargs
    address = at.get("path") or f"{at.get('host', 'localhost')}:{at.get('port', 6379)}"
    return f"the server of shared limits at {address}/{at.get('db') or 0}"


def _after_fork() -> None:
    _lock.release()
    for link in tuple(_links.values()):
        link.after_fork()


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_after_fork)
