"""Testing an agent of your own: a model that fails on a script, and waits that take no time.

    python examples/06_test_your_agent.py
    pytest examples/06_test_your_agent.py

Both run the same five tests; the first does without pytest. No key is needed.
"""

from __future__ import annotations

import logging

import openai

from resilient_agent import report_of, resilient
from resilient_agent.testing import FakeLLM, Reset, Status, Step, no_waiting, switched_off

# -- the agent: what is to be tested -----------------------------------------------------------------


class Agent:
    """Asks a model, and again where that is worth it, for at most two minutes."""

    def __init__(self, base_url: str) -> None:
        self.client = openai.OpenAI(base_url=base_url, api_key="none-needed", max_retries=0)

    @resilient(deadline=120)
    def ask(self, question: str) -> str:
        """The model's answer."""
        reply = self.client.chat.completions.create(model="any-model", messages=[{"role": "user", "content": question}])
        return reply.choices[0].message.content or ""


# -- its tests -----------------------------------------------------------------------------------------


def wait_asked(seconds: int) -> Step:
    return Status(429, headers={"retry-after": str(seconds)})


def failure(llm: FakeLLM) -> openai.APIError:
    """What the agent fails with; a test in which it answers does not pass."""
    try:
        answer = Agent(llm.openai_base_url).ask("Why?")
    except openai.APIError as error:
        return error
    raise AssertionError(f"it should have failed, but said {answer!r}")


def test_it_waits_as_long_as_the_server_says() -> None:
    """Thirty seconds and a little more; the test takes none."""
    with FakeLLM([wait_asked(30), "because"]) as llm, no_waiting() as waits:
        assert Agent(llm.openai_base_url).ask("Why?") == "because"
        assert llm.request_count == 2
        assert 29.9 < waits.total < 34


def test_it_survives_a_broken_connection() -> None:
    """A reset is tried again, after one wait."""
    with FakeLLM([Reset(), "because"]) as llm, no_waiting() as waits:
        assert Agent(llm.openai_base_url).ask("Why?") == "because"
        assert len(waits) == 1


def test_it_gives_up_before_its_deadline() -> None:
    """A second wait of 110 seconds does not fit into 120: it is not begun."""
    with FakeLLM([wait_asked(110), wait_asked(110), "too late"]) as llm, no_waiting() as waits:
        report = report_of(failure(llm))
        assert report is not None
        assert report.limit.startswith("deadline=120")
        assert waits.total < 120


def test_a_wrong_key_is_not_tried_again() -> None:
    """One request, no wait."""
    with FakeLLM([401, "not asked for"]) as llm, no_waiting() as waits:
        assert isinstance(failure(llm), openai.AuthenticationError)
        assert llm.request_count == 1
        assert waits == []


def test_without_retries() -> None:
    """Switched off, the first failure itself comes out."""
    with FakeLLM([503, "not asked for"]) as llm, switched_off():
        assert isinstance(failure(llm), openai.InternalServerError)
        assert llm.request_count == 1


if __name__ == "__main__":
    logging.getLogger("resilient_agent").setLevel(logging.CRITICAL)  # the failures are what is wanted here
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            test()
            print(f"passed: {name}: {test.__doc__}")
