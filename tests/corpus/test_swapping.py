"""What is accidental in a failure decides nothing: other ids, counts, hosts and models give the same judgement."""

import pytest

from resilient_agent import ErrorClassifier

TOO_MUCH = "Limit 8000, Used 0, Requested 10139. Please try again in 1m5.4s. (request req_011CYML8JoHxj7WEjBuPjSsh)"
ACCIDENTS = [
    "req_011CYML8JoHxj7WEjBuPjSsh",
    "org-VDAWofJASuLH0vVz8o9tiQZr",
    "6d1c9a52-70be-4e1f-9c38-b1f4a2d7e935",
    "https://api.openai.com:8443/v1",
    "10.0.3.4:27017",
    "the model gpt-4o-mini.",
    "prompt is too long: 208503 tokens",
]
ESSENCE = [
    "try again in 36.429760048s",
    "Error code: 429 - {'code': 40001}",
    "context window exceeds limit (2013)",
    "retry after 60000 ms, you have used all tokens",
    "You will regain access on 2026-10-01",
    "x-ratelimit-reset: 1741305600000",
]


def test_other_ids_counts_hosts_and_models_change_nothing(corpus, helper, swap_row):
    """The same failure on another day, of another user and through another host, is judged the same."""
    classifier = ErrorClassifier()
    before, other = corpus.build(swap_row), helper("swapping").error(swap_row)
    said, now = classifier.classify(before), classifier.classify(other)
    assert (now.error_type, now.retry_after) == (said.error_type, said.retry_after), (
        f"{swap_row['id']}: {said.rule} became {now.rule}\n{before}\n{other}"
    )


@pytest.mark.parametrize("text", ACCIDENTS)
def test_what_is_accidental_is_swapped(helper, text):
    """Ids, addresses, models and counts become others, and the same ones in every run."""
    swapped = helper("swapping").swapped({"id": "a-row", "body": {"message": text}})["body"]["message"]
    assert swapped != text
    assert helper("swapping").swapped({"id": "a-row", "body": {"message": text}})["body"]["message"] == swapped


@pytest.mark.parametrize("text", ESSENCE)
def test_what_is_said_stays(helper, text):
    """Waits, codes and dates are what the failure is about, and stay."""
    assert helper("swapping").swapped({"id": "a-row", "message": text})["message"] == text


@pytest.mark.parametrize("row_id", ["a", "b", "c", "d", "e"])
def test_what_is_over_a_limit_stays_over_it(helper, row_id):
    """Counts move together: the request is above the limit afterwards as before, and the wait is as it was."""
    words = helper("swapping").swapped({"id": row_id, "message": TOO_MUCH})["message"].replace(",", "").split()
    limit, requested = (int(words[words.index(name) + 1].strip(".")) for name in ("Limit", "Requested"))
    assert (limit, requested) != (8000, 10139)
    assert requested > limit
    assert "1m5.4s." in words
