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
        self.crowd.go(ticket, self.now)
        if len(self.inside) < self.most:
            self.inside.append(ticket)
            return True
        self.crowd.back(ticket)
        self.crowd.refused(ticket, self.now)
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


def served(most, answers):
    """The same, after so many answers with another request right behind each, a tenth of a second apart."""
    server = full(most)
    for _ in range(answers):
        server.finish()
        assert server.send()
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


def test_a_test_goes_where_no_rate_would_refuse_it():
    """Right behind another it might be refused for that: it goes as far behind it as they go on average."""
    server = served(1, 8)
    assert server.crowd.free(server.now + 0.05, 1e9) == 0
    assert server.crowd.free(server.now + 0.2, 1e9) == 1


def test_a_test_goes_where_all_answers_take_the_same():
    """The next one is about to go, as always, when there was none for nearly that long."""
    server = served(1, 8)
    assert server.crowd.free(server.now + 0.085, 1e9) == 0
    assert server.crowd.free(server.now + 0.095, 1e9) == 1


def test_how_far_apart_they_go_is_not_told_by_three():
    """Nobody tests what was suspected just now."""
    server = served(1, 3)
    assert server.crowd.free(server.now + 1e3, 1e9) == 0


def test_one_let_in_beyond_the_room_ends_the_suspicion():
    """The server limits something else, or takes more now."""
    server = full(7)
    server.most = 9
    assert server.send()
    server.crowd.let_in(server.inside[-1])
    assert server.crowd.room is None


def test_a_test_that_is_not_refused_in_time_was_let_in():
    """Nobody waits for an answer that takes minutes."""
    server = served(7, 4)
    server.most = 9
    server.now += 0.1
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
    assert server.crowd.free(server.now, 1e9) == 1
