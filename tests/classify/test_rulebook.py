"""The index changes nothing but the time: its answer is that of asking every rule in turn."""

# ruff: noqa: RUF001 - Chinese marks and curly quotes are what is tested

import copy
import pickle
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_agent import ErrorType, Rule, When
from resilient_agent.classify.evidence import Evidence
from resilient_agent.classify.knowledge import EXACT, WIDE
from resilient_agent.classify.rulebook import Rulebook


class Failure(Exception):
    def __init__(self, message="failed", **shown):
        super().__init__(message)
        self.__dict__.update(shown)


class RateLimitError(Failure):
    pass


class Timeout(Failure, TimeoutError):
    pass


def rule(name="ours/x", then=ErrorType.RETRYABLE, **asked):
    return Rule(name, When(**asked), then, because="so it is")


def in_turn(rules, error):
    """The answer that the index has to give."""
    return next((one for one in rules if one.when.fits(Evidence(error))), None)


# Random rules and random errors of a small world, in which they often meet.

PHRASES = (
    *("rate limit", "rate", "limit", "limit exceed*", "exceed*", "overload*", "the model", "model", "too many", "429"),
    *(
        "a",
        "to",
        "per day",
        "模型",
        "模型不存在",
        "余额不足",
        "并发*",
        "模型 gpt",
        "gpt 模型",
        "token 超",
        "isn't ready",
    ),
)
TEXTS = (
    *("rate", "limit", "Rate-Limit", "limits", "exceeded", "exceed", "excess", "overloaded!", "the", "model", "models"),
    *(
        "too",
        "many",
        "429",
        "a",
        "to",
        "per",
        "day",
        "模型",
        "模型不存在",
        "余额不足，",
        "请求并发过高",
        "模型gpt",
        "token超",
    ),
    *("isn’t", "ready", "GPT"),
)
CODES = ("busy", "RateLimit", "rate_limit", "slow.down", "1213", "余额不足")


def tuples(values):
    return st.lists(st.sampled_from(values), min_size=1, max_size=3, unique=True).map(tuple)


ASKED = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from([429, (400, 503), range(500, 600), frozenset({200, 503})]),
        "codes": tuples(CODES),
        "types": tuples(
            ["Failure", "RateLimitError", "TimeoutError", "OSError", "builtins.*", "KeyError", "Exception"]
        ),
        "causes": tuples(["OSError", "Failure"]),
        "words": tuples(PHRASES),
        "also": tuples(PHRASES),
        "unless": tuples(PHRASES),
        "headers": tuples(["x-a", "x-a: 1"]),
        "errnos": tuples([11, 28]),
        "outside": st.booleans(),
    },
).filter(bool)
RULES = st.lists(ASKED, max_size=12).map(
    lambda rows: [rule(f"ours/{place}", **asked) for place, asked in enumerate(rows)]
)
SHOWN = st.fixed_dictionaries(
    {},
    optional={
        "status_code": st.sampled_from([200, 400, 429, 503, 599]),
        "code": st.sampled_from(CODES),
        "body": st.fixed_dictionaries(
            {}, optional={"code": st.sampled_from(CODES), "message": st.lists(st.sampled_from(TEXTS)).map(" ".join)}
        ),
        "headers": st.sampled_from([{"X-A": "1"}, {"x-a": "2"}]),
    },
)
SAYING = st.lists(st.sampled_from(TEXTS), max_size=6).map(" ".join)
ERRORS = (
    st.builds(
        lambda kind, text, shown: kind(text, **shown),
        st.sampled_from([Failure, RateLimitError, Timeout]),
        SAYING,
        SHOWN,
    )
    | st.builds(lambda kind, text: kind(text), st.sampled_from([KeyError, TimeoutError, ValueError, Exception]), SAYING)
    | st.builds(OSError, st.sampled_from([11, 28, 110]), SAYING)
)


@settings(max_examples=250)
@given(RULES, ERRORS)
def test_the_book_answers_as_asking_every_rule_in_turn_would(rules, error):
    """For any rules and any failure the first that fits is found, and no other."""
    assert Rulebook(rules).first(Evidence(error)) is in_turn(rules, error)


@settings(max_examples=100)
@given(RULES, ERRORS)
def test_what_fits_is_among_the_candidates(rules, error):
    """No rule that fits is missing from those that may fit, and they stand in reading order."""
    candidates = Rulebook(rules).candidates(Evidence(error))
    places = [rules.index(one) for one in candidates]
    assert places == sorted(places)
    assert {one.name for one in rules if one.when.fits(Evidence(error))} <= {one.name for one in candidates}


@settings(max_examples=100)
@given(ERRORS)
@pytest.mark.parametrize("rows", [EXACT, WIDE], ids=["exact", "wide"])
def test_the_built_in_rows_are_found_as_asking_each_in_turn_would(rows, error):
    """The same for the rows of the library."""
    assert Rulebook(rows).first(Evidence(error)) is in_turn(rows, error)


@pytest.mark.parametrize("ending", ["", "s", " 模型", "!"])
def test_every_phrase_of_the_built_in_rows_leads_to_the_same_row(ending):
    """Each phrase, said by itself, said with a longer end or beside Chinese, is found as in turn."""
    for rows in (EXACT, WIDE):
        book = Rulebook(rows)
        for row in rows:
            for phrase in row.when.words:
                error = Failure(f"so {phrase.rstrip('*')}{ending}, it says")
                assert book.first(Evidence(error)) is in_turn(rows, error), phrase


def test_the_first_of_several_that_fit_decides():
    """Reading order decides, by whichever condition the rules are filed."""
    by_code, by_status = rule("a/code", codes=("busy",)), rule("a/status", status=503)
    by_word, by_class = rule("a/word", words=("slow",)), rule("a/class", types=("Failure",))
    error = Failure("slow", status_code=503, code="busy")
    rules = [by_code, by_status, by_word, by_class]
    for turn in range(4):
        order = rules[turn:] + rules[:turn]
        assert Rulebook(order).first(Evidence(error)) is order[0]


@pytest.mark.parametrize(
    ("phrase", "text", "expected"),
    [
        ("exceed*", "quota exceeded", True),
        ("exceed*", "exceed", True),
        ("exceed*", "unexceeded", False),
        ("rate limit*", "rate limiting", True),
        ("rate limit", "rate limiting", False),
        ("余额不足", "您的账户余额不足，请充值", True),
        ("模型gpt", "模型gpt-4o", True),
        ("并发*", "并发数过高", True),
        ("a day", "100 a day", True),
        ("a day", "a days", False),
    ],
)
def test_phrases_are_found_through_the_index(phrase, text, expected):
    """Open ends, short words and Chinese are found as they are without the index."""
    found = Rulebook([rule(words=(phrase,))]).first(Evidence(Failure(text)))
    assert (found is not None) is expected


def test_a_book_without_rules_has_no_answer():
    """Nothing fits where nothing is."""
    assert Rulebook(()).first(Evidence(Failure())) is None
    assert Rulebook(()).candidates(Evidence(Failure())) == ()


def test_classes_decide_alone_at_the_beginning_only():
    """Until the first rule that asks for more than classes and error numbers."""
    rules = [
        rule("a/1", types=("KeyError",)),
        rule("a/2", types=("OSError",), errnos=(28,)),
        rule("a/3", status=500),
        rule("a/4", types=("X",)),
    ]
    book = Rulebook(rules)
    assert [book.by_class_alone(one) for one in rules] == [True, True, False, False]


def test_where_a_class_alone_decides_no_text_is_read():
    """The message of a TypeError may be megabytes: it is not even made."""

    class Loud(TypeError):
        said = 0

        def __str__(self):
            Loud.said += 1
            return "rate limit"

    found = Rulebook(EXACT).first(Evidence(Loud()))
    assert found is not None
    assert found.then is ErrorType.NON_RETRYABLE
    assert Loud.said == 0


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda book: pickle.loads(pickle.dumps(book))])
def test_a_book_survives_pickle_and_copies(way):
    """What comes out answers alike."""
    book = way(Rulebook([rule(words=("exceed*",)), rule("ours/y", status=429)]))
    assert book.first(Evidence(Failure("exceeded"))).name == "ours/x"
    assert book.first(Evidence(Failure(status_code=429))).name == "ours/y"


def test_rules_may_come_from_a_generator():
    """They are read once and kept."""
    book = Rulebook(rule(f"ours/{number}", status=400 + number) for number in range(3))
    assert [one.name for one in book.rules] == ["ours/0", "ours/1", "ours/2"]


def test_ten_thousand_rules_are_asked_quickly():
    """A judgement looks at the few rules that may fit and not at all of them."""
    rules = [rule(f"ours/{n}", codes=(f"code_{n}",)) for n in range(5000)]
    rules += [rule(f"said/{n}", words=(f"phrase number{n}",)) for n in range(5000)]
    book, took = Rulebook(rules), []
    for _ in range(5):
        begun = time.process_time()
        found = book.first(Evidence(Failure("a phrase number4999 is said", code="code_17")))
        took.append(time.process_time() - begun)
        assert found is not None
        assert found.name == "ours/17"
    assert min(took) < 0.01
