"""Which calls share a limit, and for how long what was learned about it is kept."""

import copy
import gc
import pickle
import threading

import pytest

from resilient_agent.gates.pacer import Lane, Pacer


def met_a_limit(pacer, key=None, *, at=0.0, wait=1.0):
    """The key's lane, after somebody was refused there."""
    lane = pacer.lane(key, 0.0)
    ticket = lane.ticket()
    lane.limited(ticket, at, wait)
    lane.leave(ticket, at)
    return lane


def test_a_pacer_begins_idle():
    """Nothing was met, and nobody is held up."""
    pacer = Pacer(name="gpt-4o")
    assert not pacer.active
    assert pacer.name == "gpt-4o"
    assert repr(pacer) == "<Pacer 'gpt-4o': idle>"
    assert repr(Pacer()) == "<Pacer: idle>"


def test_calls_with_one_key_share_a_lane():
    """Also those without a key; different keys know nothing of each other."""
    pacer = Pacer()
    lanes = [pacer.lane(key, 0.0) for key in (None, None, "a", "a", "b")]
    assert lanes[0] is lanes[1]
    assert lanes[2] is lanes[3]
    assert len({id(lane) for lane in lanes}) == 3
    met_a_limit(pacer, "a")
    assert [lane.active for lane in lanes] == [False, False, True, True, False]


def test_it_is_active_while_one_of_its_lanes_is():
    """One look tells whether anybody has to ask."""
    pacer = Pacer()
    lane = met_a_limit(pacer, "a")
    other = met_a_limit(pacer, "b", at=50.0)
    assert pacer.active
    lane.ask(lane.ticket(), 65.0)
    assert pacer.active
    other.ask(other.ticket(), 120.0)
    assert not pacer.active


def test_what_was_learned_stays_while_nobody_holds_the_lane():
    """Calls come and go; the limit is there for the next one."""
    pacer = Pacer()
    met_a_limit(pacer, "a", wait=5.0)
    gc.collect()
    assert pacer.lane("a", 1.0).floor(1.0) == 4.0


def test_a_million_keys_leave_nothing_behind():
    """An idle lane lives no longer than whoever holds it."""
    pacer = Pacer()
    for key in range(10_000):
        pacer.lane(key, 0.0)
    gc.collect()
    assert len(pacer._lanes) == 0


def test_lanes_that_were_quiet_for_long_are_let_go():
    """Though nobody ever comes to them again: whoever comes to another brings the time."""
    pacer = Pacer()
    for key in range(50):
        met_a_limit(pacer, key)
    pacer.lane("another", now=30.0)
    assert pacer.active
    pacer.lane("another", now=61.0)
    gc.collect()
    assert not pacer.active
    assert len(pacer._lanes) == 0


def test_thousands_of_lanes_are_not_looked_at_by_each_call(monkeypatch):
    """Whether one was quiet for long is asked once a second: of a thousand accounts at their limits each call was slow."""
    pacer = Pacer()
    for key in range(100):
        met_a_limit(pacer, key)
    looks, settle_down = [], Lane.settle_down
    monkeypatch.setattr(Lane, "settle_down", lambda lane, now: looks.append(now) or settle_down(lane, now))
    for number in range(300):
        pacer.lane(number, now=1.0 + number / 100)
    assert len(looks) <= 3 * 100


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda pacer: pickle.loads(pickle.dumps(pacer))])
def test_a_copy_has_learned_nothing(copied):
    """It has the name, and locks and lanes of its own."""
    pacer = Pacer(name="gpt-4o")
    met_a_limit(pacer)
    other = copied(pacer)
    assert other.name == "gpt-4o"
    assert not other.active
    assert other.lane(None, 0.0) is not pacer.lane(None, 0.0)


def test_it_says_what_it_has_learned():
    """Rate and how many wait, of the first few lanes."""
    pacer = Pacer(name="gpt-4o")
    lane = met_a_limit(pacer)
    lane.ask(lane.ticket(), 0.1)
    assert repr(pacer) == "<Pacer 'gpt-4o': 4 requests/s, 1 wait>"
    for key in range(5):
        met_a_limit(pacer, key)
    assert repr(pacer).endswith("; 3 more lanes>")


def test_a_name_is_words():
    """Anything else is a mistake of the caller's, and is said at once."""
    with pytest.raises(TypeError, match="name must be a str, not 5"):
        Pacer(name=5)


def test_threads_may_share_a_pacer():
    """Lanes wake and fall quiet in eight threads at once: nothing hangs, and in the end all are idle."""
    pacer = Pacer()

    def work(seed):
        for turn in range(200):
            met_a_limit(pacer, (seed + turn) % 5, at=float(turn))
            pacer.lane(turn % 7, now=float(turn))
            repr(pacer)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert pacer.active
    pacer.lane(None, now=1000.0)
    assert not pacer.active
