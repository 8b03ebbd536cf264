"""Many processes at the same moment: one of them gets a session, and none waits for another's disk."""

import json

import pytest

from resilient_agent import interrupted_sessions

RACERS = 8

RACE = """
import asyncio, json, os, signal, sys
from resilient_agent import SessionBusy, session_guard

folder, racers, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

def wait_for(barrier):
    assert os.read(barrier, 1) == b""  # the starter has closed it, for all in the same moment

def race(number, turn, ready, start, told, release):
    def tell(outcome):
        os.write(told, f"{outcome}\\n".encode())

    def hold(count):
        tell(f"won {count}")
        wait_for(release)
        if turn % 2:
            os.kill(os.getpid(), signal.SIGKILL)
        raise LookupError("so that it stays")

    def guard():
        return session_guard("ticket-42", store=folder, max_resumes=None)

    def in_plain_code():
        wait_for(start)
        with guard() as session:
            session.append({"turn": turn})
            hold(len(session.messages))

    async def in_a_coroutine():
        wait_for(start)
        async with guard() as session:
            await session.append({"turn": turn})
            hold(len(session.messages))

    os.write(ready, b".")
    try:
        in_plain_code() if number % 2 else asyncio.run(in_a_coroutine())
    except SessionBusy:
        tell("busy")
    except LookupError:
        pass
    except BaseException as error:
        tell(repr(error))

def told_by_all(told):
    said = b""
    while said.count(b"\\n") < racers:
        more = os.read(told, 65536)
        assert more
        said += more
    return said.decode().splitlines()

with session_guard("warm", store=folder) as session:
    session.append({})
asyncio.run(asyncio.sleep(0))
for turn in range(rounds):
    (is_ready, ready), (start, start_it), (is_told, told), (release, release_it) = (os.pipe() for _ in range(4))
    children = []
    for number in range(racers):
        children.append(os.fork())
        if children[-1] == 0:
            try:
                os.close(start_it)
                os.close(release_it)
                race(number, turn, ready, start, told, release)
            finally:
                os._exit(0)
    seen = 0
    while seen < racers:
        seen += len(os.read(is_ready, racers))
    os.close(start_it)
    outcomes = told_by_all(is_told)
    os.close(release_it)
    for child in children:
        os.waitpid(child, 0)
    for fd in (is_ready, ready, start, is_told, told, release):
        os.close(fd)
    print(json.dumps(outcomes), flush=True)
"""


@pytest.mark.parametrize("rounds", [40, pytest.param(500, marks=pytest.mark.long)], ids=lambda count: f"{count} rounds")
def test_of_eight_processes_one_gets_an_interrupted_session(start, store, put, rounds):  # B12 B14 B34
    """The others are told at once that it is busy; what each winner saved is there, marked or killed as it was."""
    put("ticket-42", {"turn": -1})
    process = start(RACE, store.folder, RACERS, rounds)
    won = busy = 0
    for turn in range(rounds):
        outcomes = sorted(json.loads(process.stdout.readline()))
        assert outcomes == ["busy"] * (RACERS - 1) + [f"won {turn + 2}"]
        won += 1
        busy += RACERS - 1
    assert process.wait(60) == 0
    history = store.read("ticket-42")
    assert [message["turn"] for message in history.messages] == list(range(-1, rounds))
    assert history.epoch == rounds + 1
    assert [found.session_id for found in interrupted_sessions(store)] == ["ticket-42"]
    print(f"\n  race: {rounds} rounds of {RACERS} processes, {won} won, {busy} refused")  # noqa: T201 - for -s


LATENCY = """
import json, os, sys, time
from resilient_agent import session_guard

folder, writers, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

def message(n):
    return {"role": "user", "content": f"{n}: " + "naïve words about an order, again and again. " * 20}

def by_hand(writer):
    fd = os.open(os.path.join(folder, f"raw-{writer}"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for n in range(count):
        begun = time.perf_counter()
        os.write(fd, json.dumps(message(n), ensure_ascii=False).encode() + b"\\n")
        os.fsync(fd)
        yield time.perf_counter() - begun

def by_guard(writer):
    with session_guard(f"writer-{writer}", store=folder, keep=True) as session:
        for n in range(count):
            begun = time.perf_counter()
            session.append(message(n))
            yield time.perf_counter() - begun

def in_all(way):
    # All writers at once; what each of their saves took.
    start, start_it = os.pipe()
    for writer in range(writers):
        if os.fork() == 0:
            try:
                os.close(start_it)
                os.read(start, 1)
                took = list(way(writer))
                with open(os.path.join(folder, f"took-{writer}"), "w") as file:
                    json.dump(took, file)
                os._exit(0)
            finally:
                os._exit(1)
    os.close(start_it)
    assert [os.wait()[1] for _ in range(writers)] == [0] * writers
    took = []
    for writer in range(writers):
        with open(os.path.join(folder, f"took-{writer}")) as file:
            took += json.load(file)
    return took

with session_guard("warm", store=folder) as session:
    session.append({})
print(json.dumps([in_all(by_hand), in_all(by_guard)]))
"""


@pytest.mark.long
def test_eight_processes_save_side_by_side(start, store):  # B1
    """1,000 messages of each are there; how long a save took is told beside a bare append and fsync, with -s."""
    process = start(LATENCY, store.folder, RACERS, 1_000)
    by_hand, by_guard = json.loads(process.stdout.readline())
    for name, took in {"append + fsync by hand": by_hand, "session.append": by_guard}.items():
        took.sort()
        at = [took[len(took) // 2], took[len(took) * 99 // 100], took[-1]]
        p50, p99, most = (f"{1000 * seconds:.2f} ms" for seconds in at)
        print(f"\n  {name}, {RACERS} processes x 1,000: p50 {p50}, p99 {p99}, max {most}")  # noqa: T201 - for -s
    for writer in range(RACERS):
        messages = store.read(f"writer-{writer}").messages
        assert [int(message["content"].partition(":")[0]) for message in messages] == list(range(1_000))
