"""How many requests a server takes at a time."""

import pytest

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


def refused(crowd, under_way, window=0.0):
    """What the crowd makes of a refusal with so many others under way; they are gone after it."""
    tickets = [Ticket(number) for number in range(under_way + 1)]
    for ticket in tickets:
        crowd.go(ticket, 0.0)
    told = crowd.refused(tickets[-1], 0.0, window)
    for ticket in tickets:
        crowd.back(ticket)
    return told


@pytest.mark.parametrize(
    ("first", "second", "room"), [(10, 9, None), (9, 10, 10), (11, 10, 11), (8, 10, None), (20, 18, None), (20, 19, 20)]
)
def test_alike_is_within_a_tenth(first, second, room):
    """Then the larger one is what there may be room for."""
    crowd = Crowd()
    assert not refused(crowd, first)
    assert not refused(crowd, second)
    assert crowd.room == room


@pytest.mark.parametrize(
    ("first", "second", "room"), [(1.0, 2.0, None), (2.0, 1.0, None), (1.0, 1.0, 5), (0.0, 1.0, 5), (1.0, 0.0, 5)]
)
def test_a_server_that_names_another_wait_each_time_limits_no_room(first, second, room):
    """It knows by the clock when it will let in the next."""
    crowd = Crowd()
    refused(crowd, 5, first)
    refused(crowd, 5, second)
    assert crowd.room == room


def test_where_as_many_were_let_in_it_is_no_room():
    """Since the last refusal, or between the two before it; longer ago the server may have been another."""
    crowd, ticket = Crowd(), Ticket(99)
    refused(crowd, 5)
    ticket.crowd = 5
    crowd.let_in(ticket)
    rooms = []
    for _ in range(3):
        refused(crowd, 5)
        rooms.append(crowd.room)
    assert rooms == [None, None, 5]


def test_tests_become_rare():
    """The first after four (and with it one more), then as soon as the room was used eight times, then thirty-two."""
    server, between, count = full(2), [], 0
    for _ in range(400):
        server.finish()
        server.now += 2
        free = server.crowd.free(server.now, 1e9)
        for _ in range(free):
            count += 1
            if not server.send():
                between.append(count)
                count = 0
    assert between[:5] == [6, 18, 66, 66, 66]


def test_a_refused_test_is_told_from_other_refusals():
    """Only of a test it is known that the crowd was the reason."""
    server = full(2)
    ticket = Ticket(0)
    server.crowd.go(ticket, 1.0)
    assert server.crowd.refused(ticket, 1.0)
    fewer = Ticket(1)
    fewer.crowd = 1
    assert not server.crowd.refused(fewer, 1.0)


def test_a_test_comes_on_top_of_all_that_there_is_room_for():
    """Where two of seven are free, three may go."""
    server = served(7, 4)
    for _ in range(2):
        server.finish()
    assert server.crowd.free(server.now, 1e9) == 2
    assert server.crowd.free(server.now + 0.2, 1e9) == 3


def test_a_test_was_let_in_after_the_time_that_a_refusal_takes():
    """Not at that very moment."""
    server = served(7, 4)
    ticket = Ticket(0)
    ticket.sent_at = 8.0
    server.crowd.go(ticket, 8.0)
    assert server.crowd.free(8.5, 0.5) is not None
    assert server.crowd.free(8.6, 0.5) is None
