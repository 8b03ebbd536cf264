"""Texts made comparable: the same to a reader, the same string."""

# ruff: noqa: RUF001 - Chinese marks and curly quotes are what is tested

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resilient_agent.classify.words import parts, plain, snake, stems

WORDS = st.text(st.sampled_from("abcdefgXYZ019 _-./'’模型不存在é，。\u3000"), max_size=30)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Rate-limit reached (TPM): 'try again' in 4.7s", "rate limit reached tpm try again in 4 7s"),
        ("  Too   MANY\n\trequests!  ", "too many requests"),
        ("rate_limit_exceeded", "rate limit exceeded"),
        ("the model isn’t “ready”", "the model isn t ready"),
        ('the model isn\'t "ready"', "the model isn t ready"),
        ("overloaded… wait – then retry — later", "overloaded wait then retry later"),
        ("模型gpt-4o不存在，请检查", "模型 gpt 4o 不存在 请检查"),
        ("余额不足！（请充值）", "余额不足 请充值"),
        ("请\u3000稍后\xa0再试", "请 稍后 再试"),
        ("", ""),
        ("?!.,;:", ""),
        ("，。！？", ""),
    ],
)
def test_a_sentence_becomes_its_words(text, expected):
    """Case, punctuation, the kind of an apostrophe and of a blank are gone; Chinese stands alone."""
    assert plain(text) == expected


@given(st.text(max_size=80))
@example("İstanbul K模Σ")
@example("\x1f\x85\u2028a")
def test_plain_words_are_plain_already(text):
    """Making plain what is plain changes nothing."""
    assert plain(plain(text)) == plain(text)


@given(st.text(max_size=80))
def test_plain_words_stand_between_single_blanks(text):
    """No blank at the ends, none doubled, no other kind of blank, no capital and no ASCII punctuation."""
    words = plain(text)
    assert words == " ".join(words.split())
    assert all(letter.isalnum() or letter == " " for letter in words if letter.isascii())
    assert not any("A" <= letter <= "Z" for letter in words)


@given(st.text(st.characters(max_codepoint=127), max_size=40), st.text(st.characters(max_codepoint=127), max_size=40))
def test_case_and_punctuation_tell_nothing(one, other):
    """Sentences that differ in case and in what stands between the words are the same."""
    assert plain(f"{one.upper()} {other}") == plain(f"{one.lower()}, ({other})")


@pytest.mark.parametrize(
    "code",
    [
        "RateLimitExceeded",
        "rateLimitExceeded",
        "rate_limit_exceeded",
        "RATE_LIMIT_EXCEEDED",
        "rate-limit-exceeded",
        "Rate limit exceeded",
    ],
)
def test_a_code_has_one_style(code):
    """However a provider writes its identifiers, they come out in one style."""
    assert snake(code) == "rate_limit_exceeded"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("HTTPError", "http_error"),
        ("40P01", "40p01"),
        ("1113", "1113"),
        ("-32603", "32603"),
        ("", ""),
        ("余额不足", "余额不足"),
    ],
)
def test_abbreviations_and_numbers_stay_in_one_piece(code, expected):
    """A run of capitals is one word, and digits stay with their letters."""
    assert snake(code) == expected


@given(st.text(max_size=60))
def test_one_style_is_in_one_style_already(code):
    """Styling a code twice changes nothing."""
    assert snake(snake(code)) == snake(code)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("AllocationQuota.FreeTierOnly", ("allocation_quota_free_tier_only", "allocation_quota", "free_tier_only")),
        (
            "com.amazon#ThrottlingException",
            ("com_amazon_throttling_exception", "com", "amazon", "throttling_exception"),
        ),
        ("api/error:429", ("api_error_429", "api", "error", "429")),
        ("insufficient_quota", ("insufficient_quota",)),
        ("", ()),
    ],
)
def test_a_code_that_is_put_together_is_known_by_its_parts(code, expected):
    """The whole comes first, then each part; a plain code is itself."""
    assert parts(code) == expected


@given(st.text(max_size=60))
@example("...")
@example("!")
@example("a..b")
def test_a_code_has_no_empty_parts(code):
    """Where there is no letter, there is no code."""
    assert all(parts(code))


@given(st.text(max_size=60))
def test_the_parts_begin_with_the_whole(code):
    """A code in one style is always among its parts."""
    found = parts(code)
    assert found[:1] == ((snake(code),) if snake(code) else ())


def test_stems_are_the_first_four_letters_of_each_word():
    """A phrase is filed under how its words begin."""
    assert stems("rate limit exceeded") == {"rate", "limi", "exce"}
    assert stems("") == frozenset()


@given(WORDS, WORDS, WORDS)
def test_a_phrase_in_a_text_has_no_stem_that_the_text_has_not(before, phrase, after):
    """What stands in a text as whole words is found by the stems of that text."""
    phrase = plain(phrase)
    assert stems(phrase) <= stems(plain(f"{before} {phrase} {after}"))
