"""What a callable is: how it is called in logs, reports and errors."""

import functools

import pytest

from resilient_agent._callables import name_of


class Model:
    def __call__(self):
        raise AssertionError

    def ask(self):
        raise AssertionError


class Wrapped:
    """Has a `func`, and is no partial."""

    func = Model.ask


@pytest.mark.parametrize(
    ("fn", "name"),
    [
        (Model().ask, "Model.ask"),
        (functools.partial(functools.partial(Model.ask), None), "Model.ask"),
        (Model(), "Model"),
        (Wrapped(), "Wrapped"),
        (len, "len"),
    ],
)
def test_a_callable_has_a_name(fn, name):
    """Its qualified name, behind partials and nothing else; of an object that of its class."""
    assert name_of(fn) == name
