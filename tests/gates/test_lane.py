"""Who may go when: the lane's answers in made-up time. Nothing here waits."""

import heapq
import itertools
import math
import random
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_agent.gates.lane import Lane
from resilient_agent.gates.pace import Search


class Bucket:
    """A server that lets `rate` requests a second through, with room for `burst`."""

    def __init__(self, rate, burst, *, penal=False, hint=False):
        self.rate, self.burst, self.penal, self.hint = rate, burst, penal, hint
        self.level, self.at = float(burst), 0.0
        self.refused = 0

    def send(self, now):
        """None where the request is let through, else the wait in seconds that is named (0 for none)."""
        self.level = min(self.burst, self.level + (now - self.at) * self.rate)
        self.at = now
        if self.level >= 1:
            self.level -= 1
            return None
        self.refused += 1
        if self.penal:
            self.level = max(-self.burst, self.level - 1)
        return (1 - self.level) / self.rate if self.hint else 0.0


class Window:
    """A server that counts requests per fixed period, and begins anew with each."""

    burst = 0

    def __init__(self, most, period, *, hint=True):
        self.most, self.period, self.hint = most, period, hint
        self.number, self.used, self.refused = -1, 0, 0

    def send(self, now):
        if now // self.period != self.number:
            self.number, self.used = now // self.period, 0
        if self.used >= self.most:
            self.refused += 1
            return (self.number + 1) * self.period - now if self.hint else 0.0
        self.used += 1
        return None


class Shared:
    """A server whose capacity many customers share: it refuses a part of all requests, however few this one sends."""

    burst = 0

    def __init__(self, share, seed):
        self.share, self.random, self.refused = share, random.Random(seed), 0

    def send(self, now):  # noqa: ARG002 - as the others
        if self.random.random() >= self.share:
            return None
        self.refused += 1
        return 0.0


class Room:
    """A server that takes so many at a time."""

    def __init__(self, most):
        self.most, self.inside, self.refused = most, 0, 0

    def send(self, now):  # noqa: ARG002 - as the others
        if self.inside >= self.most:
            self.refused += 1
            return 0.0
        self.inside += 1
        return None

    def done(self):
        self.inside -= 1


class World:
    """Workers, a lane and a server on a heap of moments: each worker asks, sleeps, goes, and tells what came."""

    def __init__(self, server, workers, calls, *, latency=0.02, service=1.0, down=None):
        self.lane, self.server, self.down = Lane(), server, down
        self.latency, self.service = latency, service
        self.todo, self.order, self.now = calls, itertools.count(), 0.0
        self.sent, self.failures, self.finished, self.asked = [], {}, 0, 0
        self.kept = []
        self.opens = -math.inf  # the end of the latest window that was named
        self.heap = []
        for _ in range(workers):
            self.at(0.0, self.start)

    def at(self, moment, what, *args):
        heapq.heappush(self.heap, (moment, next(self.order), what, args))

    def run(self, until=math.inf):
        while self.heap and self.heap[0][0] <= until:
            self.now, _, what, args = heapq.heappop(self.heap)
            what(*args)
        return self

    def start(self):
        if self.todo:
            self.todo -= 1
            self.ask(self.lane.ticket())

    def ask(self, ticket):
        wait = self.lane.ask(ticket, self.now)
        self.asked += 1
        assert wait >= 0
        if wait:
            self.at(self.now + wait, self.ask, ticket)
            return
        assert not self.lane.active or self.now >= self.opens - 0.001, "before the end of a window that was named"
        self.sent.append((self.now, ticket.seq))
        if self.down and self.down[0] <= self.now < self.down[1]:
            self.at(self.now + self.latency, self.fail, ticket, self.lane.overloaded, None)
        elif (named := self.server.send(self.now)) is not None:
            self.at(self.now + self.latency, self.fail, ticket, self.lane.limited, named or None)
        else:
            self.at(self.now + self.service, self.done, ticket)

    def fail(self, ticket, tell, named):
        self.failures[id(ticket)] = self.failures.get(id(ticket), 0) + 1
        self.kept.append(ticket)
        if named:
            self.opens = max(self.opens, self.now + named)
        tell(ticket, self.now, named, 5.0)
        self.ask(ticket)

    def done(self, ticket):
        if isinstance(self.server, Room):
            self.server.done()
        self.lane.succeeded(ticket, self.now)
        self.lane.leave(ticket, self.now)
        self.finished += 1
        self.start()


class Herd(World):
    """As callers really begin: nobody asks an idle lane, and requests and refusals take their time on the way."""

    def __init__(self, server, workers, calls, *, seed, spread):
        self.random, self.spread = random.Random(seed), spread
        super().__init__(server, workers, calls, service=0.02)

    def start(self):
        if not self.todo:
            return
        self.todo -= 1
        if self.lane.active:
            self.ask(self.lane.ticket())
        else:
            self.at(self.now + self.random.uniform(0, self.spread), self.arrive, None)

    def ask(self, ticket):
        wait = self.lane.ask(ticket, self.now)
        if wait:
            self.at(self.now + wait, self.ask, ticket)
        else:
            self.at(self.now + self.random.uniform(0.002, 0.007), self.arrive, ticket)

    def arrive(self, ticket):
        named = self.server.send(self.now)
        back = self.now + self.random.uniform(0.005, 0.02)
        ticket = ticket or self.lane.ticket()
        if named is None:
            self.at(back, self.done, ticket)
        else:
            self.at(back, self.fail, ticket, self.lane.limited, named or None)


class Uneven(World):
    """Answers take as long as those of models: some a third of the others' time, some three times as long."""

    def ask(self, ticket):
        self.service = 0.3 * math.exp(0.5 * random.Random(ticket.seq).gauss(0, 1))
        super().ask(ticket)


def limited(*, wait=None, waiting=3):
    """A lane whose first burst was refused at 0.0, and the tickets that wait in it since."""
    lane = Lane()
    tickets = [lane.ticket() for _ in range(waiting)]
    for ticket in tickets:
        assert lane.ask(ticket, 0.0) == 0.0
    for ticket in tickets:
        lane.limited(ticket, 0.0, wait)
    for ticket in tickets:
        assert lane.ask(ticket, 0.0) > 0.0
    return lane, tickets


def served(lane, tickets, *, since, until, step=0.01):
    """Who goes when, if all ask all the time."""
    left, gone, now = list(tickets), [], since
    while left and now < until:
        for ticket in list(left):
            if lane.ask(ticket, now) == 0.0:
                gone.append((now, ticket))
                left.remove(ticket)
        now += step
    return gone


# Idle


def test_an_idle_lane_lets_everybody_go():
    """While no limit was met nobody waits, and the lane says so by one attribute."""
    lane = Lane()
    assert not lane.active
    assert [lane.ask(lane.ticket(), now) for now in (0.0, 0.0, 0.0, 5.0)] == [0.0] * 4
    assert not lane.active


def test_a_success_leaves_an_idle_lane_idle():
    """Nobody who succeeds wakes the lane."""
    lane = Lane()
    ticket = lane.ticket()
    lane.ask(ticket, 0.0)
    lane.succeeded(ticket, 1.0)
    assert not lane.active


def test_a_single_overload_holds_nobody_up():
    """One 503 is a bad moment of the server, no outage."""
    lane = Lane()
    ticket = lane.ticket()
    lane.ask(ticket, 0.0)
    lane.overloaded(ticket, 0.1)
    assert lane.ask(lane.ticket(), 0.1) == 0.0


# A limit


def test_after_a_refusal_everybody_waits():
    """Those who were not refused themselves wait as well."""
    lane, _ = limited()
    assert lane.active
    assert lane.ask(lane.ticket(), 0.01) > 0.0


@pytest.mark.parametrize("wait", [0.1, 1.0, 30.0])
def test_nobody_goes_before_the_window_ends(wait):
    """The wait that the server named is a floor for all."""
    lane, tickets = limited(wait=wait)
    gone = served(lane, tickets, since=0.0, until=wait + 60)
    assert len(gone) == 3
    assert gone[0][0] >= wait - 0.001


def test_the_latest_end_of_the_window_counts():
    """Of several waits named to one burst the longest holds."""
    lane, tickets = limited(wait=1.0)
    straggler = lane.ticket()
    straggler.sent_at = -0.5
    lane.limited(straggler, 0.2, 4.0)
    assert served(lane, tickets, since=0.2, until=60)[0][0] >= 4.19


def test_a_window_is_kept_in_whole_however_long():
    """Whose wish is too long for him is decided before the lane is told."""
    lane, tickets = limited(wait=300.0)
    assert served(lane, tickets, since=119.0, until=299.0) == []
    assert served(lane, tickets, since=300.1, until=302.0)


def test_leaves_are_spread_out():
    """When the window ends the waiting do not go all at once."""
    lane, tickets = limited(wait=1.0, waiting=20)
    moments = [now for now, _ in served(lane, tickets, since=0.9, until=60)]
    assert len(moments) == 20
    assert moments[3] - moments[0] > 0.3


def test_the_waiting_go_in_the_order_of_their_calls():
    """Whoever began first goes first, in whatever order they ask."""
    lane, tickets = limited(wait=1.0, waiting=12)
    gone = served(lane, list(reversed(tickets)), since=0.5, until=60)
    assert [ticket.seq for _, ticket in gone] == sorted(ticket.seq for ticket in tickets)


def test_one_burst_is_one_cut():
    """Refusals of requests sent before the cut change neither the rate nor the pause."""
    few, many = limited(wait=1.0, waiting=3), limited(wait=1.0, waiting=300)
    first = [served(lane, tickets[:3], since=0.0, until=9)[0][0] for lane, tickets in (few, many)]
    assert first[0] == first[1]


def test_a_burst_without_a_named_wait_is_one_pause():
    """Three hundred refusals at once do not double the pause three hundred times."""
    lane, tickets = limited(waiting=300)
    assert served(lane, tickets, since=0.0, until=1.0)[0][0] == pytest.approx(0.5, abs=0.02)


def test_refused_probes_come_ever_more_rarely():
    """Where nothing is let through the pauses grow, up to a bound."""
    lane, _ = limited()
    now, moments = 0.0, []
    while now < 120:
        ticket = lane.ticket()
        if lane.ask(ticket, now) == 0.0:
            moments.append(now)
            lane.limited(ticket, now + 0.01)
        else:
            lane.leave(ticket, now)
        now += 0.01
    pauses = [b - a for a, b in itertools.pairwise(moments)]
    assert pauses == sorted(pauses) or max(pauses) < 17
    assert pauses[-1] > 8
    assert len(moments) < 16


def test_a_single_call_spreads_its_few_retries():
    """Alone in a closed lane, a call waits as long as it would without one, from its second failure on."""
    lane, (ticket,) = limited(waiting=1)
    assert lane.ask(ticket, 0.6) == 0.0
    lane.limited(ticket, 0.6, own_wait=10.0)
    now = 0.6
    while wait := lane.ask(ticket, now):
        now += wait
    assert now == pytest.approx(10.6, abs=0.2)


@pytest.mark.parametrize("rate", [1, 10, 100])
@pytest.mark.parametrize("hint", [True, False])
@pytest.mark.parametrize("penal", [True, False])
def test_the_rate_is_learned(rate, hint, penal):
    """A batch takes little longer than the server needs, and few requests are refused after the first burst."""
    calls, workers, burst = 100 * rate, 5 * rate, 2 * rate
    world = World(Bucket(rate, burst, hint=hint, penal=penal), workers, calls).run()
    assert world.finished == calls
    assert world.now <= 1.2 * (calls - burst) / rate + 2
    assert world.server.refused - (workers - burst) <= 0.1 * calls + 10
    assert max(world.failures.values()) <= 5


@pytest.mark.parametrize("rate", [3, 30, 100])
@pytest.mark.parametrize("penal", [True, False])
def test_a_bucket_of_one_is_used_well(rate, penal):
    """It saves nothing up: whoever comes late has lost that time, and whoever comes early is refused."""
    world = World(Bucket(rate, 1, penal=penal, hint=True), 5 * rate, 1000).run(until=500 / rate)
    passed, refused = len(world.sent) - world.server.refused, world.server.refused
    world.run(until=900 / rate)
    assert len(world.sent) - world.server.refused - passed >= 0.93 * 400
    assert world.server.refused - refused <= 0.045 * 400


@pytest.mark.parametrize(("rate", "workers"), [(7.4, 3), (10, 4), (50, 22)])
@pytest.mark.parametrize("penal", [True, False])
def test_few_workers_have_nothing_to_make_up_for(rate, workers, penal):
    """Hardly enough of them for the rate: where nobody had come for a slot, the next does not follow sooner for it."""
    world = Uneven(Bucket(rate, 1, penal=penal, hint=True), workers, round(100 * rate)).run()
    assert world.finished == round(100 * rate)
    assert world.now <= 1.18 * 100
    assert world.server.refused <= 0.06 * 100 * rate


def test_who_went_before_the_news_of_a_refusal_is_reckoned_with():
    """Fifty a second and a fiftieth until the refusal is told: the next one had the token, and no second cut follows."""
    world = World(Bucket(50, 1, hint=True), 68, 3000, service=0.4).run()
    assert world.server.refused - 67 <= 0.03 * 3000
    assert world.now <= 1.08 * 3000 / 50


@pytest.mark.parametrize("rate", [5, 50])
@pytest.mark.parametrize("hint", [True, False])
def test_a_steady_rate_is_not_taken_for_a_crowd(rate, hint):
    """Where answers take about as long, as many are under way at each refusal; that makes no limit of it."""
    world = World(Bucket(rate, 2, hint=hint), 5 * rate, 60 * rate, service=1.5)
    world.run(until=10)
    told = []
    while world.now < 40:
        world.run(until=world.now + 0.1)
        world.now += 0.1
        told.append(repr(world.lane))
    assert sum("at a time" in each for each in told) <= 0.05 * len(told)


@pytest.mark.parametrize("spread", [0.1, 0.3])
@pytest.mark.parametrize("seed", range(12))
def test_what_the_first_herd_costs_makes_nobody_timid(spread, seed):
    """Fifty callers set out at once: what that costs is no later refusal's price, and it tells how fast to begin."""
    world = Herd(Bucket(60, 20, hint=True), 50, 300, seed=seed, spread=spread).run()
    assert world.finished == 300
    assert world.now <= 1.2 * (300 - 20) / 60
    assert world.server.refused <= 65


@pytest.mark.parametrize("latency", [0.02, 0.3])
@pytest.mark.parametrize("hint", [True, False])
def test_the_rate_does_not_run_away_while_refusals_are_on_their_way(latency, hint):
    """A fast server that takes its time to refuse: what is sent meanwhile stays in proportion."""
    world = World(Bucket(200, 200, hint=hint), 2000, 8000, latency=latency).run()
    assert world.finished == 8000
    assert world.server.refused <= 1800 + 0.1 * 8000
    assert world.now <= 1.25 * 7800 / 200
    assert max(world.failures.values()) <= 5


def test_where_each_refusal_names_a_longer_wait_the_rate_is_told_by_how_much():
    """Six hundred at once, who cost a token each: the last is told to wait for all of them, but not as one who is slow."""
    world = World(Bucket(200, 20, penal=True, hint=True), 600, 3000, service=1.5).run(until=2.5)
    assert world.finished >= 60
    assert world.run().now <= 18


@pytest.mark.parametrize(("most", "period"), [(10, 1), (60, 60), (3, 60)])
@pytest.mark.parametrize("hint", [True, False])
def test_windows_are_learned_as_buckets_are(most, period, hint):
    """Where a counter begins anew every minute, calls are spread over it, or wait for the next."""
    world = World(Window(most, period, hint=hint), 3 * most, 20 * most).run()
    assert world.finished == 20 * most
    assert world.now <= 1.3 * 20 * period + 2
    assert world.server.refused <= 8 * most + 30
    assert max(world.failures.values()) <= 5


@pytest.mark.parametrize("most", [2, 10, 50])
def test_room_for_so_many_at_a_time_is_found_out(most):
    """Where the server limits how many are under way, as many are, and next to nobody is refused."""
    world = World(Room(most), 5 * most, 60 * most, service=2.0).run()
    assert world.finished == 60 * most
    assert world.now <= 1.15 * 60 * 2.0
    assert world.server.refused - 4 * most <= 0.05 * 60 * most + 10


def test_a_larger_room_is_found_out():
    """One more than is known to fit is tried from time to time."""
    world = World(Room(10), 100, 10_000, service=1.0)
    world.run(until=60)
    world.server.most = 40
    world.run(until=120)
    finished = world.finished
    world.run(until=140)
    assert world.finished - finished > 0.9 * 40 * 20


def test_whoever_is_cancelled_under_way_makes_room():
    """Calls that never come back do not fill the room up."""
    world = World(Room(4), 20, 400, service=1.0)
    world.run(until=30)
    assert "4 at a time" in repr(world.lane)
    gone = [world.lane.ticket() for _ in range(50)]
    for ticket in gone:
        if world.lane.ask(ticket, world.now) == 0.0:
            world.server.inside += 1
            world.server.done()
        world.lane.leave(ticket, world.now)
    world.run()
    assert world.finished == 400
    assert world.now < 1.25 * 400 / 4


def test_what_the_server_grants_is_believed_at_first():
    """A rate told by its headers is where a lane begins that knows nothing yet."""
    lane, tickets = Lane(), []
    tickets = [lane.ticket() for _ in range(20)]
    for ticket in tickets:
        lane.limited(ticket, 0.0, 1.0, rate=50.0)
    moments = [now for now, _ in served(lane, tickets, since=0.9, until=10, step=0.005)]
    assert len(moments) == 20
    assert moments[-1] - moments[0] == pytest.approx(19 / 50, abs=0.1)


def test_what_was_learned_counts_more_than_what_is_granted():
    """A grant that the server does not keep is not asked about again."""
    world = World(Bucket(5, 10, hint=True), 50, 600)
    world.run(until=60)
    learned = repr(world.lane)
    ticket = world.lane.ticket()
    world.lane.limited(ticket, world.now, 0.2, rate=1000.0)
    assert "1e+03" not in repr(world.lane)
    assert "requests/s" in learned


def test_after_a_cut_the_one_who_failed_least_goes_first():
    """The first to go may be refused again: that costs a retry, and somebody else has more of them."""
    lane, tickets = limited(wait=0.5, waiting=4)
    pioneer = tickets[0]
    assert lane.ask(pioneer, 0.6) == 0.0
    lane.limited(pioneer, 0.62, 0.5)
    assert [lane.ask(ticket, 0.63) > 0 for ticket in tickets] == [True] * 4
    gone = [ticket for _, ticket in served(lane, tickets, since=1.1, until=30)]
    assert gone.index(pioneer) == 1
    assert gone[0] is tickets[1]


def test_whoever_was_refused_again_holds_up_nobody():
    """He lets others try first after a cut, and no longer than until the next slot: they all wait for him."""
    world = World(Bucket(100, 1, hint=True), 500, 2000).run()
    moments = [now for now, _ in world.sent if now > 1]
    assert max(b - a for a, b in itertools.pairwise(moments)) < 0.08


def test_no_call_pays_for_all_while_the_rate_is_felt_for():
    """Where each of several cuts comes with the second request, it is not the same call's each time."""
    world = World(Bucket(1, 1, hint=True), 150, 300)
    world.run(until=60)
    assert max(world.failures.values()) <= 4


def test_thousands_who_wait_ask_seldom():
    """Those far behind sleep long, so the machine may as well."""
    world = World(Bucket(10, 20, hint=True), 2000, 3000).run()
    assert world.asked <= 80 * 3000


def test_a_slow_limit_is_not_asked_about_all_the_time():
    """Three a minute: who waits for minutes looks up every few seconds."""
    world = World(Bucket(0.05, 3, hint=True), 20, 40).run()
    assert world.finished == 40
    assert world.asked <= 150 * 40


def test_a_limit_that_is_lowered_is_met():
    """Afterwards refusals are rare again."""
    world = World(Bucket(20, 40), 100, 4000)
    world.run(until=60)
    world.server.rate = 5
    world.run(until=90)
    before = world.server.refused
    world.run(until=190)
    assert world.server.refused - before < 40


def sent_after_a_raise(world, rate, begin, end):
    """How many go between two moments, where the limit is raised after a minute."""
    world.run(until=60)
    world.server.rate = rate
    world.run(until=begin)
    sent = len(world.sent)
    world.run(until=end)
    return len(world.sent) - sent


def test_a_limit_that_is_lowered_again_and_again_is_met():
    """Twice by more than half: it looks as if going slower were no help, and is found out not to be so."""
    server = Bucket(20.0, 5)
    world = World(server, workers=50, calls=10_000)
    for moment, rate in ((30.0, 8.0), (60.0, 3.0)):
        world.run(until=moment)
        server.rate = rate
    world.run(until=90.0)
    refused, finished = server.refused, world.finished
    world.run(until=190.0)
    assert world.finished - finished > 0.9 * 3.0 * 100
    assert server.refused - refused < 0.1 * (world.finished - finished)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("share", [0.1, 0.2])
def test_where_going_slower_is_no_help_nobody_goes_ever_slower(share, seed):
    """A part of all requests is refused, whatever the rate: a batch of a minute must not take days."""
    world = World(Shared(share, seed), workers=50, calls=600).run(until=600.0)
    assert world.finished == 600


def moved(world, moment, rate):
    """The world at that moment, when its server's rate has just changed; what it saved up until then stays."""
    world.run(until=moment)
    world.server.send(moment)  # counts up to now, at the old rate
    world.server.rate = rate
    return world


def test_a_limit_that_is_raised_is_found():
    """The rate opens again by itself."""
    assert sent_after_a_raise(World(Bucket(5, 10), 100, 4000), 20, 160, 200) > 0.8 * 20 * 40


@pytest.mark.parametrize("hint", [True, False])
def test_a_limit_that_is_raised_tenfold_is_found_soon(hint):
    """What was refused before is passed by without a refusal: from there on it hurries."""
    assert sent_after_a_raise(World(Bucket(5, 10, hint=hint), 200, 4000), 50, 82, 92) > 0.9 * 50 * 10


@pytest.mark.parametrize(("rate", "burst", "hint", "penal"), [(2, 4, True, False), (10, 1, True, True), (40, 80, True, True),
                                                              (10, 20, False, False)])  # fmt: skip
@pytest.mark.parametrize("times", [2, 5, 10])
def test_a_limit_that_is_raised_costs_a_batch_little(rate, burst, hint, penal, times):
    """Half of fifteen hundred calls at the one, half at the other: little more than the least."""
    world = World(Bucket(rate, burst, hint=hint, penal=penal), 150, 1500, service=0.5)
    moved(world, 750 / rate, rate * times).run()
    assert world.finished == 1500
    assert world.now <= 1.2 * (750 - burst + 750 / times) / rate + burst / rate + 0.5


@pytest.mark.parametrize("moment", [11.25, 22.5])
def test_a_deep_bucket_that_is_lowered_is_no_floor(moment):
    """Each refusal costs a token, and for seconds nothing is let through: what went before says nothing any more."""
    world = moved(World(Bucket(40, 120, penal=True), 150, 1500), moment, 2)
    refused = world.server.refused
    world.run()
    assert world.finished == 1500
    assert world.server.refused - refused <= 0.1 * 1500


def test_after_a_limit_that_was_raised_what_was_counted_below_it_is_no_average():
    """The first refusal at the new one is met halfway between it and what was let through since the search began."""
    world = World(Bucket(2.0, 1, hint=True), 150, 1500)
    sent_after_a_raise(world, 40.0, 60, 61)
    refused, moment = world.server.refused, 61.0
    while not isinstance(world.lane._pace, Search):
        moment += 0.001
        world.run(until=moment)
    begun, sent = moment, len(world.sent)
    while world.server.refused == refused:
        moment += 0.001
        world.run(until=moment)
    failed, average = world.lane._pace.rate, (len(world.sent) - 1 - sent) / (moment - begun)
    world.run(until=moment + 0.02)  # the refusal is told
    assert world.lane._pace.rate > 20
    assert world.lane._pace.rate == pytest.approx((failed * average) ** 0.5, rel=0.05)


def test_after_long_silence_the_limit_is_forgotten():
    """A minute without waiting or refusals, and the lane is idle."""
    lane, tickets = limited(wait=1.0)
    for ticket in tickets:
        lane.leave(ticket, 2.0)
    assert lane.ask(lane.ticket(), 70.0) == 0.0
    assert not lane.active


@pytest.mark.parametrize("reset", [-1e6, 1e6])
def test_another_clock_is_no_harm(reset):
    """A new event loop begins its own time: whoever waits goes nevertheless, and soon."""
    lane, tickets = limited(wait=1.0)
    assert served(lane, tickets, since=reset, until=reset + 30)


# The floor


def test_the_floor_is_what_is_left_of_the_window():
    """Whoever has a deadline before that may give up at once."""
    lane, _ = limited(wait=4.0)
    assert [lane.floor(now) for now in (0.0, 1.5, 4.0, 9.0)] == [4.0, 2.5, 0.0, 0.0]


def test_there_is_no_floor_without_a_named_wait():
    """Pauses of our own making may end any moment."""
    lane, _ = limited()
    assert lane.floor(0.1) == 0.0
    assert Lane().floor(0.0) == 0.0


# Being active


def test_changes_of_activity_are_told():
    """Whoever keeps lanes hears when one wakes and when it is idle again."""
    told = []
    lane = Lane(lambda lane: told.append(lane.active))
    ticket = lane.ticket()
    lane.limited(ticket, 0.0, 1.0)
    lane.leave(ticket, 0.1)
    lane.settle_down(30.0)
    assert told == [True]
    lane.settle_down(61.0)
    assert told == [True, False]


def test_a_lane_where_somebody_waits_does_not_settle_down():
    """However long he has to."""
    lane, _ = limited(wait=110.0)
    lane.settle_down(100.0)
    assert lane.active


def test_a_lane_says_how_it_stands():
    """For people and logs."""
    lane = Lane()
    assert repr(lane) == "<Lane: idle>"
    lane.overloaded(lane.ticket(), 0.0)
    assert repr(lane) == "<Lane: watched>"
    assert repr(limited()[0]) == "<Lane: closed by a limit, 3 wait>"
    assert repr(limited(wait=1.0)[0]) == "<Lane: 4 requests/s, 3 wait>"
    assert repr(outage()[0]) == "<Lane: closed by an outage, 10 wait>"


# Leaving


def test_who_leaves_makes_room():
    """Cancelled in front, the next is served at once."""
    lane, tickets = limited(wait=1.0, waiting=50)
    for ticket in tickets[:49]:
        lane.leave(ticket, 0.5)
    assert served(lane, tickets[49:], since=0.5, until=3)[0][0] == pytest.approx(1.0, abs=0.05)


def test_a_cancelled_probe_gives_its_turn_back():
    """The next one may probe at once."""
    lane, tickets = limited()
    assert lane.ask(tickets[0], 0.6) == 0.0
    assert lane.ask(tickets[1], 0.6) > 0.0
    lane.leave(tickets[0], 0.61)
    assert served(lane, tickets[1:], since=0.61, until=1.5)[0][0] < 0.9


def test_who_does_not_come_is_passed_over():
    """A first in line whose thread stands still stops nobody for long."""
    lane, tickets = limited(wait=1.0)
    assert served(lane, tickets[1:], since=1.0, until=10)[0][0] < 3.5


def test_leaving_twice_or_without_having_joined_is_nothing():
    """A driver may say goodbye in every case."""
    lane, tickets = limited()
    stranger = lane.ticket()
    for ticket in (tickets[0], tickets[0], stranger):
        lane.leave(ticket, 0.1)


# An outage


def outage(waiting=10, at=0.05):
    """A lane that met three overloads at that moment, and calls that wait."""
    lane = Lane()
    failing = [lane.ticket() for _ in range(3)]
    lane.settle_down(0.0)  # since then it has a clock
    for ticket in failing:
        lane.ask(ticket, at - 0.05)
    for ticket in failing:
        lane.overloaded(ticket, at, own_wait=2.0)
    tickets = [lane.ticket() for _ in range(waiting)]
    for ticket in tickets:
        assert lane.ask(ticket, at) > 0.0
    return lane, tickets


def test_in_an_outage_single_probes_go():
    """Of all who wait one goes, and while it may be refused nobody else does."""
    lane, tickets = outage()
    gone = served(lane, tickets, since=0.05, until=0.75)
    assert len(gone) == 1


def test_an_outage_ends_with_the_first_answer():
    """Then all go, spread out."""
    lane, tickets = outage()
    ((_, probe),) = served(lane, tickets, since=0.05, until=0.6)
    lane.succeeded(probe, 0.65)
    gone = served(lane, [ticket for ticket in tickets if ticket is not probe], since=0.65, until=10)
    assert len(gone) == 9


@pytest.mark.parametrize(("rate", "burst", "begins"), [(10, 20, 30), (25, 10, 41), (25, 20, 41), (60, 60, 33)])
def test_in_an_outage_the_waiting_use_up_no_retries(rate, burst, begins):
    """A minute of 503 costs each call a try or two, and the rush after it, on a full bucket, no call all of its own."""
    world = World(Bucket(rate, burst, hint=True), 100, 1000, down=(begins, begins + 60)).run()
    assert world.finished == 1000
    assert max(world.failures.values()) <= 4
    assert sum(begins <= now < begins + 60 for now, _ in world.sent) < 60


@pytest.mark.parametrize(("workers", "length"), [(5, 55), (10, 150), (20, 600)])
def test_few_who_wait_make_their_retries_last(workers, length):
    """Each has three: the fewer are left to all of them, the longer the pauses, and the end is found soon enough."""
    world = World(Bucket(10, 20, hint=True), workers, 400, down=(20, 20 + length), service=0.5).run()
    assert world.finished == 400
    assert max(world.failures.values()) <= 3
    assert min(now for now, _ in world.sent if now >= 20 + length) <= 20 + 1.25 * length + 2


@pytest.mark.parametrize(
    ("rate", "burst", "workers", "down", "hint"), [(60, 600, 150, (15, 40), False), (100, 500, 500, (10, 40), True)]
)
def test_no_call_pays_for_the_rush_after_an_outage(rate, burst, workers, down, hint):
    """The bucket is full and the rate runs away: the way back takes several cuts, and no call stands all of them."""
    world = World(Bucket(rate, burst, hint=hint), workers, 3000, service=0.3, down=down).run()
    assert world.finished == 3000
    assert max(world.failures.values()) <= 5


def test_a_long_outage_is_probed_more_rarely():
    """Ten minutes cost fewer probes than ten times a minute's, and the end is found all the same."""
    world = World(Bucket(10, 20, hint=True), 100, 1000, down=(30, 630)).run()
    assert world.finished == 1000
    assert sum(30 <= now < 630 for now, _ in world.sent) < 150
    assert world.now < 630 + 100
    assert max(world.failures.values()) <= 5


def test_a_limit_that_is_met_right_after_an_outage_is_kept():
    """Back at the rate that was known before, a refusal is a cut like any other."""
    world = World(Bucket(10, 20), 100, 1500, down=(30, 60))
    world.run(until=62)
    world.server.level = -20.0
    world.run()
    assert world.finished == 1500
    assert world.now < 1.2 * 1500 / 10 + 30


def test_a_probe_that_hangs_opens_for_the_others():
    """Not refused for as long as refusals take, it is being answered, or nobody knows."""
    lane, tickets = outage()
    gone = served(lane, tickets, since=0.05, until=5)
    assert len(gone) > 1


# Properties

moves = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "ask", "ok", "limited", "hinted", "overloaded", "failed", "leave", "new"]),
        st.integers(0, 30),
        st.floats(0, 3) | st.floats(-100, 1e5),
    ),
    max_size=150,
)


@given(moves)
def test_no_wait_is_negative_or_endless(script):
    """Whatever happens in whatever order, and if the clock jumps: an answer is a bearable number of seconds, or what was named."""
    lane, now, longest = Lane(), 0.0, 200.0
    tickets = [lane.ticket()]
    for what, which, passed in script:
        now += passed
        ticket = tickets[which % len(tickets)]
        if what == "new":
            tickets.append(lane.ticket())
        elif what == "ask":
            assert 0.0 <= lane.ask(ticket, now) <= longest
        elif what == "ok":
            lane.succeeded(ticket, now)
        elif what == "limited":
            lane.limited(ticket, now, None, 5.0)
        elif what == "hinted":
            lane.limited(ticket, now, passed, 5.0)
            longest = max(longest, 1.1 * passed + 200.0)
        elif what == "overloaded":
            lane.overloaded(ticket, now, None, 5.0)
        else:
            lane.leave(ticket, now)


@settings(max_examples=40)
@given(st.floats(0.5, 100), st.floats(0.2, 5), st.integers(1, 60), st.booleans(), st.booleans(), st.integers(0, 2**32))
def test_every_call_is_served_in_the_end(rate, burst, workers, hint, penal, seed):
    """Whatever the server's bucket and however many are cancelled while they wait: the others come to their turn."""
    server = Bucket(rate, max(1, round(burst * rate)), hint=hint, penal=penal)
    world = World(server, workers, 3 * workers)
    rng = random.Random(seed)
    for _ in range(workers // 2):
        ticket = world.lane.ticket()
        world.lane.ask(ticket, 0.0)
        world.at(rng.uniform(0, 5), lambda ticket=ticket: world.lane.leave(ticket, world.now))
    world.run(until=10_000)
    assert world.finished == 3 * workers


@settings(max_examples=50)
@given(st.permutations(range(12)), st.sets(st.integers(0, 11), max_size=8), st.floats(0.01, 20) | st.none())
def test_order_is_kept_whoever_asks_and_leaves(order, leaving, wait):
    """In whatever order they ask, and whoever is cancelled: the others go in the order in which they began."""
    lane, tickets = limited(wait=wait, waiting=12)
    for index in leaving:
        lane.leave(tickets[index], 0.0)
    staying = [tickets[index] for index in order if index not in leaving]
    gone = [ticket.seq for _, ticket in served(lane, staying, since=0.0, until=120)]
    assert len(gone) == len(staying)
    assert wait is None or gone == sorted(gone)


def test_threads_may_share_a_lane():
    """Eight threads ask, go and are refused at random: nobody is lost, nothing is left in the line."""
    lane, done, lock, clock = Lane(), [], threading.Lock(), itertools.count()

    def moment():
        with lock:
            return next(clock) * 0.01

    def work(seed):
        rng = random.Random(seed)
        for _ in range(100):
            ticket = lane.ticket()
            while lane.ask(ticket, moment()):
                pass
            if rng.random() < 0.02:
                lane.limited(ticket, moment(), 0.05)
            else:
                lane.succeeded(ticket, moment())
            lane.leave(ticket, moment())
            done.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(done) == 800
    assert len(lane._line) == 0


# Its numbers


def probes(lane, tell, failures, until, now=0.0):
    """The moments at which one probe after the other goes, none of which is answered; each was refused so often."""
    moments = []
    while now < until:
        ticket = lane.ticket()
        while wait := lane.ask(ticket, now):
            now += wait
        moments.append(now)
        ticket.failures = failures - 1
        tell(ticket, now)
        lane.leave(ticket, now)
    return moments


def test_the_pauses_between_probes_double_up_to_a_bound():
    """From half a second to sixteen: a probe against a limit may count against it."""
    lane, (first,) = limited(waiting=1)
    lane.leave(first, 0.0)
    moments = probes(lane, lane.limited, 1, 60)
    assert [b - a for a, b in itertools.pairwise([0.0, *moments])] == pytest.approx([0.5, 1, 2, 4, 8, 16, 16, 16])


@pytest.mark.parametrize(("failures", "longest"), [(1, 4), (2, 8), (3, 16), (4, 16)])
def test_in_an_outage_the_pauses_grow_by_half(failures, longest):
    """Up to two seconds, and twice that for each retry that all who may probe have spent; of three at most."""
    lane, tickets = outage(waiting=1)
    lane.leave(tickets[0], 0.05)
    moments = probes(lane, lane.overloaded, failures, 60)
    pauses = [b - a for a, b in itertools.pairwise([0.05, *moments])]
    assert pauses[:4] == pytest.approx([0.5, 0.75, 1.125, 1.6875])
    assert max(pause for pause, now in zip(pauses, moments, strict=True) if now < 30) == pytest.approx(
        min(longest, 0.5 * 1.5 ** sum(now < 30 for now in moments[1:]))
    )


@pytest.mark.parametrize(("failures", "sixteenths"), [(1, 2), (2, 3), (3, 4), (4, 4)])
def test_in_a_long_outage_a_probe_comes_later_by_a_share_of_it(failures, sixteenths):
    """A sixteenth, and another for each retry that was spent, of three."""
    lane, tickets = outage(waiting=1, at=1000.0)
    lane.leave(tickets[0], 1000.0)
    before, last = probes(lane, lane.overloaded, failures, 1200, now=1000.0)[-2:]
    assert last - before == pytest.approx((before - 1000) * sixteenths / 16, rel=1e-3)


@pytest.mark.parametrize(("waiting", "longest"), [(29, 8.0), (30, 2.0)])
def test_where_many_wait_no_retries_are_spared(waiting, longest):
    """Thirty reach far enough, though each has spent two."""
    lane, (first,) = outage(waiting=1)
    lane.leave(first, 0.05)
    now, moments = 0.05, []
    for _ in range(9):
        line, probe = [lane.ticket() for _ in range(waiting)], lane.ticket()
        while wait := lane.ask(probe, now):
            now += wait
        for ticket in line:
            ticket.failures = 2
            assert lane.ask(ticket, now) > 0.0
        probe.failures = 4  # whoever has spent least decides
        lane.overloaded(probe, now)
        for ticket in (*line, probe):
            lane.leave(ticket, now)
        moments.append(now)
    assert max(b - a for a, b in itertools.pairwise(moments[:8])) == pytest.approx(longest)


@pytest.mark.parametrize(("overloads", "held"), [(2, False), (3, True)])
def test_three_overloads_make_an_outage(overloads, held):
    """As many more than successes: two are a bad moment."""
    lane = Lane()
    answered, *failing = [lane.ticket() for _ in range(overloads + 2)]
    for ticket in (answered, *failing):
        lane.ask(ticket, 0.0)
    lane.overloaded(failing[0], 0.05)
    lane.succeeded(answered, 0.06)
    for ticket in failing[1:]:
        lane.overloaded(ticket, 0.07)
    assert (lane.ask(lane.ticket(), 0.1) > 0.0) is held


def test_a_rest_from_before_an_outage_holds_up_nobody_after_it():
    """One 503 lets the call wait for itself; once the server is known to be back, that was another time."""
    lane = Lane()
    early = lane.ticket()
    lane.overloaded(early, 0.0, own_wait=30.0)
    assert lane.ask(early, 0.1) == pytest.approx(29.9)
    lane.leave(early, 0.1)
    for ticket in [lane.ticket() for _ in range(3)]:
        lane.overloaded(ticket, 0.2)
    probe = lane.ticket()
    assert lane.ask(probe, 1.0) == 0.0
    lane.succeeded(probe, 1.1)
    assert served(lane, [early], since=1.1, until=3.0)


@pytest.mark.parametrize(("ahead", "first"), [(7, True), (8, False)])
def test_one_of_eight_in_front_finds_out_for_all(ahead, first):
    """Of those who were refused nobody goes before him who was not; unless he stands too far behind."""
    lane, tickets = limited(wait=1.0, waiting=ahead)
    fresh = lane.ticket()
    for ticket in (*tickets, fresh):
        lane.ask(ticket, 0.999)
    assert (lane.ask(fresh, 1.004) == 0.0) is first


def test_a_probe_that_was_refused_late_was_held_up_elsewhere():
    """Ten seconds for a refusal: the next one that takes longer than four times two and a half is being answered."""
    lane, tickets = limited()
    assert lane.ask(tickets[0], 0.6) == 0.0
    lane.limited(tickets[0], 10.6)
    probe, other = lane.ticket(), lane.ticket()
    assert lane.ask(probe, 11.7) == 0.0
    assert lane.ask(other, 21.6) > 0.0
    lane.leave(other, 21.6)
    assert lane.ask(other, 21.8) == 0.0


def granted(waiting, rate=4.0):
    """A lane that opens at 1.0 with the requests a second which the server grants, and who waits in it."""
    lane = Lane()
    lane.limited(lane.ticket(), 0.0, 1.0, rate=rate)
    tickets = [lane.ticket() for _ in range(waiting)]
    for ticket in tickets:
        assert lane.ask(ticket, 0.5) > 0.0
    return lane, tickets


def slot(lane):
    """The seconds between two who go, as the lane tells it."""
    return 1 / float(repr(lane).removeprefix("<Lane: ").partition(" ")[0])


@pytest.mark.parametrize(
    ("gone", "late", "made_up"), [(0, 0.04, 0.0), (2, 0.04, 0.0), (3, 0.04, 0.04), (3, 1.0, 0.05), (3, 0.0, 0.0)]
)
def test_a_line_makes_up_for_what_a_timer_was_late(gone, late, made_up):
    """For a twentieth of a second at most; and not while the first after a cut find out how it stands."""
    lane, tickets = granted(9)
    now = 0.9
    for ticket in tickets[:gone]:
        now += lane.outlook(ticket, now)
        assert lane.ask(ticket, now) == 0.0
    first, second = tickets[gone : gone + 2]
    now += lane.outlook(first, now)
    assert lane.ask(first, now - 0.01) > 0.0
    now += late
    assert lane.ask(first, now) == 0.0
    assert lane.outlook(second, now) == pytest.approx(slot(lane) - made_up, abs=0.002)


def test_after_a_refusal_the_next_goes_when_there_is_room_for_it():
    """Two slots after it; or half of one after the wait that the server named, as there is one token then."""
    for wait, slots in ((None, 2.0), (3.0, 0.5)):
        lane, (first, second, third) = granted(3)
        assert lane.ask(first, 1.0) == 0.0
        now = 1.0 + lane.ask(second, 1.0)
        assert lane.ask(second, now) == 0.0
        lane.limited(second, now, wait)
        assert lane.outlook(third, now) == pytest.approx((wait or 0.0) + slots * slot(lane), rel=0.01)


def test_how_long_it_will_take_is_told_by_the_place():
    """So many slots, after the next one; nobody is asked to come back before a quarter of a second, unless he is near."""
    lane, tickets = granted(12)
    assert lane.ask(tickets[0], 1.0) == 0.0
    for place, ticket in enumerate(tickets[1:], 1):
        assert lane.outlook(ticket, 1.1) == pytest.approx(place * slot(lane) - 0.1, rel=0.03)
    assert lane.ask(tickets[11], 1.1) == 0.25
    assert lane.ask(tickets[2], 1.1) == pytest.approx((2 * slot(lane) - 0.1) / 2, rel=0.05)


def test_a_first_refusal_does_not_spread_a_calls_retries():
    """There may be others to find out; from the second on it has few retries, and its own wait counts."""
    lane = Lane()
    ticket = lane.ticket()
    lane.limited(ticket, 0.0, own_wait=10.0)
    assert lane.ask(ticket, 0.0) <= 0.5
    assert lane.ask(ticket, 0.5) == 0.0
    lane.limited(ticket, 0.5, own_wait=10.0)
    assert lane.outlook(ticket, 0.6) == pytest.approx(9.9 + 0.1, abs=0.11)


def test_where_nobody_is_held_up_nobody_has_an_outlook():
    """An idle lane, and one that met a single overload."""
    lane = Lane()
    assert lane.outlook(lane.ticket(), 5.0) == 0.0
    lane.overloaded(lane.ticket(), 5.0)
    assert lane.outlook(lane.ticket(), 5.0) == 0.0


def test_the_outlook_of_a_closed_lane_is_its_next_probe():
    """And a little later for whoever stands behind, or was refused more often."""
    lane, (first, second) = limited(waiting=2)
    assert lane.outlook(first, 0.1) == pytest.approx(0.4)
    assert lane.outlook(second, 0.1) == pytest.approx(0.4005)
    second.failures = 3
    assert lane.outlook(second, 0.1) == pytest.approx(0.6005)


def test_while_a_probe_is_under_way_the_others_wait_until_it_is_answered():
    """A quarter of a second: refusals are told by then. Then the first of them asks first."""
    lane, (probe, first, second) = limited(waiting=3)
    assert lane.ask(probe, 0.5) == 0.0
    assert lane.ask(first, 0.6) == pytest.approx(0.15)
    assert lane.ask(second, 0.6) == pytest.approx(0.1505)
    assert lane.ask(first, 0.751) == 0.0


def test_a_lane_that_somebody_else_is_at_does_not_settle_down():
    """Nobody waits for that: there will be another time."""
    lane, tickets = limited(wait=1.0)
    for ticket in tickets:
        lane.leave(ticket, 1.0)
    with lane._lock:  # another thread is in the middle of a question
        other = threading.Thread(target=lane.settle_down, args=(100.0,))
        other.start()
        other.join(5.0)
        assert not other.is_alive()
    assert lane.active


def test_a_line_that_is_late_keeps_three_quarters_of_a_slot():
    """At ten a second, one who comes 45 ms late does not take the next one along."""
    lane, tickets = granted(6, rate=10.0)
    now = 0.9
    for ticket in tickets[:3]:
        now += lane.outlook(ticket, now)
        assert lane.ask(ticket, now) == 0.0
    late, following = tickets[3:5]
    now += lane.outlook(late, now)
    assert lane.ask(late, now - 0.01) > 0.0
    assert lane.ask(late, now + 0.045) == 0.0
    assert lane.outlook(following, now + 0.045) == pytest.approx(0.75 * slot(lane), abs=0.002)


@pytest.mark.parametrize(("failures", "slots"), [(1, 0.0), (2, 1.0), (3, 2.0)])
def test_who_was_refused_more_often_lets_others_go_first_for_some_slots(failures, slots):
    """A tenth of a second for each refusal after the first, or a slot for each where slots are shorter."""
    lane, (ticket,) = granted(1, rate=100.0)
    ticket.failures = failures
    assert lane.ask(ticket, 0.99) > 0.0
    first = next(now for now in itertools.count(1.0, 0.0005) if lane.ask(ticket, now) == 0.0)
    assert first - 1.0 == pytest.approx(slots / 100, abs=0.001)


def test_each_further_refusal_of_a_burst_costs_a_slot():
    """Where no wait is named it may have cost a token, as those did that were let through."""
    lane, tickets = granted(6)
    for ticket, now in zip(tickets[:3], (1.0, 1.3, 1.6), strict=True):
        assert lane.ask(ticket, now) == 0.0
    lane.limited(tickets[2], 1.7)
    before = lane.outlook(tickets[3], 1.7)
    lane.limited(tickets[1], 1.7)
    assert lane.outlook(tickets[3], 1.7) == pytest.approx(before + slot(lane), rel=0.02)


def test_the_rate_that_was_refused_is_that_at_which_it_went():
    """Not the one of the moment at which that is told: in between the others grew faster, or were slowed down."""
    lane, tickets = granted(40)
    now = 1.0
    assert lane.ask(tickets[0], now) == 0.0
    early = tickets[1]
    now += lane.outlook(early, now)
    assert lane.ask(early, now) == 0.0
    went_at = 1 / slot(lane)
    for ticket in tickets[2:30]:
        assert lane.ask(ticket, now) > 0.0
        now += lane.outlook(ticket, now)
        assert lane.ask(ticket, now) == 0.0
    assert 1 / slot(lane) > 1.15 * went_at
    lane.limited(early, now)
    assert 1 / slot(lane) < 0.985 * went_at


def test_after_an_outage_the_rate_is_the_one_known_before():
    """The limit is as it was: it is tested no sooner than one that is known well."""
    lane, tickets = granted(6)
    assert lane.ask(tickets[0], 1.0) == 0.0
    before = slot(lane)
    for ticket in [lane.ticket() for _ in range(3)]:
        lane.overloaded(ticket, 1.1)
    probe = lane.ticket()
    assert lane.ask(probe, 1.7) == 0.0
    assert lane.ask(tickets[1], 1.75) > 0.0
    lane.succeeded(probe, 1.8)
    assert lane.ask(tickets[1], 1.81) == 0.0
    assert slot(lane) == pytest.approx(before, rel=0.01)
