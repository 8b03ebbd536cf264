"""Many processes at one limit: their lanes and the real script on a real server, in made-up time. Nothing here waits."""

import heapq
import itertools
import json
import math
import random

import pytest

from resilient_agent.gates.lane import Closed
from resilient_agent.gates.meter import Mark
from resilient_agent.gates.pace import Creep, Guess, Search
from resilient_agent.gates.shared import pacer
from resilient_agent.gates.shared.lane import SharedLane
from resilient_agent.gates.shared.link import text_of

redis = pytest.importorskip("redis")

SCRIPT = text_of("limit")
TRAVEL = 0.001
"""Seconds that a question takes to the server, and an answer or news back."""


class Bucket:
    """A provider that lets `rate` requests a second through, with room for `burst`; it may be down for a while."""

    def __init__(self, rate, burst, *, hint=True, down=None, window=0.0):
        self.rate, self.burst, self.hint, self.down, self.window = rate, burst, hint, down, window
        self.level, self.at = float(burst), 0.0
        self.refused, self.down_count, self.last = 0, 0, 0.0

    def send(self, now):
        """None where it is let through; else "limited" or "overloaded", and the wait that is named."""
        if self.down and self.down[0] <= now < self.down[1]:
            self.down_count += 1
            return "overloaded", None
        self.level = min(self.burst, self.level + (now - self.at) * self.rate)
        self.at = now
        if self.level < 1:
            self.refused += 1
            wait = max(self.window, (1 - self.level) / self.rate)
            return "limited", wait if self.hint else None
        self.level -= 1
        self.last = now
        return None


class Room:
    """A provider that takes so many at a time, whoever they are."""

    def __init__(self, most):
        self.most, self.inside, self.refused, self.last = most, 0, 0, 0.0

    def send(self, now):
        if self.inside >= self.most:
            self.refused += 1
            return "limited", None
        self.inside += 1
        self.last = now
        return None

    def done(self):
        self.inside -= 1


class Process:
    """One process: its lane, its own clock that began some time, and workers who push calls."""

    def __init__(self, world, number, workers, calls):
        self.world, self.number, self.todo, self.workers = world, number, calls, workers
        self.began = 1000.0 * number + 17
        self.clock = 5e5 * number  # what its machine was up for
        self.up, self.dead, self.asked_at, self.sent, self.done = True, False, False, [], 0
        self.failures = 0
        self.lane = SharedLane(lambda _: None, self, "a-limit")
        self.lane.settle_down(self.began + world.now)

    # As a fleet

    def now(self):
        return self.clock + self.world.now

    def shared(self, moment):
        return moment - self.clock + self.world.epoch

    def wake(self, _):
        if not self.asked_at and not self.dead:
            self.asked_at = True
            self.world.at(self.world.now, self.ask_server)

    def ask_server(self):
        self.asked_at = False
        if not self.up:
            return
        question = self.lane.question()
        self.world.at(self.world.now + TRAVEL, self.decide, question)

    def decide(self, question):
        if self.world.silent:
            return
        reply = self.world.decide(question)
        self.world.at(self.world.now + TRAVEL, lambda: self.dead or self.lane.answer(reply))

    # As its workers

    def start(self):
        if self.todo and not self.dead:
            self.todo -= 1
            if self.lane.active:
                self.ask(self.lane.ticket())
            else:
                self.send(None)

    def ask(self, ticket):
        if self.dead:
            return
        wait = self.lane.ask(ticket, self.began + self.world.now)
        assert wait >= 0
        if wait:
            self.world.at(self.world.now + wait + self.world.dice.uniform(0, 0.002), self.ask, ticket)
        else:
            self.send(ticket)

    def send(self, ticket):
        self.sent.append(self.world.now)
        came = self.world.provider.send(self.world.now)
        if came is None:
            self.world.at(self.world.now + self.world.service, self.answered, ticket)
        else:
            self.world.at(self.world.now + 0.01, self.refused, ticket, *came)

    def refused(self, ticket, what, wait):
        if self.dead:
            return
        ticket = ticket or self.lane.ticket()
        self.failures = max(self.failures, ticket.failures + 1)
        getattr(self.lane, what)(ticket, self.began + self.world.now, wait, 1.0)
        self.ask(ticket)

    def answered(self, ticket):
        self.done += 1
        if isinstance(self.world.provider, Room):
            self.world.provider.done()
        if ticket is not None:
            self.lane.succeeded(ticket, self.began + self.world.now)
            self.lane.leave(ticket, self.began + self.world.now)
        self.start()


class World:
    """Processes, a provider and the server at which they meet, on a heap of moments."""

    def __init__(self, client, provider, fleet, *, service=0.2, seed=1):
        self.client, self.provider, self.service = client, provider, service
        self.dice = random.Random(seed)
        self.script = client.register_script(SCRIPT)
        self.news = client.pubsub(ignore_subscribe_messages=True)
        self.channel = f"news-{self.dice.random()}"
        self.news.subscribe(self.channel)
        while self.news.get_message(timeout=0.05):
            pass
        self.now, self.heap, self.order, self.silent = 0.0, [], itertools.count(), False
        self.epoch = 1.7e9
        self.cuts, self.asked = set(), 0
        self.processes = [Process(self, number, *each) for number, each in enumerate(fleet)]
        for process in self.processes:
            for _ in range(process.workers):
                self.at(self.dice.uniform(0, 0.01), process.start)

    def at(self, moment, what, *args):
        heapq.heappush(self.heap, (moment, next(self.order), what, args))

    def run(self, until=math.inf):
        while self.heap and self.heap[0][0] <= until:
            self.now, _, what, args = heapq.heappop(self.heap)
            what(*args)
        self.now = max(self.now, until) if until < math.inf else self.now
        return self

    def decide(self, question):
        """Let the server decide, and send round what it makes known."""
        self.asked += 1
        question["now"] = self.epoch + self.now
        keys = ["{test}:a-limit", "{test}:a-limit:who", "{test}:live"]
        reply = json.loads(self.script(keys=keys, args=[json.dumps(question), self.channel]))
        while (message := self.news.get_message(timeout=0.002 if "change" in question else 0)) is not None:
            told = json.loads(message["data"])
            assert told["name"] == "a-limit"
            self.cuts.add(json.loads(told["fields"]["learned"])["cut"])
            for process in self.processes:
                if process.up and not process.dead:
                    self.at(self.now + TRAVEL, process.lane.hear, told["fields"])
        return reply

    @property
    def done(self):
        return sum(process.done for process in self.processes)

    def sent(self, since=-math.inf, until=math.inf):
        return sorted(at for process in self.processes for at in process.sent if since < at <= until)

    def over_least(self):
        return self.provider.last / ((self.done - self.provider.burst) / self.provider.rate)


@pytest.fixture
def client(valkey_server):
    client = redis.Redis.from_url(valkey_server.fresh_url(), decode_responses=True)
    client.config_set("appendonly", "no")
    yield client
    client.close()


@pytest.mark.parametrize("hint", [True, False])
@pytest.mark.parametrize(("processes", "workers"), [(2, 50), (20, 5), (5, 20)])
def test_a_fleet_meets_a_limit_as_one(client, processes, workers, hint):
    """All are answered, in little more than the least time, and few requests are refused."""
    world = World(client, Bucket(50, 20, hint=hint), [(workers, 1000 // processes)] * processes).run()
    assert world.done == 1000
    assert world.provider.refused <= 150
    assert world.over_least() < 1.25


def test_a_bucket_of_two_is_met_as_one(client):
    """Slots of different processes do not fall together."""
    world = World(client, Bucket(20, 2), [(10, 100)] * 4).run()
    assert world.done == 400
    assert world.provider.refused <= 80
    assert world.over_least() < 1.35


def test_a_server_that_takes_ten_at_a_time_is_found_out_by_each_process(client):
    """That kind of limit is not shared, yet four processes keep it nearly full and are refused seldom."""
    world = World(client, Room(10), [(25, 250)] * 4, service=1.5).run()
    assert world.done == 1000
    assert world.provider.refused <= 200
    assert world.provider.last < 1.3 * 1000 * 1.5 / 10


def test_a_window_that_one_process_is_told_of_holds_for_all(client):
    """After the news has travelled nobody sends before its end."""
    world = World(client, Bucket(50, 20, window=5.0), [(1, 300), (10, 300), (10, 300)])
    world.run(1.0)
    refused = world.now
    assert world.provider.refused >= 1
    assert world.sent(since=0.2, until=4.9) == []
    world.run(10.0)
    assert refused < 5.0 < world.sent(since=0.2)[0]
    assert all(len([at for at in process.sent if at > 5]) > 0 for process in world.processes)


def test_a_burst_of_refusals_over_all_processes_is_one_cut(client):
    """A hundred requests of ten processes that were under way together teach what one would have."""  # A37
    world = World(client, Bucket(50, 20), [(10, 100)] * 10).run(0.05)
    assert world.provider.refused == 80
    assert len(world.cuts) == 1


def test_where_more_wait_more_is_let_go(client):
    """Of two processes the one with four times as many callers gets some four times as much."""
    world = World(client, Bucket(40, 5), [(80, 10_000), (20, 10_000)]).run(10.0)
    begun = [process.done for process in world.processes]
    world.run(40.0)
    many, few = (process.done - before for process, before in zip(world.processes, begun, strict=True))
    assert 3.0 < many / few < 5.0
    assert many + few > 0.9 * 30 * 40


def test_a_process_that_dies_takes_no_more_with_it_than_it_had_leased(client):
    """Its slots lapse, and soon all of the limit goes to those that live."""
    world = World(client, Bucket(40, 5), [(50, 10_000), (50, 10_000)]).run(10.0)
    world.processes[0].dead = True
    world.run(12.0)
    before = world.processes[1].done
    world.run(22.0)
    assert world.processes[1].done - before > 0.9 * 10 * 40


def test_a_process_that_comes_later_knows_what_the_others_know(client):
    """It meets no refusal of its own, and is given its part of the rate at once."""
    world = World(client, Bucket(40, 5), [(20, 10_000)] * 2).run(10.0)
    late = Process(world, 7, 20, 10_000)
    world.processes.append(late)
    late.lane.hear(client.hgetall("{test}:a-limit"))
    for _ in range(late.workers):
        world.at(world.now, late.start)
    refused = world.provider.refused
    world.run(13.0)
    assert late.done > 0.7 * 3 * 40 / 3
    assert world.provider.refused - refused <= 5


def test_single_probes_find_out_for_all_processes_when_an_outage_ends(client):
    """In half a minute's outage ten processes send few requests more than one would, and nobody fails often."""
    world = World(client, Bucket(50, 20, down=(5.0, 35.0)), [(10, 10_000)] * 10).run(34.9)
    assert world.provider.down_count < 40 + 30 / 1.5
    assert max(process.failures for process in world.processes) <= 10
    done = world.done
    world.run(45.0)
    assert world.done - done > 0.7 * 10 * 50


def test_without_a_server_each_process_paces_alone(client):
    """All go on, at what was their part; none is lost, and when it is back they meet again."""
    world = World(client, Bucket(40, 20), [(20, 10_000)] * 3).run(10.0)
    for process in world.processes:
        process.up = False
    done, refused = world.done, world.provider.refused
    world.run(30.0)
    assert world.done - done > 0.7 * 20 * 40
    assert all(process.lane._alone for process in world.processes)
    for process in world.processes:
        process.up = True
    client.flushdb()  # it came back empty
    world.run(40.0)
    assert not any(process.lane._alone for process in world.processes)
    assert len({process.lane._epoch for process in world.processes}) == 1
    done, refused = world.done, world.provider.refused
    world.run(60.0)
    assert world.done - done > 0.9 * 20 * 40
    assert world.provider.refused - refused < 0.05 * 20 * 40


def test_a_server_that_does_not_answer_is_not_waited_for(client):
    """A question that is late leaves the lane alone until its answer comes."""
    world = World(client, Bucket(40, 20), [(20, 10_000)] * 2).run(10.0)
    world.silent = True
    world.run(11.0)
    done = world.done
    world.run(16.0)
    assert world.done - done > 0.6 * 5 * 40
    world.silent = False
    world.run(18.0)
    done = world.done
    world.run(28.0)
    assert not any(process.lane._alone for process in world.processes)
    assert world.done - done > 0.85 * 10 * 40


def test_a_limit_that_nobody_meets_any_more_is_forgotten(client):
    """On the server it expires a minute after the last who waited, or the end of the window; here too."""
    world = World(client, Bucket(50, 5, window=30.0), [(10, 20)] * 2).run(1.0)
    assert 85_000 < client.pttl("{test}:a-limit") <= 91_000
    world.run()
    assert 50_000 < client.pttl("{test}:a-limit") <= 61_000
    assert 50_000 < client.pttl("{test}:a-limit:who") <= 61_000
    client.flushdb()
    for process in world.processes:
        assert process.lane.active
        process.lane.settle_down(process.began + world.now + 100)
        assert not process.lane.active
    assert client.keys() == []


def test_the_clocks_of_the_machines_do_not_matter(client):
    """Each process began at a time of its own, and the server's clock stands in another year: all is the same."""
    came = []
    for epoch in (1.7e9, 2.1e9):
        client.flushdb()
        world = World(client, Bucket(50, 20), [(20, 200)] * 2)
        world.epoch = epoch
        world.run()
        came.append((world.done, world.provider.refused // 20))
    assert came[0] == came[1]


def test_the_rate_grows_on_the_server_as_in_a_lane(client):
    """The script's arithmetic is that of `pace.py`: a search doubles, a creep grows by what it lets go."""
    lane = Process(World(client, Bucket(1, 1), []), 0, 0, 0).lane
    from resilient_agent.gates.pace import Creep, Search
    from resilient_agent.gates.shared.standing import Standing, change_of_pace

    script = client.register_script(SCRIPT)

    def ask(now, **said):
        question = {**lane.question(), "waiting": 1, "wanted": 1, "now": now, **said}
        keys = ["{rate}:l", "{rate}:l:who", "{rate}:live"]
        return Standing.read(json.loads(script(keys=keys, args=[json.dumps(question), "nobody"]))["limit"])

    def begun(pace):
        client.delete("{rate}:l", "{rate}:l:who")
        learned = json.dumps({"pace": None, "creeps": isinstance(pace, Creep)})
        change = {**change_of_pace(pace, 0.0), "tat": 1000.0, "learned": learned}
        return ask(1000.0, waiting=0, wanted=0, expects="0", change=change)

    for pace in (Search(4.0, 1000.0, 0.0, top=100.0), Creep(30.0, 0.1), Creep(30.0, 0.9)):
        begun(pace)
        for n in range(1, 200):
            now = 1000.0 + n / 20
            client.hset("{rate}:l", "tat", now)
            standing = ask(now, step=getattr(pace, "_step", 0.0))
            # Slots are leased ahead, so what is refused is known late: the server waits for it as a lane does
            # whose refusals take an eighth of a second to come back.
            pace.go(now, 0.125, wanted=True)
            assert standing.rate == pytest.approx(pace.rate, rel=1e-6)


def test_what_lies_on_the_server_has_the_fields_of_its_layout():
    """Workers of two versions share a server: whoever gives one of these a slot more, or less, counts `_LAYOUT` up."""
    assert pacer._LAYOUT == 1
    assert {kind: set(kind.__slots__) for kind in (Guess, Mark, Creep, Search, Closed)} == {
        Guess: {"_few", "_last", "_long", "_passed", "_share", "_stride", "_width", "in_vain"},
        Mark: {"at", "burst", "named", "passed"},
        Creep: {"_base", "_gap", "_growth", "_step", "_turn", "rate"},
        Search: {"_doubling", "_since", "_top", "rate"},
        Closed: {"due", "first", "pause", "probe", "since", "why"},
    }
