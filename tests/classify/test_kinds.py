"""What a class tells is read past whatever its metaclass does."""

import pytest

from resilient_agent import ErrorClassifier
from resilient_agent.classify.kinds import class_names, kind_of


class Unhashable(type):  # noqa: PLW1641 - the point
    def __eq__(cls, other):
        return cls is other


class Nameless(type):
    @property
    def __name__(cls):
        raise RuntimeError("no name")


class Rootless(type):
    @property
    def __mro__(cls):
        raise RuntimeError("no bases")


class Placeless:
    def __str__(self):
        raise RuntimeError("nowhere")


@pytest.mark.parametrize("meta", [Unhashable, Nameless, Rootless])
def test_a_metaclass_that_refuses_changes_nothing(meta):
    """Names are read from the class itself, and an error of such a class is judged."""
    kind = meta("ReadTimeout", (Exception,), {})
    assert {"ReadTimeout", "Exception"} <= class_names(kind)
    assert kind_of(kind).words == "read timeout"
    assert ErrorClassifier().classify(kind()).rule == "network/timeout"


def test_a_module_that_is_no_text_is_none():
    """A class without a place is known by its bare name."""
    kind = type("ReadTimeout", (Exception,), {"__module__": Placeless()})
    assert {"ReadTimeout", ".ReadTimeout"} <= class_names(kind)
    assert ErrorClassifier().classify(kind()).rule == "network/timeout"


def test_pythons_own_classes_are_told_from_those_that_claim_to_be():
    """A class made in bare globals says `builtins` and is not."""
    claims = type("TimeoutError", (Exception,), {"__module__": "builtins"})
    assert kind_of(TimeoutError).builtin
    assert not kind_of(claims).builtin


def test_a_class_that_answers_for_any_attribute_has_no_list_of_them():
    """Where `__getattr__` answers, the attributes have to be asked for."""

    class Answering(Exception):
        def __getattr__(self, name):
            return 429 if name == "status_code" else None

    assert kind_of(Answering).attributes is None
    assert kind_of(ValueError).attributes is not None
    assert ErrorClassifier().classify(Answering()).rule == "http/too-many-requests"
