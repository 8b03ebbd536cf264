"""How many requests a server takes at a time."""

from resilient_agent.gates.crowd import Crowd
from resilient_agent.gates.line import Ticket


class Server:
    """Takes so many at a time; told by a crowd whom to send."""

    def __init__(self, most):
        self.crowd, self.most, self.inside, self.now = Crowd(), most, [], 0.0

    def send(self):
        """Whether one more was let in."""
        ticket = Ticket(0)
        self.now += 0.1
        ticket.sent_at = self.now
        self.crowd.go(ticket)
        if len(self.inside) < self.most:
            self.inside.append(ticket)
            return True
        self.crowd.back(ticket)
        self.crowd.refused(ticket)
        return False

    def finish(self):
        """One of them is done."""
        ticket = self.inside.pop(0)
        self.crowd.let_in(ticket)
        self.crowd.back(ticket)


def fed(server, rounds):
    """How many were refused, if as many are sent as there is said to be room for."""
    refused = 0
    for _ in range(rounds):
        free = server.crowd.free(server.now, 1e9)
        assert free is not None
        refused += sum(not server.send() for _ in range(free))
        server.finish()
    return refused


def full(most):
    """A server that is full, and refused two."""
    server = Server(most)
    for _ in range(most):
        assert server.send()
    assert server.crowd.free(0.0, 1.0) is None
    assert not server.send()
    assert server.crowd.room is None
    assert not server.send()
    return server


def test_two_refusals_alike_make_a_suspicion():
    """Both with the same number under way: so many may be what there is room for."""
    assert full(7).crowd.room == 7


def test_with_the_room_known_next_to_nobody_is_refused():
    """One in some rounds tests whether it still is so small."""
    server = full(7)
    server.finish()
    assert fed(server, 700) <= 8
    assert server.crowd.room == 7


def test_one_let_in_beyond_the_room_ends_the_suspicion():
    """The server limits something else, or takes more now."""
    server = full(7)
    server.most = 9
    assert server.send()
    server.crowd.let_in(server.inside[-1])
    assert server.crowd.room is None


def test_a_test_that_is_not_refused_in_time_was_let_in():
    """Nobody waits for an answer that takes minutes."""
    server = full(7)
    server.most = 9
    assert server.crowd.free(server.now, 0.5) == 1
    assert server.send()
    assert server.crowd.free(server.now + 0.1, 0.5) == -1
    assert server.crowd.free(server.now + 0.6, 0.5) is None


def test_a_refusal_with_fewer_under_way_ends_the_suspicion():
    """It was the rate, then."""
    server = full(7)
    for _ in range(3):
        server.finish()
    server.most = 0
    server.send()
    assert server.crowd.room is None


def test_whoever_comes_back_twice_leaves_once():
    """A driver says goodbye in every case."""
    server = full(3)
    ticket = server.inside[0]
    server.crowd.back(ticket)
    server.crowd.back(ticket)
    assert server.crowd.free(server.now, 1e9) == 2
