"""Many processes want one interrupted session at the same moment: one gets it, the others are told so."""

import pytest

from resilient_agent import interrupted_sessions, session_guard

RACERS = 8
RACER = """
import sys
from resilient_agent import SessionBusy, session_guard
for line in sys.stdin:
    try:
        with session_guard("ticket-42", store=sys.argv[1], max_resumes=None) as session:
            print("won", len(session.messages))
            sys.stdin.readline()
            session.append({"n": len(session.messages)})
            raise LookupError
    except LookupError:
        print("left")
    except SessionBusy:
        print("busy")
"""


@pytest.mark.parametrize(
    "rounds", [20, pytest.param(500, marks=pytest.mark.long)], ids=lambda rounds: f"{rounds} rounds"
)
def test_of_eight_processes_exactly_one_wins_each_round(store, start, rounds):  # B34
    """The winner goes on with all that the winners before it saved; nobody else gets in, and nobody fails otherwise."""
    with pytest.raises(LookupError), session_guard("ticket-42", store=store):
        raise LookupError
    racers = [start(RACER, store.folder) for _ in range(RACERS)]
    winners = set()
    for number in range(rounds):
        for racer in racers:
            racer.stdin.write("go\n")
        for racer in racers:
            racer.stdin.flush()
        said = [racer.stdout.readline().strip() for racer in racers]
        assert sorted(said) == ["busy"] * (RACERS - 1) + [f"won {number}"]
        winner = racers[said.index(f"won {number}")]
        winners.add(winner.pid)
        winner.stdin.write("leave\n")
        winner.stdin.flush()
        assert winner.stdout.readline() == "left\n"
    (found,) = interrupted_sessions(store)
    assert found.message_count == rounds
    assert len(winners) > 1
