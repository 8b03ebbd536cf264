"""Keeps one server as its child, and ends it when it is told to, or when the tests that asked for it are gone.

A process of its own, because nothing less holds in every case: the end of its input is seen after a `kill -9` of the
tests too, on each system, and from whichever thread they started it. A signal at the parent's death is Linux's alone,
comes when the starting *thread* ends, and has to be asked for between fork and exec, which warns where threads run.

    _keeper.py FOLDER USER SIGNAL COMMAND...

Prints the server's pid, and reads one byte: `s` to stop it, `k` to kill it. Ends when no process of it is left.
"""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time

ENDS_WITHIN = 20.0


def main(folder, user, ending, *command):
    server = begin(folder, user, command)
    print(server.pid, flush=True)  # noqa: T201 - this is how it is heard
    while server.poll() is None:
        if select.select([0], [], [], 0.05)[0]:
            word = os.read(0, 1)
            kill(server) if word == b"k" else stop(server, int(ending))
            if not word:
                shutil.rmtree(folder, ignore_errors=True)


def begin(folder, user, command):
    with open(os.path.join(folder, "log"), "ab") as log:  # noqa: PTH118, PTH123 - starts faster than with pathlib
        return subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **who(user)
        )


def who(user):
    """What makes a child someone else; `user` is `uid:gid`, or empty for no change."""
    if not user:
        return {}
    uid, gid = map(int, user.split(":"))
    return {"user": uid, "group": gid, "extra_groups": []}


def stop(server, ending):
    server.send_signal(ending)
    try:
        server.wait(ENDS_WITHIN)
    except subprocess.TimeoutExpired:
        kill(server)


def kill(server):
    """No process of it does anything more; a group would not do, as each child of PostgreSQL's leads its own."""
    parent = psutil.Process(server.pid)
    parent.suspend()
    while parent.status() not in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}:
        time.sleep(0.001)  # until then it may still fork
    children = parent.children(recursive=True)
    for process in (*children, parent):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    server.wait()
    while any(map(acts, children)):
        time.sleep(0.002)


def acts(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


if __name__ == "__main__":
    import psutil  # comes with the PostgreSQL wheel; where it is missing, that shows before there is anything to kill

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests; their end is what ends this
    main(*sys.argv[1:])
