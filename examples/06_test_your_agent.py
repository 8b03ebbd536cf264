"""Testing an agent of your own: a model that fails on a script, and waits that take no time.

python examples/06_test_your_agent.py        (or: pytest examples/06_test_your_agent.py)
"""

from __future__ import annotations

import contextlib

import openai

from resilient_agent import resilient
from resilient_agent.testing import FakeLLM, Reset, Status, no_waiting, switched_off


class Agent:
    """What is to be tested: it asks a model, and again where that is worth it."""

    def __init__(self, base_url: str) -> None:
        self.client = openai.OpenAI(base_url=base_url, api_key="none-needed", max_retries=0)

    @resilient(deadline=120)
    def ask(self, question: str) -> str:
        """The model's answer."""
        reply = self.client.chat.completions.create(model="any-model", messages=[{"role": "user", "content": question}])
        return reply.choices[0].message.content or ""


def test_it_waits_as_long_as_the_server_says() -> None:
    """Thirty seconds, and the test takes none."""
    with FakeLLM([Status(429, headers={"retry-after": "30"}), "because"]) as llm, no_waiting() as waits:
        assert Agent(llm.openai_base_url).ask("Why?") == "because"
        assert llm.request_count == 2
        assert 29.9 < waits.total < 34


def test_it_survives_a_broken_connection() -> None:
    """A reset is tried again."""
    with FakeLLM([Reset(), "because"]) as llm, no_waiting() as waits:
        assert Agent(llm.openai_base_url).ask("Why?") == "because"
        assert len(waits) == 1


def test_it_gives_up_before_its_deadline() -> None:
    """A wait of three minutes does not fit into two: the error comes out at once."""
    with FakeLLM([Status(429, headers={"retry-after": "110"}), Status(429, headers={"retry-after": "110"})]) as llm:
        with no_waiting() as waits:
            try:
                Agent(llm.openai_base_url).ask("Why?")
            except openai.RateLimitError as error:
                print("   ", *error.__notes__, sep="\n    ")
            else:
                raise AssertionError("it should have given up")
        assert waits.total < 120


def test_a_wrong_key_is_not_tried_again() -> None:
    """One request, no wait."""
    with FakeLLM([Status(401)]) as llm, no_waiting() as waits:
        with contextlib.suppress(openai.AuthenticationError):
            Agent(llm.openai_base_url).ask("Why?")
        assert (llm.request_count, waits) == (1, [])


def test_without_retries() -> None:
    """Switched off, the failure itself is seen."""
    with FakeLLM([Status(503)]) as llm, switched_off():
        with contextlib.suppress(openai.InternalServerError):
            Agent(llm.openai_base_url).ask("Why?")
        assert llm.request_count == 1


if __name__ == "__main__":
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            test()
            print("passed:", name)
