"""Rules from elsewhere: tables that plug-ins and programs register for the whole process.

They are read after a classifier's own rules and before ours. A plug-in is a package with an entry
point in the group `resilient_agent.rules` that leads to an iterable of rules; plug-ins are looked
for once, at the first judgement. Decides no order beyond that, and judges nothing.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterable
from typing import Final, Literal

from resilient_agent.classify.rulebook import Rulebook
from resilient_agent.classify.rules import Rule

__all__ = ["GROUP", "register", "registered", "unregister"]

GROUP: Final = "resilient_agent.rules"


class _Registry:
    """The tables by name, and the book made of them; the book is replaced and never changed."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.tables: dict[str, tuple[Rule, ...]] = {}
        self.book = Rulebook(())
        self.plugins: Literal["not looked for", "being loaded", "loaded"] = "not looked for"

    def put(self, name: str, rules: tuple[Rule, ...]) -> None:
        with self.lock:
            self.tables[name] = rules
            self._bind()

    def drop(self, name: str) -> None:
        with self.lock:
            if name not in self.tables:
                known = ", ".join(sorted(self.tables)) or "none"
                raise ValueError(f"no table of rules is registered as {name!r}; registered are: {known}")
            del self.tables[name]
            self._bind()

    def _bind(self) -> None:
        self.book = Rulebook(rule for rules in self.tables.values() for rule in rules)


_REGISTRY: Final = _Registry()


def register(name: str, rules: Iterable[Rule]) -> None:
    """Add a provider's rules for every classifier of this process; a table of that name is replaced.

    Args:
        name: what the table is called, such as the provider's name.
        rules: its rules, in reading order.

    Raises:
        TypeError: something among the rules is none, or the name is no text.

    Example:
        >>> from resilient_agent import ErrorClassifier, Rule, When, register, unregister
        >>> asleep = Rule("acme/asleep", When(codes=("gpu_asleep",)), "retryable", "the GPU wakes up in a minute")
        >>> register("acme", [asleep])
        >>> class AcmeError(Exception):
        ...     body = {"error": {"code": "gpu_asleep"}}
        >>> ErrorClassifier().classify(AcmeError()).rule
        'acme/asleep'
        >>> unregister("acme")
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a table of rules is a text, not {name!r}")
    _REGISTRY.put(name, checked(rules))


def unregister(name: str) -> None:
    """Take a table out again.

    Raises:
        ValueError: there is no table of that name; the message lists those that there are.

    Example:
        >>> from resilient_agent import Rule, When, register, unregister
        >>> register("acme", [Rule("acme/asleep", When(codes=("gpu_asleep",)), "retryable", "the GPU wakes up")])
        >>> unregister("acme")
        >>> unregister("acme")
        Traceback (most recent call last):
            ...
        ValueError: no table of rules is registered as 'acme'; registered are: none
    """
    registered()
    _REGISTRY.drop(name)


def registered() -> Rulebook:
    """The rules of all registered tables, plug-ins included."""
    if _REGISTRY.plugins != "loaded":
        with _REGISTRY.lock:  # others wait; a plug-in that classifies while it is loaded comes through
            if _REGISTRY.plugins == "not looked for":
                _REGISTRY.plugins = "being loaded"
                try:
                    _load_plugins()
                except BaseException:  # Ctrl-C: the next one who asks looks again
                    _REGISTRY.plugins = "not looked for"
                    raise
                _REGISTRY.plugins = "loaded"
    return _REGISTRY.book


def checked(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The rules as a tuple, if they are some.

    Raises:
        TypeError: one is none, or it is a single one; the message shows it.
    """
    if isinstance(rules, Rule):
        raise TypeError(f"rules are several Rule objects: write [rule] for one, here for {rules.name!r}")
    if not isinstance(rules, Iterable):
        raise TypeError(f"rules must be Rule objects in a list, not {rules!r}")
    rules = tuple(rules)
    for rule in rules:
        if not isinstance(rule, Rule):
            raise TypeError(f"rules must be Rule objects, not {rule!r}")
    return rules


def _load_plugins() -> None:
    from importlib.metadata import entry_points  # noqa: PLC0415 - costs time, and only here

    for plugin in entry_points(group=GROUP):
        if plugin.name in _REGISTRY.tables:  # the program's own table of that name goes before
            continue
        try:
            _REGISTRY.put(plugin.name, checked(plugin.load()))
        except Exception as broken:
            # A failing plug-in must not take the place of the failure that is being judged.
            problem = f"the rules of the plug-in {plugin.name!r} ({plugin.value}) are left out: {broken!r}"
            with contextlib.suppress(RuntimeWarning):  # where warnings are errors
                warnings.warn(problem, RuntimeWarning, stacklevel=2)
