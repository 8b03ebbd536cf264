"""The examples do what they show, without configuration."""

import os
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
