"""A fleet that goes on with sessions in a database, while its workers and the database are killed again and again.

Each worker tells a file what was acknowledged to it, and each effect leaves a line in a ledger outside of the
database; so in the end it can be said what was lost, doubled or done twice. The workers are forked from one
warmed-up process (the nursery), which holds the other end of their lifeline: when it goes, they go.
What all tests have counted together is told at the end; `-m long -s` shows it.
"""

import contextlib
import inspect
import json
import random
import signal
import time
from collections import Counter, defaultdict

import pytest
from plainly import Plain, never_waiting
from servers import PostgresServer, ValkeyServer

from resilient_agent import PostgresStore, RedisStore, session_guard

TTL = 1.2
PATIENCE = 0.5  # shorter than a lease, so that a worker is told that the server is away while the session is its own
LENGTH = 24  # messages of a session behind its prompt
WORKERS = 5
UNDER_WAY = 24  # sessions: more than the workers take at a time, as some wait for the lease of one that was killed
FORESEEN = {None, "SessionLost", "StoreUnavailable"}  # what workers may log; None for a warning without an exception
PROMPT = {"role": "user", "content": "Count, please."}

# -- what the workers say, which the tests know as well -------------------------------------------


def answer(n, result):
    return {"role": "assistant", "content": f'{n} is naïve, "so" to say\\\n' * (n % 7 + 1), "n": n, "result": result}


def note(n):
    """Big enough that the log of each session is compacted once."""
    return {"n": n, "text": f"{n} naïve " * 1_000}


def has_effect(n):
    return n % 3 == 1


def has_note(n):
    return n % 2 == 1


NURSERY = (
    "import asyncio, json, logging, os, random, signal, sys, threading, time, traceback\n"
    "from resilient_agent import OutcomeUnknown, SessionLost, StorageError, StoreUnavailable\n"
    "from resilient_agent import claim_interrupted, open_store, recover, session_guard\n\n"
    + "\n".join(map(inspect.getsource, (answer, note, has_effect, has_note, Plain, never_waiting)))
    + """
url, ttl, patience, folder, length = sys.argv[1], *map(float, sys.argv[2:4]), sys.argv[4], int(sys.argv[5])

def add_line(name, line):
    # With a newline before it as well: what a kill tore off must not spoil the next line.
    fd = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, f"\\n{line}\\n".encode())
    os.close(fd)

def tell(what, *more):
    add_line("told", json.dumps([os.getpid(), what, *more]))

class Logged(logging.Handler):
    def emit(self, record):
        error = record.exc_info and record.exc_info[0].__name__
        tell("logged", record.getMessage()[:1500], error)

async def pause(session, longest):
    seconds = random.uniform(0, longest)
    if isinstance(session, Plain):
        time.sleep(seconds)
    else:
        await asyncio.sleep(seconds)

async def stored(save, *args, **options):
    # A save that raised does not count, so that it may be made again; now and then somebody else has to.
    while True:
        try:
            return await save(*args, **options)
        except StoreUnavailable:
            tell("away")
            if random.random() < 0.3:
                raise

def executions(name, n):
    with open(os.path.join(folder, "ledger"), "a+") as ledger:
        ledger.seek(0)
        return [token for line in ledger if line.startswith(f"{name} {n} ") for token in line.split()[2:]]

def execute(name, n):
    token = f"{os.getpid()}-{random.getrandbits(64):x}"
    add_line("ledger", f"{name} {n} {token}")
    return token

def act(name, n):
    time.sleep(random.uniform(0, 0.02))
    token = execute(name, n)
    time.sleep(random.uniform(0, 0.02))
    return token

async def act_and_wait(name, n):
    await asyncio.sleep(random.uniform(0, 0.02))
    token = execute(name, n)
    await asyncio.sleep(random.uniform(0, 0.02))
    return token

def found_out(name, n):
    # Some effects whose outcome is unknown are left alone, of the others the ledger tells.
    if n % 2:
        return {"skip": True}
    took_place = executions(name, n)
    if took_place:
        return {"result": took_place[-1]}
    tell("rerun", name, n)
    return {"rerun": True}

async def result_of(session, name, n):
    key = f"effect-{n}"
    while True:
        try:
            return await stored(session.once, key, act if isinstance(session, Plain) else act_and_wait, name, n)
        except OutcomeUnknown:
            tell("unknown", name, n)
            await stored(session.resolve, key, **found_out(name, n))

async def go_on(session):
    name = session.session_id
    tell("entered", name)
    while (n := len(session.messages) - 1) < length:
        result = await result_of(session, name, n) if has_effect(n) else None
        await stored(session.append, answer(n, result))
        tell("saved", name, n)
        if has_note(n):
            await stored(session.set_extra, note(n))
            tell("noted", name, n)
        await pause(session, 0.04)
    tell("finished", name, session.messages, session.extra)

def telling(store):
    # Tells of each session that it removed.
    claim = store.claim

    def claim_and_tell(session_id, **options):
        log = claim(session_id, **options)
        remove = log.remove

        def remove_and_tell():
            remove()
            tell("removed", session_id)

        log.remove = remove_and_tell
        return log

    store.claim = claim_and_tell
    return store

def plainly(store):
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    while not stopping:
        try:
            guards = claim_interrupted(store, max_resumes=None)
            for guard in guards:
                with guard as session:
                    never_waiting(go_on(Plain(session)))
            if not guards:
                time.sleep(0.05)
        except (StorageError, SessionLost) as error:
            tell("logged", f"in plain code: {error}", type(error).__name__)

def work(face):
    random.seed()
    os.close(lifeline[1])
    threading.Thread(target=lambda: (os.read(lifeline[0], 1), os._exit(1)), daemon=True).start()
    if face == "plain":
        plainly(store)
    else:
        asyncio.run(recover(store, go_on, poll=0.05, concurrency=2, max_resumes=None))

def start(face):
    if pid := os.fork():
        return pid
    try:
        work(face)
        os._exit(0)
    except BaseException:
        tell("died", traceback.format_exc())
    finally:
        os._exit(1)

def send(pid, number):
    os.kill(pid, number)
    return 0

def end(pid, number):
    os.kill(pid, number)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

async def nothing():
    pass

logging.basicConfig(handlers=[Logged()], level=logging.WARNING)
lifeline = os.pipe()
store = open_store(url, ttl=ttl, patience=patience)
with session_guard("warm", store=store) as session:  # all is imported, and a connection lies open: a fork has its own
    session.once("warm", lambda: 1)
    session.append(answer(0, None))
asyncio.run(nothing())
telling(store)
while threading.active_count() > 1:  # a fork is for those who have one thread
    time.sleep(0.01)
for line in sys.stdin:
    order, *what = json.loads(line)
    print({"start": start, "send": send, "end": end}[order](*what), flush=True)
"""
)


class Fleet:
    """Workers over one server, and what they tell."""

    def __init__(self, nursery, server, folder, rng):
        self._nursery, self._server, self._rng = nursery, server, rng
        self._store = (PostgresStore if server.url.startswith("postgres") else RedisStore)(server.url)
        self._told = (folder / "told").open("rb")
        self._torn = b""
        self._ledger = folder / "ledger"
        self.workers = []
        self.sessions = defaultdict(list)  # what was told of each
        self.finished = set()
        self.logged = Counter()
        self.counted = Counter()

    # Its workers and its server

    def start(self):
        face = self._rng.choice(["plain", "recover"])
        self.workers.append(self._order("start", face))

    def kill(self):
        """Kill a worker, whatever it is doing, and start another."""
        victim = self.workers.pop(self._rng.randrange(len(self.workers)))
        self._end(victim, signal.SIGKILL, -signal.SIGKILL)
        self.counted["kills"] += 1
        self.start()

    def stop(self):
        """Let all workers come to a clean end."""
        for worker in self.workers:
            self._end(worker, signal.SIGTERM, 0)

    def stall(self):
        """Let a worker stand still, perhaps for so long that another takes its sessions; then it goes on."""
        worker = self._rng.choice(self.workers)
        self._order("send", worker, int(signal.SIGSTOP))
        self.counted["stalls"] += 1
        time.sleep(self._rng.uniform(0.5 * TTL, 1.5 * TTL))
        self._order("send", worker, int(signal.SIGCONT))

    def restart(self):
        """Kill the server while workers save, and start it again: before leases have run out, or after."""
        self.listen()
        self._until(lambda saved=self.counted["saved"]: self.counted["saved"] > saved, "a save")
        time.sleep(self._rng.uniform(0, 0.02))
        self._server.kill()
        self.counted["restarts"] += 1
        if self._rng.random() < 0.3:
            self.kill()
        time.sleep(self._rng.uniform(0, 1.5 * TTL))
        self._server.start()

    def _end(self, worker, number, expected):
        status = self._order("end", worker, int(number))
        self.listen()
        assert status == expected, f"a worker ended by itself; {self.logged}"

    def _order(self, *order):
        self._nursery.stdin.write(json.dumps(order) + "\n")
        return int(self._nursery.stdout.readline())

    # Its sessions

    def begin(self):
        """Begin sessions and leave them to the workers, so that there is always something to go on with."""
        self.listen()
        while self.counted["sessions"] - len(self.finished) < UNDER_WAY:
            name = f"session-{self.counted['sessions']}"
            with contextlib.suppress(LookupError), session_guard(name, store=self._store) as session:
                session.append(PROMPT)
                raise LookupError("so that it stays")
            self.counted["sessions"] += 1

    def until_all_is_done(self):
        self._until(lambda: not list(self._store.scan()), "the end of all sessions")
        assert self._store.due(1) == []

    def _until(self, there, what, within=120):
        until = time.monotonic() + within
        while not there():
            assert time.monotonic() < until, f"{what} was waited for in vain; {dict(self.counted)}; {self.logged}"
            time.sleep(0.02)
            self.listen()

    # What was told

    def listen(self):
        """Hear what was told since the last time."""
        *lines, self._torn = (self._torn + self._told.read()).split(b"\n")
        for line in filter(None, lines):
            try:
                _, what, *more = json.loads(line)
            except ValueError:  # a kill tore it off: what it should have told counts as not told
                self.counted["torn off"] += 1
                continue
            self._hear(what, *more)

    def _hear(self, what, *more):
        if what == "died":
            raise AssertionError(more[0])
        if what == "logged":
            self.logged[tuple(more)] += 1
        elif what == "away":
            self.counted["saves while the server was away"] += 1
        else:
            name, *said = more
            self.counted[what] += 1
            self.sessions[name].append((what, *said))
            if what == "finished":
                self.finished.add(name)

    def faults(self):
        """What is wrong with the sessions, all together; counts what is to be told of them."""
        executed, found = self._executed(), Counter()
        for number in range(self.counted["sessions"]):
            name = f"session-{number}"
            told = told_of(self.sessions[name])
            found += faults(told)
            for messages, _ in told["finished"][:1]:
                found += faults_of_effects(told, messages, executed[name], self.counted)
        self.counted["executions"] = sum(len(tokens) for effects in executed.values() for tokens in effects.values())
        return found

    def _executed(self):
        """The tokens of all executions, by session and number."""
        executed = defaultdict(lambda: defaultdict(list))
        for line in filter(None, self._ledger.read_text().split("\n")):
            name, n, token = line.split()
            executed[name][int(n)].append(token)
        return executed

    def summary(self, found):
        """All that was counted, for -s."""
        counted = ", ".join(f"{count:,} {what}" for what, count in sorted(self.counted.items()))
        logged = Counter(error or "warnings" for _, error in self.logged.elements())
        return f"\n  {self._store!r}: {counted}; logged: {dict(logged)}; wrong: {dict(found) or 'nothing'}"

    def close(self):
        self._told.close()


def told_of(lines):
    """What was told of a session, by what it is."""
    told = defaultdict(list)
    for what, *more in lines:
        told[what].append(more[0] if len(more) == 1 else tuple(more))
    return told


def faults(told):
    """What is wrong with the messages of a session, and with its end."""
    if not told["finished"]:
        return Counter({"never finished": 1})
    messages, extra = told["finished"][0]
    numbers = [message["n"] for message in messages[1:]]
    acknowledged, noted = Counter(told["saved"]), told["noted"]
    found = Counter(
        {
            "lost": len(acknowledged.keys() - set(numbers)),
            "doubled": len(numbers) - len(set(numbers)),
            "lost, and saved again": acknowledged.total() - len(acknowledged),
            "missing or out of order": numbers != list(range(LENGTH)),
            "altered": sum(one != answer(one["n"], one["result"]) for one in messages[1:]),
            "prompts altered": messages[0] != PROMPT,
            "notes lost": bool(noted) and extra.get("n", -1) < max(noted),
            "notes altered": extra not in ({}, note(extra.get("n", 0))),
            "other ends": sum(end != told["finished"][0] for end in told["finished"]),
            "removed twice": max(0, len(told["removed"]) - 1),
        }
    )
    return +found


def faults_of_effects(told, messages, executed, counted):
    """What is wrong with the effects of a session: each took place once, or was reported as unknown."""
    found = Counter()
    unknown, reruns = Counter(told["unknown"]), Counter(told["rerun"])
    for n in filter(has_effect, range(LENGTH)):
        tokens, result = executed[n], messages[n + 1]["result"]
        counted["effects"] += 1
        counted["effects reported unknown"] += n in unknown
        counted["of those done"] += n in unknown and bool(tokens)
        found["effects done too often"] += max(0, len(tokens) - 1 - reruns[n])
        found["effects missing"] += not tokens and n not in unknown
        found["results made up"] += result not in tokens and not (result is None and n in unknown)
    return +found


SERVERS = {"postgres": PostgresServer, "valkey": ValkeyServer}


@pytest.fixture(params=SERVERS)
def server(request):
    """A server of this test's own, as it is killed; Valkey with appendfsync always."""
    with SERVERS[request.param]() as server:
        yield server


@pytest.fixture
def fleet(server, start, tmp_path, rng):
    (tmp_path / "told").touch()
    nursery = start(NURSERY, server.url, TTL, PATIENCE, tmp_path, LENGTH)
    fleet = Fleet(nursery, server, tmp_path, rng)
    yield fleet
    fleet.close()


def campaign(kills, restarts, stalls):
    """So many mishaps, in random order."""
    mishaps = [Fleet.kill] * kills + [Fleet.restart] * restarts + [Fleet.stall] * stalls
    random.Random(20261123).shuffle(mishaps)
    return pytest.param(mishaps, id=f"{kills} kills, {restarts} restarts", marks=[pytest.mark.long] * (kills > 100))


@pytest.mark.parametrize("mishaps", [campaign(20, 4, 1), campaign(1000, 50, 20)])
def test_a_fleet_finishes_every_session_whoever_is_killed(fleet, mishaps, rng):
    """With workers and the server killed during appends nothing acknowledged is lost or doubled, and no effect is."""
    for _ in range(WORKERS):
        fleet.start()
    for befall in mishaps:
        fleet.begin()
        time.sleep(rng.uniform(0, 0.35))
        befall(fleet)
    fleet.until_all_is_done()
    fleet.stop()
    found = fleet.faults()
    print(fleet.summary(found))  # noqa: T201 - for -s
    assert not found, fleet.summary(found)
    assert {error for _, error in fleet.logged} <= FORESEEN, [said for said in fleet.logged if said[1] not in FORESEEN]
