"""Exceptions of SDKs that are not installed, rebuilt from what recording.py saw of the real ones.

A shape is {"errors": [...]}. The first of these is the one that was caught; the others are its causes, contexts and
members, and what attributes hold, and are referred to by number. Classes are made here with the names, modules and bases
of the real ones; where those reach the standard library, its own classes are taken. Text and attributes are as they
were, and so is what the few methods answer that evidence may come from (`code()` of gRPC, `json()` of a response).
"""

import collections.abc
import contextlib
import enum
import functools
import importlib
import operator
import sys

# HTTP libraries whose responses keep what was read of the body in `_content`; recorded is the text of it.
_KEEPING = frozenset({"httpx", "httpx2", "requests"})


def rebuild(shape):
    """Give the exception of a shape."""
    return _Rebuilder(shape["errors"]).error(0)


class Headers(collections.abc.Mapping):
    """HTTP headers, found whatever the case of their letters."""

    def __init__(self, items):
        self._items = {name.lower(): (name, value) for name, value in items}

    def __getitem__(self, name):
        return self._items[name.lower()][1]

    def __iter__(self):
        return (name for name, _ in self._items.values())

    def __len__(self):
        return len(self._items)

    def __repr__(self):
        return f"{type(self).__name__}({dict(self)})"


class OpenDict(dict):
    """A dict whose items are attributes too, as dashscope's answers are."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class _Rebuilder:
    def __init__(self, errors):
        self._errors = errors
        self._made = {}

    def error(self, number):
        """Give an exception of the shape, the same one each time."""
        if number not in self._made:
            told = self._errors[number]
            self._made[number] = error = self._bare(told)
            self._fill(error, told)
        return self._made[number]

    def _bare(self, told):
        own = {"__str__": _answering(told["text"]), **self._methods(told)}
        cls, args = _class(told["classes"], own), self._values(told["args"])
        if told["members"]:
            return cls.__new__(cls, args[0], [self.error(number) for number in told["members"]])
        try:
            error = cls.__new__(cls, *args)
        except TypeError:  # a class of the standard library that wants other arguments than it keeps
            error = cls.__new__(cls)
        error.args = tuple(args)
        return error

    def _fill(self, error, told):
        for name, value in told["state"].items():
            with contextlib.suppress(AttributeError):  # a base of the standard library has it already
                setattr(error, name, self._value(value))
        for note in told["notes"]:
            error.add_note(note)
        error.__cause__ = self._maybe(told["cause"])
        error.__context__ = self._maybe(told["context"])
        error.__suppress_context__ = told["suppress_context"]

    def _maybe(self, number):
        return None if number is None else self.error(number)

    def _methods(self, told):
        return {name: _answering(self._value(answer)) for name, answer in told["answers"].items()}

    def _values(self, values):
        return [self._value(value) for value in values]

    def _value(self, value):
        if isinstance(value, list):
            return self._values(value)
        if not isinstance(value, dict):
            return value
        kind = value.get("$")
        if kind is None:
            return {name: self._value(item) for name, item in value.items()}
        return getattr(self, f"_{kind}")(value)

    def _error(self, told):
        return self.error(told["number"])

    def _headers(self, told):
        return Headers(told["items"])

    def _open_dict(self, told):
        return OpenDict(self._value(told["items"]))

    def _enum(self, told):
        module, name = told["class"]
        if module in sys.stdlib_module_names:
            return _real(module, name)[told["name"]]
        value = tuple(told["value"]) if isinstance(told["value"], list) else told["value"]
        return enum.Enum(name, {told["name"]: value}, module=module)[told["name"]]

    def _object(self, told):
        module, name = told["class"]
        own = {"__module__": module, "__qualname__": name, **self._methods(told)}
        if told["text"] is not None:
            own["__str__"] = _answering(told["text"])
        made = type(name.rpartition(".")[2], (), own)()
        vars(made).update({name: self._value(value) for name, value in told["state"].items()})
        if module.partition(".")[0] in _KEEPING and isinstance(told["state"].get("text"), str):
            made._content = told["state"]["text"].encode()
        return made


def _class(classes, own):
    """Make the classes of an exception, from the last base on; `own` goes into the first, the exception's own."""
    made = {}
    for number, told in reversed(list(enumerate(classes))):
        module, name = told["module"], told["name"]
        if "bases" not in told:
            made[number] = _real(module, name)
            continue
        body = {"__module__": module, "__qualname__": name, **(own if number == 0 else {})}
        made[number] = type(name.rpartition(".")[2], tuple(made[base] for base in told["bases"]), body)
    if "bases" in classes[0]:
        return made[0]
    return made[0] if classes[0]["module"] == "builtins" else type(made[0].__name__, (made[0],), own)


def _real(module, name):
    return operator.attrgetter(name)(importlib.import_module(module))


def _answering(answer):
    """Give a method without arguments."""
    return functools.partialmethod(lambda _self, given: given, answer)
