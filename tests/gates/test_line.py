"""Who waits, in the order in which the calls began."""

from hypothesis import given
from hypothesis import strategies as st

from resilient_agent.gates.line import Line, Ticket

moves = st.lists(st.tuples(st.sampled_from(["join", "leave", "pass over"]), st.integers(0, 9), st.floats(0, 10)))


@given(moves)
def test_the_line_is_the_sorted_list_of_those_who_wait(script):
    """Whoever joins, leaves or is passed over in whatever order: places are those of the calls' beginnings."""
    line, tickets, waiting, now = Line(), [Ticket(number) for number in range(10)], {}, 0.0
    for what, which, passed in script:
        now += passed
        ticket = tickets[which]
        if what == "join":
            line.join(ticket, now + 5)
            waiting[which] = now + 5
        elif what == "leave":
            assert line.leave(ticket) is (which in waiting)
            waiting.pop(which, None)
        else:
            line.pass_over(now)
            while waiting and waiting[min(waiting)] + 1 < now:
                del waiting[min(waiting)]
        assert len(line) == len(waiting)
        assert [line.place(ticket) for ticket in tickets] == [
            sum(other < ticket.seq for other in waiting) for ticket in tickets
        ]


def test_joining_again_changes_the_moment_only():
    """A place is kept, however often its holder asks."""
    line, first, second = Line(), Ticket(1), Ticket(2)
    line.join(second, 1.0)
    line.join(first, 1.0)
    line.join(second, 9.0)
    assert (len(line), line.place(first), line.place(second)) == (2, 0, 1)
    line.pass_over(3.0)
    assert (len(line), line.place(second)) == (1, 0)


def test_only_those_in_front_are_passed_over():
    """Whoever is late behind others holds up nobody."""
    line, first, second = Line(), Ticket(1), Ticket(2)
    line.join(first, 10.0)
    line.join(second, 1.0)
    line.pass_over(5.0)
    assert len(line) == 2


def test_whoever_was_refused_less_often_than_all_in_front_is_known():
    """He is the one who can best afford another refusal; the first in line always is, with nobody in front."""
    line, tickets = Line(), [Ticket(number) for number in range(3)]
    for ticket, failures in zip(tickets, (3, 1, 2), strict=True):
        ticket.failures = failures
        line.join(ticket, 1.0)
    assert [line.most_spared(ticket) for ticket in tickets] == [True, True, False]
