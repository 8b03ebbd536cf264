"""Every engine does what the plainest one does: any steps in any order come to the same in memory and in databases."""

import datetime
import itertools

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from resilient_agent import MemoryStore, PostgresStore, RedisStore, SessionBusy
from resilient_agent.session.stores.lease import Entry, Lease

IDS = ("a", "b")
OWNERS = ("first", "second", "third")
TTL = 3600.0
_numbers = itertools.count()


class Agreement(RuleBasedStateMachine):
    """The same steps in two engines."""

    made = None  # gives the engine that is compared

    @initialize()
    def begin(self):
        run = next(_numbers)
        self.names = {session_id: f"{session_id} {run}" for session_id in IDS}
        self.engines = (MemoryStore().engine, type(self).made)
        self.leases = {}  # per owner: what each engine calls its lease

    def teardown(self):
        if hasattr(self, "names"):
            self.release_all()

    def release_all(self):
        """The database is shared by all runs: nothing of this one stays."""
        other = self.engines[1]
        for leases in self.leases.values():
            other.delete(leases[1])

    def both(self, step):
        came = [outcome(step, engine, number) for number, engine in enumerate(self.engines)]
        assert came[0] == came[1]
        return came[0]

    @rule(session_id=st.sampled_from(IDS), owner=st.sampled_from(OWNERS))
    def claim(self, session_id, owner):
        granted = []

        def step(engine, _):
            lease = Lease(self.names[session_id], 0, owner, f"holder {owner}", TTL)
            grant = engine.claim(lease)
            granted.append(Lease(lease.session_id, grant.epoch, owner, lease.holder, TTL))
            assert abs(grant.now - engine.now()) < datetime.timedelta(seconds=30)
            return grant.seq

        if isinstance(self.both(step), int):
            before = self.leases.get((session_id, owner))
            assert before is None or all(now.epoch > then.epoch for now, then in zip(granted, before, strict=True))
            self.leases[session_id, owner] = granted

    @rule(
        session_id=st.sampled_from(IDS),
        owner=st.sampled_from(OWNERS),
        seq=st.integers(1, 5),
        word=st.sampled_from(["one", "two", "東京", "\\u0000"]),
        ended=st.booleans(),
        rest=st.sampled_from([0.0, 3600.0]),
        alone=st.booleans(),
    )
    def append(self, session_id, owner, seq, word, ended, rest, alone):
        leases = self.leases.get((session_id, owner))
        if leases is not None:
            entry = Entry(seq, f'"{word}"'.encode(), f'{{"{word}": {seq}}}'.encode(), ended, rest, alone)
            self.both(lambda engine, number: engine.append(leases[number], entry))

    @rule(owner=st.sampled_from(OWNERS))
    def renew(self, owner):
        mine = [leases for (_, other), leases in self.leases.items() if other == owner]
        self.both(
            lambda engine, number: sorted(
                lease.session_id for lease in engine.renew([(leases[number], 1.0) for leases in mine])
            )
        )

    @rule(session_id=st.sampled_from(IDS), owner=st.sampled_from(OWNERS), rest=st.sampled_from([0.0, 3600.0]))
    def release(self, session_id, owner, rest):
        leases = self.leases.get((session_id, owner))
        if leases is not None:
            self.both(lambda engine, number: engine.release(leases[number], rest))

    @rule(session_id=st.sampled_from(IDS), owner=st.sampled_from(OWNERS))
    def delete(self, session_id, owner):
        leases = self.leases.get((session_id, owner))
        if leases is not None:
            self.both(lambda engine, number: engine.delete(leases[number]))

    @invariant()
    def all_look_the_same(self):
        if not hasattr(self, "names"):
            return
        mine = set(self.names.values())
        for name in mine:
            self.both(lambda engine, _, name=name: engine.read(name))
        self.both(
            lambda engine, _: sorted(
                (row.session_id, row.header, row.live, row.live and row.holder)
                for row in engine.scan()
                if row.session_id in mine
            )
        )
        self.both(lambda engine, _: sorted(mine.intersection(engine.due(1000))))


def outcome(step, engine, number):
    try:
        return step(engine, number)
    except SessionBusy as busy:
        return f"held by {busy.holder}"


@pytest.mark.parametrize("kind", ["postgres", "redis"])
def test_a_database_does_what_memory_does(request, kind):
    """Claims, appends of any number under any epoch, renewals, releases and deletions, in any order (B28, B29, B33)."""
    if kind == "postgres":
        made = PostgresStore(request.getfixturevalue("postgres_server").fresh_url())
    else:
        made = RedisStore(request.getfixturevalue("valkey_server").fresh_url())
    list(made.scan())
    machine = type("AgreementHere", (Agreement,), {"made": made.engine})
    examples = settings(max_examples=40, stateful_step_count=30, suppress_health_check=list(HealthCheck))
    case = machine.TestCase
    case.settings = examples
    case().runTest()
