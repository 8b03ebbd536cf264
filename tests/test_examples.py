"""The examples do what they show, without configuration."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENAI_")}
    return subprocess.run(
        [sys.executable, str(EXAMPLES / name)], env=environment, capture_output=True, text=True, timeout=120
    )


def test_one_decorator_answers_after_three_failures():
    """The first example waits out a limit, an overload and a cut connection."""
    ran = run("01_one_decorator.py")
    assert ran.returncode == 0, ran.stderr
    assert "Because it scatters blue most." in ran.stdout
    assert "4 attempts" in ran.stdout


def crash_and_resume():
    ran = run("02_crash_and_resume.py")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "kills itself with SIGKILL" in ran.stdout
    assert "found interrupted: support/ticket-42" in ran.stdout
    assert "15 attempts were made, 6 failed" in ran.stdout
    assert "The server counted 15 requests." in ran.stdout


def test_the_main_job_survives_its_own_kill():
    """The agent dies in mid-turn, is found, resumed, and ends with a whole history."""
    crash_and_resume()


@pytest.mark.long
def test_the_main_job_survives_ten_times_in_a_row():
    """Ten runs of the main job end well."""
    for _ in range(10):
        crash_and_resume()


def test_a_stream_is_resumed_or_says_what_was_delivered():
    """The text is whole after two cuts; without `resume=` the five words are on the error."""
    ran = run("03_streaming.py")
    assert ran.returncode == 0, ran.stderr
    assert "The sky is blue because air scatters blue light most." in ran.stdout
    assert "(3 requests)" in ran.stdout
    assert "delivered: 'The sky is blue because'" in ran.stdout


def test_a_ladder_ends_at_the_rung_that_can():
    """A shorter prompt is tried, then a larger model; no rung is tried for an account without credit."""
    ran = run("04_fallback_ladder.py")
    assert ran.returncode == 0, ran.stderr
    assert "100 letters: small-model has read 100 letters." in ran.stdout
    assert "5000 letters: large-model has read 5000 letters." in ran.stdout
    assert "answered by fallback 'large model'" in ran.stdout
    assert "no credit: RateLimitError, no fallback" in ran.stdout


def test_a_batch_keeps_to_the_limit():
    """Three hundred calls, none lost, few refused."""
    ran = run("05_batch_through_one_pacer.py")
    assert ran.returncode == 0, ran.stderr
    assert "of 300 done" in ran.stdout
    assert "0 lost" in ran.stdout
    wasted = float(re.search(r"([\d.]+) requests wasted per call", ran.stdout)[1])
    assert wasted < 0.5


def test_an_agents_tests_pass():
    """Each of them, and none waits."""
    ran = run("06_test_your_agent.py")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("passed: ") == 5
