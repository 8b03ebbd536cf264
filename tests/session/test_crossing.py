"""The way into a thread and back: one after the other, in order, and over when it is left."""

import asyncio
import functools
import os
import threading
import time

import anyio
import anyio.lowlevel
import pytest

from resilient_agent.session._crossing import Line, _Threads, decided


@pytest.fixture
def line():
    return Line()


def work(*steps):
    """Work of a line that does these, and has nobody to tell."""

    def run():
        for step in steps:
            step()
        return lambda: None

    return run


@pytest.mark.parametrize("threads", [1, 8])
def test_a_line_does_each_job_once_in_order_and_never_two_at_a_time(line, threads):
    """Whichever threads bring the work, and whichever do it."""
    at_work, together, done = [], [], []
    count = 300
    finished = threading.Semaphore(0)

    def job(who, number):
        def run():
            at_work.append(who)
            together.append(len(at_work))
            done.append((who, number))
            at_work.pop()

        return work(run, finished.release)

    def bring(who):
        for number in range(count):
            line.do(job(who, number))

    bringing = [threading.Thread(target=bring, args=(who,)) for who in range(threads)]
    for thread in bringing:
        thread.start()
    for _ in range(threads * count):
        assert finished.acquire(timeout=30)
    assert set(together) == {1}
    for who in range(threads):
        assert [number for each, number in done if each == who] == list(range(count))


def test_lines_do_not_wait_for_each_other():
    """A save that hangs holds up its own session only."""
    stuck, go_on, passed = threading.Event(), threading.Event(), threading.Event()
    slow, other = Line(), Line()
    slow.do(work(stuck.set, go_on.wait))
    assert stuck.wait(30)
    other.do(work(passed.set))
    assert passed.wait(30)
    go_on.set()


def a_store():
    """Something to wait for that is like nothing else."""
    return type("Store", (), {})()


def test_a_store_that_is_away_keeps_no_other_kind_of_store_waiting():
    """However many saves wait for it; those of its own kind do."""
    go_on, passed, late = threading.Event(), threading.Event(), threading.Event()
    away, other = a_store(), a_store()
    for _ in range(40):
        Line(away).do(work(go_on.wait))
    Line(away).do(work(late.set))
    Line(other).do(work(passed.set))
    assert passed.wait(30)
    assert not late.is_set()
    go_on.set()
    assert late.wait(30)


def test_lines_that_never_end_leave_a_thread_to_others():
    """However many sessions save all the time, another one's save comes to its turn."""
    over, passed = threading.Event(), threading.Event()
    for busy in [Line() for _ in range(40)]:

        def again(busy=busy):
            if not over.is_set():
                busy.do(again)
            return lambda: None

        again()
    Line().do(work(passed.set))
    came = passed.wait(30)
    over.set()
    assert came


def test_a_thread_that_cannot_be_started_is_not_counted_on(no_more_threads):
    """At the system's limit of threads a save says so; when there is room again, saves go on."""
    threads, done = _Threads(), threading.Event()
    with no_more_threads():
        for _ in range(20):
            with pytest.raises(RuntimeError, match="new thread"):
                threads.do(work(lambda: None))
    threads.do(work(done.set))
    assert done.wait(30)


def test_where_no_thread_can_be_started_those_that_there_are_do_the_work(no_more_threads):
    """At the system's limit of threads a save waits for one that is at work, and is no error."""
    threads, started, go_on, done = _Threads(), threading.Event(), threading.Event(), threading.Event()
    threads.do(work(started.set, go_on.wait))
    assert started.wait(30)
    with no_more_threads():
        threads.do(work(done.set))
    go_on.set()
    assert done.wait(30)


@pytest.mark.anyio
async def test_a_save_that_found_no_thread_is_not_done_and_the_next_is(no_more_threads):
    """Its caller hears of it, nothing of it is done later, and the line goes on as if it had never been."""
    line, done = Line(a_store()), []
    with no_more_threads(), pytest.raises(RuntimeError, match="new thread"):
        await decided(lambda: done.append("refused"), line=line)
    with anyio.fail_after(30):
        await decided(lambda: done.append("next"), line=line)
    assert done == ["next"]


def test_a_forked_child_does_not_wait_for_its_parents_work(line):
    """It has no part in what the parent is doing, and what waits there is not done a second time."""
    started, go_on, done = threading.Event(), threading.Event(), []
    line.do(work(started.set, go_on.wait))
    line.do(work(lambda: done.append("the parent's")))
    assert started.wait(30)
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        over = threading.Event()
        line.do(work(over.set))
        os.write(writing, b"done" if over.wait(30) and not done else b"hung")
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as said:
        assert said.read() == b"done"
    os.waitpid(child, 0)
    go_on.set()


@pytest.mark.anyio
async def test_whoever_waits_in_line_and_is_cancelled_leaves_at_once(line):
    """Its work is never done, and that of those behind it is."""
    started, go_on, done = threading.Event(), threading.Event(), []
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: decided(lambda: (started.set(), go_on.wait(30)), line=line))
        while not started.is_set():
            await anyio.lowlevel.checkpoint()
        with anyio.move_on_after(0.01) as scope:
            await decided(lambda: done.append("cancelled"), line=line)
        assert scope.cancelled_caught
        group.start_soon(lambda: decided(lambda: done.append("behind"), line=line))
        await anyio.lowlevel.checkpoint()
        assert done == []
        go_on.set()
    assert done == ["behind"]


@pytest.mark.anyio
async def test_one_save_after_the_other_finds_the_same_thread(line):
    """However many threads there are: two that take turns cost each save a good deal of its time."""
    barrier = threading.Barrier(8)
    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(decided, lambda: barrier.wait(30))
    assert len({await decided(threading.get_ident, line=line) for _ in range(50)}) == 1


@pytest.mark.anyio
async def test_more_work_than_threads_waits_and_is_done(line):
    """As when hundreds of sessions save at the same moment."""
    done, together, at_work = [], [], []

    def save(number):
        at_work.append(number)
        together.append(len(at_work))
        time.sleep(0.001)
        at_work.remove(number)
        done.append(number)

    async with anyio.create_task_group() as group:
        for number in range(100):
            group.start_soon(decided, functools.partial(save, number))
    assert sorted(done) == list(range(100))
    assert 1 < max(together) <= 16


def test_a_loop_that_is_closed_while_a_save_runs_harms_nobody(line):
    """The coroutine is thrown away without a word, and the thread and the line go on with the next save."""
    started, go_on, ended = threading.Event(), threading.Event(), []
    loop = asyncio.new_event_loop()
    running = decided(lambda: (started.set(), go_on.wait(30), ended.append("first")), line=line)
    waiting = decided(lambda: ended.append("second"), line=line)
    tasks = [loop.create_task(running), loop.create_task(waiting)]
    loop.run_until_complete(asyncio.sleep(0))
    assert started.wait(30)
    loop.close()
    for coroutine in (running, waiting):
        coroutine.close()
    for task in tasks:
        task._log_destroy_pending = False
    go_on.set()
    asyncio.run(decided(lambda: ended.append("third"), line=line))
    assert ended == ["first", "third"]


@pytest.mark.anyio
async def test_work_that_raises_does_not_stop_the_line(line):
    """Its caller hears of it, and the next has its turn."""
    with pytest.raises(ZeroDivisionError):
        await decided(lambda: 1 / 0, line=line)
    assert await decided(lambda: 1, line=line) == 1
