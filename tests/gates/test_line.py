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


def test_with_one_refusal_more_in_view_they_must_have_been_refused_oftener_still():
    """Who may be refused at once stays behind him who was refused once more."""
    line, often, seldom = Line(), Ticket(0), Ticket(1)
    often.failures, seldom.failures = 2, 1
    line.join(often, 1.0)
    assert line.most_spared(seldom)
    assert not line.most_spared(seldom, 1)


def test_whoever_comes_within_a_second_is_not_passed_over():
    """To the very second."""
    line, ticket = Line(), Ticket(1)
    line.join(ticket, 1.0)
    line.pass_over(2.0)
    assert len(line) == 1
