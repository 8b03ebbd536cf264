"""A row of knowledge and the evidence that it asks for: when it fits, and what is refused."""

# ruff: noqa: RUF001 - Chinese marks and curly quotes are what is tested

import copy
import dataclasses
import errno
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_agent import ErrorType, Rule, When
from resilient_agent.classify.case import Case


class Failure(Exception):
    def __init__(self, message="failed", **shown):
        super().__init__(message)
        self.__dict__.update(shown)


def seen(error, *causes):
    """The evidence of an error behind which those stand."""
    link = error
    for cause in causes:
        link.__cause__ = cause
        link = cause
    return Case(error).first


def fits(when, error, *causes):
    return when.fits(seen(error, *causes))


# When


@pytest.mark.parametrize("status", [429, (429, 503), range(400, 500), frozenset({429})], ids=repr)
def test_a_status_is_asked_for_as_one_as_several_or_as_a_range(status):
    """One status, a tuple, a range and a frozenset all fit by containing it."""
    assert fits(When(status=status), Failure(status_code=429))
    assert not fits(When(status=status), Failure(status_code=500))
    assert not fits(When(status=status), Failure("429"))


@pytest.mark.parametrize("asked", ["Model_Warming_Up", "modelWarmingUp", "model-warming-up", "MODEL_WARMING_UP"])
@pytest.mark.parametrize("sent", ["MODEL_WARMING_UP", "ModelWarmingUp", "model warming up"])
def test_codes_fit_in_any_style(asked, sent):
    """The case and the style of a code do not matter, on either side."""
    when = When(codes=(asked,))
    assert fits(when, Failure(body={"error": {"code": sent}}))
    assert not fits(when, Failure(body={"error": {"code": "other"}}))
    assert not fits(when, Failure("model_warming_up"))


@pytest.mark.parametrize("asked", ["40P01", "40p01"])
@pytest.mark.parametrize("sent", ["40P01", "40p01"])
def test_codes_of_digits_and_letters_fit_in_any_case(asked, sent):
    """An SQLSTATE is the same code in capitals and in small letters."""
    assert fits(When(codes=(asked,)), Failure(sqlstate=sent))


@pytest.mark.parametrize("sent", [-32603, "-32603", 1213, "1213"], ids=repr)
def test_numbers_fit_as_numbers_and_as_texts(sent):
    """A number by which a library names its errors is asked for as a text, whatever its sign."""
    assert fits(When(codes=(str(sent),)), Failure(code=sent))
    assert fits(When(codes=(str(sent),)), Failure(body={"error": {"code": sent}}))


def test_a_part_of_a_code_fits():
    """Of a code that is put together, each part is one too."""
    error = Failure(body={"error": {"code": "AllocationQuota.FreeTierOnly"}})
    assert fits(When(codes=("free_tier_only",)), error)
    assert fits(When(codes=("AllocationQuota.FreeTierOnly",)), error)
    assert not fits(When(codes=("free_tier",)), error)


@pytest.mark.parametrize("name", ["OSError", "builtins.OSError", "ConnectionResetError"])
def test_types_fit_by_any_name_of_the_class_or_its_bases(name):
    """A class is asked for by its bare name or behind its package, and subclasses fit."""
    assert fits(When(types=(name,)), ConnectionResetError())
    assert not fits(When(types=(name,)), ValueError())


def test_causes_fit_on_what_stands_behind():
    """`causes` looks at the exception and at all behind it, `types` only at itself."""
    assert fits(When(causes=("KeyError",)), ValueError(), KeyError())
    assert fits(When(causes=("KeyError",)), KeyError())
    assert not fits(When(types=("KeyError",)), ValueError(), KeyError())


def test_a_whole_package_fits():
    """`httpx.*` is whatever comes from that package, deep or subclassed."""
    base = type("TransportError", (Exception,), {"__module__": "httpx._exceptions"})
    own = type("Ours", (base,), {"__module__": "ours"})
    assert fits(When(types=("httpx.*",)), own())
    assert not fits(When(types=("httpx.*",)), Failure())


def test_words_fit_in_the_message_and_in_the_class_name():
    """Phrases are looked for in the message and in the spelled-out class name, in any case."""
    assert fits(When(words=("Warming Up",)), Failure("the model is WARMING up"))
    assert fits(When(words=("warming up",)), type("ModelWarmingUp", (Exception,), {})())
    assert not fits(When(words=("warming up",)), Failure("the model is cold"))


def test_words_are_not_looked_for_in_the_class_name_of_an_answer():
    """Where there is a status, the name that an SDK gave its class for it is no news."""
    slow = type("RateLimitError", (Exception,), {})("no")
    assert fits(When(words=("rate limit",)), slow)
    slow.status_code = 401
    assert not fits(When(words=("rate limit",)), slow)


def test_words_fit_in_what_the_body_says():
    """Sentences and codes of the body are read for phrases."""
    assert fits(When(words=("warming up",)), Failure(body={"error": {"message": "The model is warming-up."}}))
    assert fits(When(words=("warming up",)), Failure(body={"error": {"code": "model_warming_up"}}))


@pytest.mark.parametrize(
    ("phrase", "text", "expected"),
    [
        ("rate limit", "Rate-Limit!", True),
        ("rate limit", "(rate_limit)", True),
        ("rate limit", "the rate limits", False),
        ("rate limit", "corporate limit", False),
        ("rate limit", "rate of the limit", False),
        ("exceed*", "quota exceeded", True),
        ("exceed*", "exceed", True),
        ("exceed*", "exceeding it", True),
        ("exceed*", "the excess", False),
        ("exceed*", "unexceeded", False),
        ("quota exceed*", "the quota exceeds it", True),
        ("isn't ready", "the model isn’t ready", True),
        ("isn’t ready", "the model isn't ready", True),
        ("余额不足", "账户余额不足，请充值", True),
        ("余额不足", "余额充足", False),
        ("模型 gpt", "模型gpt-4o不存在", True),
        ("并发*", "请求并发过高", True),
        ("限", "已达到速率限制", True),
    ],
)
def test_phrases_are_whole_words_unless_their_end_is_open(phrase, text, expected):
    """Whole words, open at the end behind a `*`; Chinese is found anywhere, as it has no blanks."""
    assert fits(When(words=(phrase,)), Failure(text)) is expected


@pytest.mark.parametrize("phrase", ["", " ", "?!", "*", "，。"])
@pytest.mark.parametrize("name", ["words", "also", "unless"])
def test_a_phrase_without_a_word_is_refused(name, phrase):
    """It would fit every text: that is a ValueError that shows the phrase."""
    with pytest.raises(ValueError, match="has no word in it"):
        When(**{"status": 400, name: (phrase,)})


@pytest.mark.parametrize("phrase", ["a*", "cap*", "rate lim*", "too*"])
@pytest.mark.parametrize("name", ["words", "also", "unless"])
def test_an_open_end_needs_four_letters(name, phrase):
    """`cap*` would fit half of all words: that is a ValueError that says what to write."""
    with pytest.raises(ValueError, match="at least 4 letters"):
        When(**{"status": 400, name: (phrase,)})


def test_four_letters_may_have_an_open_end():
    """Four are enough."""
    assert fits(When(words=("rate limi*",)), Failure("rate limited"))


def test_also_asks_for_a_second_phrase():
    """`also` narrows: one of its phrases has to be there besides."""
    when = When(words=("per day", "daily"), also=("limit", "quota*"))
    assert fits(when, Failure("the daily limit"))
    assert fits(when, Failure("quotas are per day"))
    assert not fits(when, Failure("the daily news"))
    assert not fits(when, Failure("the limit"))


def test_unless_asks_for_what_is_not_said():
    """None of the phrases of `unless` may be there."""
    when = When(words=("suspended",), unless=("temporar*", "model"))
    assert fits(when, Failure("your account is suspended"))
    assert not fits(when, Failure("your account is temporarily suspended"))
    assert not fits(when, Failure("the model was suspended"))


def test_also_and_unless_may_stand_alone():
    """They are conditions like the others."""
    assert fits(When(also=("limit",)), Failure("the limit"))
    assert not fits(When(also=("limit",)), Failure("no"))
    assert fits(When(unless=("limit",)), Failure("no"))
    assert not fits(When(unless=("limit",)), Failure("the limit"))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("x-should-retry", True),
        ("X-Should-Retry", True),
        ("x-should-retry: false", True),
        ("X-Should-Retry:FALSE", True),
        ("x-should-retry: true", False),
        ("x-other", False),
    ],
)
def test_headers_fit_by_name_or_by_name_and_value(asked, expected):
    """A header is asked for, or a header with that value; case does not matter."""
    when = When(headers=(asked,))
    assert fits(when, Failure(headers={"X-Should-Retry": "False"})) is expected
    assert fits(when, Failure(response=Failure(headers={"x-should-retry": "false"}))) is expected
    assert not fits(when, Failure())


def test_error_numbers_fit():
    """A system's error number is asked for as in `errno`."""
    assert fits(When(errnos=(errno.ENOSPC,)), OSError(errno.ENOSPC, "full"))
    assert not fits(When(errnos=(errno.ENOSPC,)), OSError(errno.EAGAIN, "again"))


@pytest.mark.parametrize("outside", [True, False])
def test_outside_asks_where_it_came_from(outside):
    """`outside` tells an answer's or the system's failure from the program's own."""
    assert fits(When(outside=outside), OSError()) is outside
    assert fits(When(outside=outside), ValueError()) is not outside


def test_every_condition_has_to_fit():
    """Conditions narrow: all of them have to be met."""
    when = When(status=400, words=("warming up",))
    assert fits(when, Failure("warming up", status_code=400))
    assert not fits(when, Failure("warming up", status_code=401))
    assert not fits(when, Failure("no", status_code=400))


@pytest.mark.parametrize("given", [{}, {"codes": ()}, {"status": None}])
def test_a_when_that_asks_for_nothing_is_refused(given):
    """A row without a condition would fit everything: that is a ValueError."""
    with pytest.raises(ValueError, match="asks for nothing"):
        When(**given)


@pytest.mark.parametrize("name", ["codes", "types", "causes", "words", "also", "unless", "headers"])
def test_a_bare_string_is_refused_with_what_to_write(name):
    """A string where a tuple is due is a TypeError that shows the tuple."""
    with pytest.raises(TypeError, match=rf"{name} takes a tuple.*\('overloaded',\)"):
        When(**{name: "overloaded"})


@pytest.mark.parametrize("name", ["codes", "types", "causes", "words", "also", "unless", "headers"])
@pytest.mark.parametrize("given", [["overloaded"], (5,), (b"overloaded",), None, 5], ids=repr)
def test_texts_are_a_tuple_of_strings(name, given):
    """What is none would fit nothing, or fail when a failure is judged."""
    with pytest.raises(TypeError, match=f"{name} takes a tuple of strings"):
        When(**{name: given})


@pytest.mark.parametrize("name", ["types", "causes"])
def test_a_class_in_place_of_its_name_is_refused_with_what_to_write(name):
    """Classes are asked for by name: the class itself could never fit."""
    with pytest.raises(TypeError, match="write 'Failure'"):
        When(**{name: (Failure,)})


@pytest.mark.parametrize("given", [28, ("28",), [28], (True,), None], ids=repr)
def test_error_numbers_are_a_tuple_of_numbers(given):
    """A number alone would raise in place of the failure that is judged."""
    with pytest.raises(TypeError, match="errnos takes a tuple of numbers"):
        When(errnos=given)


@pytest.mark.parametrize("given", ["no", 0, ()], ids=repr)
def test_outside_is_true_false_or_not_asked(given):
    """Anything else would fit nothing."""
    with pytest.raises(TypeError, match="outside must be True, False or None"):
        When(outside=given)


@pytest.mark.parametrize("status", ["400", ("400",), (429, "503"), 4.5, b"400", True, [None]], ids=repr)
def test_a_status_that_is_no_number_is_refused(status):
    """It would fit nothing, and look like a condition."""
    with pytest.raises(TypeError, match="status takes HTTP statuses as numbers"):
        When(status=status)


VALUES = {
    "status": st.sampled_from([400, (429, 503), range(500, 600)]),
    "codes": st.sampled_from([("busy",), ("slow", "Busy")]),
    "types": st.sampled_from([("Failure",), ("OSError", "KeyError")]),
    "causes": st.sampled_from([("Failure",), ("OSError",)]),
    "words": st.sampled_from([("rate limit",), ("exceed*", "并发")]),
    "also": st.sampled_from([("quota",), ("token*",)]),
    "unless": st.sampled_from([("model",), ("rate limit",)]),
    "headers": st.sampled_from([("x-a",), ("x-a: 1",)]),
    "errnos": st.sampled_from([(28,), (11, 12)]),
    "outside": st.booleans(),
}
WHENS = st.fixed_dictionaries({}, optional=VALUES).filter(bool).map(lambda asked: When(**asked))
ERRORS = st.builds(
    lambda text, shown: Failure(text, **shown),
    st.lists(st.sampled_from(["rate limit", "exceeded", "quota", "tokens", "model", "并发"]), max_size=4).map(" ".join),
    st.fixed_dictionaries(
        {},
        optional={
            "status_code": st.sampled_from([400, 429, 500, 503]),
            "code": st.sampled_from(["busy", "SLOW"]),
            "headers": st.sampled_from([{"X-A": "1"}, {"x-a": "2"}]),
        },
    ),
) | st.sampled_from([OSError(28, "full"), OSError(11, "again"), KeyError("x"), OSError("rate limit")])


@given(WHENS, ERRORS)
def test_what_fits_misses_nothing(when, error):
    """A row fits exactly where no condition is missing, and what is missing was asked for."""
    missing = when.missing(seen(error, OSError()))
    assert when.fits(seen(error, OSError())) is (missing == ())
    assert set(missing) <= set(when.asked())


@given(WHENS, ERRORS)
def test_a_row_fits_where_each_of_its_conditions_does(when, error):
    """Several conditions are the same as each of them alone."""
    alone = [When(**{name: getattr(when, name)}).fits(seen(error)) for name in when.asked()]
    assert when.fits(seen(error)) is all(alone)


def test_its_repr_shows_what_is_asked_for_only():
    """A When prints its conditions and nothing else."""
    assert repr(When(status=429, codes=("X",))) == "When(status=(429,), codes=('x',))"


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda when: pickle.loads(pickle.dumps(when))])
def test_a_when_survives_pickle_and_copies(way):
    """What comes out asks for the same, also where phrases were prepared."""
    when = When(words=("exceed*",), also=("quota",), unless=("model",))
    assert way(when) == when
    assert fits(way(when), Failure("quota exceeded"))
    assert not fits(way(when), Failure("model quota exceeded"))


def test_a_when_can_be_replaced_in_part():
    """`dataclasses.replace` gives a row that asks for the new phrases."""
    when = dataclasses.replace(When(words=("exceed*",)), words=("overload*",))
    assert fits(when, Failure("overloaded"))
    assert not fits(when, Failure("exceeded"))


# Rule


RULE = Rule("ours/busy", when=When(status=400), then=ErrorType.RETRYABLE, because="it says so", at_most=2)


def test_a_rules_verdict_may_be_given_as_text():
    """`then="fatal"` means ErrorType.FATAL, and nonsense is refused."""
    assert Rule("a/b", when=When(status=400), then="fatal", because="so").then is ErrorType.FATAL
    with pytest.raises(ValueError, match="perhaps"):
        Rule("a/b", when=When(status=400), then="perhaps", because="so")


@pytest.mark.parametrize("given", [{"name": ""}, {"because": ""}])
def test_a_rule_needs_a_name_and_a_reason(given):
    """People will read both: without one it is a ValueError."""
    with pytest.raises(ValueError, match="name and a because"):
        dataclasses.replace(RULE, **given)


@pytest.mark.parametrize(("at_most", "error"), [(-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_a_limit_that_is_none_is_refused(at_most, error):
    """`at_most` counts retries: it names itself when it is no count."""
    with pytest.raises(error, match="^at_most"):  # noqa: RUF043
        dataclasses.replace(RULE, at_most=at_most)


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda rule: pickle.loads(pickle.dumps(rule))])
def test_rules_survive_pickle_and_copies(way):
    """A rule comes out as it was, so a classifier can be sent to a worker."""
    assert way(RULE) == RULE


def test_rules_cannot_be_changed():
    """A row is frozen."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        RULE.name = "other"
