"""`PostgresStore`: sessions in PostgreSQL, over psycopg 3.

Decides how each step of `lease.Engine` is one statement, so that it is done or not, and how connections
are kept. No step needs anything of the connection that it ran on (no advisory lock, no setting; a prepared
statement only where no pooler lies between), so it works behind a pooler that gives each transaction
another one. Records are `text`, never `jsonb`, which takes no NUL, sorts keys and drops some. Moments are
`clock_timestamp()`: `now()` is when the transaction began. Knows nothing of records, guards and event loops.

    resilient_agent_session   one row for each session: whose it is, until when, what a listing says of it
    resilient_agent_record    one row for each record: its line, as a file would hold it
    resilient_agent_epoch     the sequence that epochs are drawn from, which outlives every session
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import hashlib
import logging
import os
import re
import threading
import weakref
from collections.abc import Callable, Generator, Iterator
from typing import Any, Final, TypeVar

from resilient_agent import clock
from resilient_agent._drivers import needs
from resilient_agent.errors import SessionBusy
from resilient_agent.session.stores.lease import Engine, Entry, Grant, Lease, Row, step_timeout
from resilient_agent.session.stores.leased import LeasedStore

with needs("postgres", "PostgresStore"):
    import psycopg

__all__ = ["PostgresStore"]

logger: Final = logging.getLogger("resilient_agent.session")

T = TypeVar("T")

_CONNECTIONS: Final = 8

# Each tuple takes the schema from one version to the next; version n is after the n-th of them.
_MIGRATIONS: Final = (
    (
        "CREATE SEQUENCE resilient_agent_epoch",
        # A third of each page stays free: each append changes its session's row, and finds room beside it.
        """
        CREATE TABLE resilient_agent_session (
            key text COLLATE "C" PRIMARY KEY,
            session_id text NOT NULL,
            epoch bigint NOT NULL,
            owner text NOT NULL,
            holder text NOT NULL,
            ttl double precision NOT NULL,
            expires_at timestamptz NOT NULL,
            progress_at timestamptz NOT NULL,
            seq bigint NOT NULL,
            header text NOT NULL,
            ended boolean NOT NULL,
            rest double precision NOT NULL
        ) WITH (fillfactor = 67)
        """,
        "CREATE INDEX resilient_agent_due ON resilient_agent_session (expires_at) WHERE NOT ended",
        """
        CREATE TABLE resilient_agent_record (
            key text COLLATE "C" NOT NULL,
            seq bigint NOT NULL,
            line text NOT NULL,
            PRIMARY KEY (key, seq)
        )
        """,
    ),
)

_CLAIM: Final = """
INSERT INTO resilient_agent_session AS s
VALUES (%(key)s, %(session_id)s, nextval('resilient_agent_epoch'), %(owner)s, %(holder)s, %(ttl)s,
        clock_timestamp() + make_interval(secs => %(ttl)s), clock_timestamp(), 0, '', false, 0)
ON CONFLICT (key) DO UPDATE SET
    epoch = nextval('resilient_agent_epoch'), owner = excluded.owner, holder = excluded.holder, ttl = excluded.ttl,
    expires_at = clock_timestamp() + make_interval(secs => excluded.ttl), progress_at = clock_timestamp()
WHERE s.expires_at <= clock_timestamp() OR s.owner = excluded.owner
RETURNING epoch, seq, clock_timestamp()
"""
_HOLDER: Final = "SELECT holder FROM resilient_agent_session WHERE key = %(key)s AND expires_at > clock_timestamp()"

# A record of the same number was never acknowledged: it is replaced.
_APPEND: Final = """
WITH mine AS (
    UPDATE resilient_agent_session SET seq = %(seq)s, header = %(header)s, ended = %(ended)s, rest = %(rest)s
    WHERE key = %(key)s AND epoch = %(epoch)s AND seq IN (%(seq)s, %(seq)s - 1)
    RETURNING key
)
INSERT INTO resilient_agent_record (key, seq, line) SELECT key, %(seq)s, %(line)s FROM mine
ON CONFLICT (key, seq) DO UPDATE SET line = excluded.line
"""
_APPEND_ALONE: Final = _APPEND.replace(
    "\nINSERT",
    """, gone AS (
    DELETE FROM resilient_agent_record AS r USING mine WHERE r.key = mine.key AND r.seq < %(seq)s
)
INSERT""",
)

_RENEW: Final = """
UPDATE resilient_agent_session AS s SET
    expires_at = clock_timestamp() + make_interval(secs => s.ttl),
    progress_at = clock_timestamp() - make_interval(secs => mine.idle)
FROM unnest(%(keys)s::text[], %(epochs)s::bigint[], %(idle)s::double precision[]) AS mine (key, epoch, idle)
WHERE s.key = mine.key AND s.epoch = mine.epoch
RETURNING s.epoch
"""

_RELEASE: Final = """
WITH begun AS (DELETE FROM resilient_agent_session WHERE key = %(key)s AND epoch = %(epoch)s AND seq = 0)
UPDATE resilient_agent_session SET owner = '', expires_at = clock_timestamp(), rest = %(rest)s
WHERE key = %(key)s AND epoch = %(epoch)s AND seq > 0
"""

_DELETE: Final = """
WITH mine AS (
    DELETE FROM resilient_agent_session WHERE key = %(key)s AND epoch = %(epoch)s RETURNING key
), gone AS (
    DELETE FROM resilient_agent_record AS r USING mine WHERE r.key = mine.key
)
SELECT key FROM mine
"""

_READ: Final = "SELECT line FROM resilient_agent_record WHERE key = %(key)s ORDER BY seq"

_SCAN: Final = """
SELECT session_id, header, expires_at > clock_timestamp(), holder, progress_at
FROM resilient_agent_session WHERE seq > 0
"""

# Those that another worker looks at in this very moment are left to it.
_DUE: Final = """
SELECT session_id FROM resilient_agent_session
WHERE NOT ended AND seq > 0 AND expires_at <= clock_timestamp()
    AND expires_at + make_interval(secs => rest) <= clock_timestamp()
ORDER BY expires_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
"""


class PostgresStore(LeasedStore):
    """Sessions in PostgreSQL 12 or later. Made by `open_store("postgresql://...")` too.

    Its tables are made when they are first used: `resilient_agent_session`, `resilient_agent_record`, the sequence
    `resilient_agent_epoch`, and `resilient_agent_schema` with the version of the others. They are found by the
    role's `search_path`. A pooler between (PgBouncer) may give each transaction another connection.

    An acknowledged save is as safe as the server's `synchronous_commit` makes a commit; where it is off, a
    warning says so.

    Args:
        url: `postgresql://user:password@host:5432/database?sslmode=require`, or any other conninfo of libpq.
        ttl: seconds after which a session is free whose owner is not heard of.
        patience: seconds that the server may be away before an error says so.
        max_connections: how many connections this process uses at a time, and one more that renews its leases.

    Raises:
        ImportError: psycopg is not installed.
        ValueError: a number is out of its range.
        StoreUnavailable, StorageError: (when it is used) the server is away, or refuses.

    Example:
        >>> PostgresStore("postgresql://agent:secret@db.example.com/agents")
        PostgresStore('postgresql://db.example.com/agents')
    """

    def __init__(
        self, url: str, *, ttl: float = 30.0, patience: float = 10.0, max_connections: int = _CONNECTIONS
    ) -> None:
        if max_connections < 1:
            raise ValueError(f"max_connections must be at least 1, not {max_connections!r}")
        super().__init__(_Postgres(url, timeout=step_timeout(ttl), limit=max_connections), ttl=ttl, patience=patience)


class _Postgres(Engine):
    """The engine."""

    errors = (psycopg.Error,)

    def __init__(self, url: str, *, timeout: float, limit: int) -> None:
        self.name = _shown(url)
        self._connections = _Connections(url, timeout, limit)
        self._ready = False

    def now(self) -> datetime.datetime:
        found: datetime.datetime = self._ask("SELECT clock_timestamp()", {})[0][0]
        return found.astimezone(datetime.UTC)

    def claim(self, lease: Lease) -> Grant:
        self._set_up()
        values = {
            "key": _key(lease.session_id), "session_id": _escaped(lease.session_id), "owner": lease.owner,
            "holder": lease.holder, "ttl": lease.ttl,
        }  # fmt: skip
        while True:
            if rows := self._ask(_CLAIM, values):
                epoch, seq, now = rows[0]
                return Grant(epoch, seq, now.astimezone(datetime.UTC))
            if rows := self._ask(_HOLDER, values):
                raise SessionBusy(lease.session_id, rows[0][0])
            # It was released between the two.

    def append(self, lease: Lease, entry: Entry) -> bool:
        values = {
            "key": _key(lease.session_id), "epoch": lease.epoch, "seq": entry.seq, "line": entry.line.decode(),
            "header": entry.header.decode(), "ended": entry.ended, "rest": entry.rest,
        }  # fmt: skip
        return self._count(_APPEND_ALONE if entry.alone else _APPEND, values) == 1

    def renew(self, leases: list[tuple[Lease, float]]) -> list[Lease]:
        values = {
            "keys": [_key(lease.session_id) for lease, _ in leases],
            "epochs": [lease.epoch for lease, _ in leases],
            "idle": [idle for _, idle in leases],
        }
        kept = {epoch for (epoch,) in self._ask(_RENEW, values, reserved=True)}
        return [lease for lease, _ in leases if lease.epoch not in kept]

    def release(self, lease: Lease, rest: float) -> None:
        self._count(_RELEASE, {"key": _key(lease.session_id), "epoch": lease.epoch, "rest": rest})

    def read(self, session_id: str) -> list[bytes]:
        self._set_up()
        return [line.encode() for (line,) in self._ask(_READ, {"key": _key(session_id)})]

    def scan(self) -> Iterator[Row]:
        self._set_up()
        for session_id, header, live, holder, progress_at in self._ask(_SCAN, {}):
            yield Row(_unescaped(session_id), header.encode(), live, holder, progress_at.astimezone(datetime.UTC))

    def due(self, limit: int) -> list[str]:
        self._set_up()
        return [_unescaped(session_id) for (session_id,) in self._ask(_DUE, {"limit": limit})]

    def delete(self, lease: Lease) -> bool:
        return bool(self._ask(_DELETE, {"key": _key(lease.session_id), "epoch": lease.epoch}))

    def _ask(self, statement: str, values: dict[str, Any], *, reserved: bool = False) -> list[tuple[Any, ...]]:
        return self._connections.use(lambda c: c.execute(statement, values).fetchall(), reserved=reserved)

    def _count(self, statement: str, values: dict[str, Any]) -> int:
        return self._connections.use(lambda c: c.writing.execute(statement, values).rowcount)

    def _set_up(self) -> None:
        if not self._ready:
            self._connections.use(_prepare)
            self._ready = True


def _key(session_id: str) -> str:
    """What a session is found by: ids may be longer than an index takes."""
    return hashlib.blake2b(session_id.encode(), digest_size=16).hexdigest()


def _escaped(session_id: str) -> str:
    """An id as the database takes it, which knows no NUL."""
    return session_id.replace("\\", "\\\\").replace("\0", "\\0")


def _unescaped(stored: str) -> str:
    return re.sub(r"\\(.)", lambda found: "\0" if found[1] == "0" else found[1], stored)


def _shown(url: str) -> str:
    """The address without user, password and options."""
    found = psycopg.conninfo.conninfo_to_dict(url)
    port = f":{found['port']}" if found.get("port") else ""
    return f"postgresql://{found.get('host') or 'localhost'}{port}/{found.get('dbname') or ''}"


# The schema


def _prepare(connection: psycopg.Connection[Any]) -> None:
    """Make the tables, or bring them up to date; whoever comes at the same time finds them whole."""
    encoding, commit = connection.execute(
        "SELECT current_setting('server_encoding'), current_setting('synchronous_commit')"
    ).fetchall()[0]
    if encoding != "UTF8":
        raise psycopg.NotSupportedError(f"the database's encoding is {encoding}; messages need one made with UTF8")
    if commit == "off":
        logger.warning("the database has synchronous_commit off: a crash of it loses saves that were acknowledged")
    if _version(connection) < len(_MIGRATIONS):
        _migrate(connection)


def _version(connection: psycopg.Connection[Any]) -> int:
    try:
        rows = connection.execute("SELECT version FROM resilient_agent_schema").fetchall()
    except psycopg.errors.UndefinedTable:
        return -1
    return int(rows[0][0]) if rows else 0


def _migrate(connection: psycopg.Connection[Any]) -> None:
    # Of several who make the first table at once, all but one are told that it is there, in one way or another.
    with contextlib.suppress(
        psycopg.errors.DuplicateTable, psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation
    ):
        connection.execute("CREATE TABLE IF NOT EXISTS resilient_agent_schema (version integer NOT NULL)")
    with connection.transaction():
        connection.execute("LOCK TABLE resilient_agent_schema IN EXCLUSIVE MODE")
        version = _version(connection)
        for migration in _MIGRATIONS[version:]:
            for statement in migration:
                connection.execute(statement)
        connection.execute("DELETE FROM resilient_agent_schema")
        latest = max(version, len(_MIGRATIONS))
        connection.execute("INSERT INTO resilient_agent_schema VALUES (%s)", (latest,))


# Connections


class _Connection(psycopg.Connection[Any]):
    """A connection that waits for no answer longer than `timeout`: a network may swallow one without a word."""

    timeout = 5.0

    @functools.cached_property
    def writing(self) -> psycopg.Cursor[Any]:
        """The cursor for statements that give no rows: a new one for each costs a save more than its record does."""
        return self.cursor()

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **options: Any) -> T:
        return super().wait(_bounded(gen, self.timeout), *args, **options)


def _bounded(gen: Generator[Any, Any, T], seconds: float) -> Generator[Any, Any, T]:
    """The same steps; psycopg asks for one more several times a second, whether there is news or not."""
    until = clock.monotonic() + seconds
    try:
        waiting_for = next(gen)
        while True:
            news = yield waiting_for
            if not news and clock.monotonic() > until:
                raise psycopg.OperationalError(f"no answer within {seconds:g} s")
            waiting_for = gen.send(news)
    except StopIteration as done:
        result: T = done.value
        return result


class _Connections:
    """This process's connections. The one used last goes out first, so those that are not needed are idle.

    Why not psycopg's own pool: it tests each connection before it hands it out, which doubles the round trips;
    here a step that failed is asked again on a new one.
    """

    def __init__(self, url: str, timeout: float, limit: int) -> None:
        self._url = url
        self._timeout = timeout
        self._limit = limit
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._free = threading.BoundedSemaphore(self._limit)
        self._idle: list[_Connection] = []
        weakref.finalize(self, _close_all, self._idle, self._pid)

    def use(self, work: Callable[[_Connection], T], *, reserved: bool = False) -> T:
        """Do some work on a connection; one that failed is not used again.

        Args:
            work: what to do.
            reserved: without waiting for one that is free.
        """
        if self._pid != os.getpid():  # a forked child: its parent's are kept untouched, as closing them would end them
            self._inherited = self._idle
            self._begin()
        with contextlib.nullcontext() if reserved else self._free:
            connection = self._taken()
            try:
                result = work(connection)
            except BaseException:
                self._put_back(connection) if _is_sound(connection) else self._drop(connection)
                raise
            self._put_back(connection)
            return result

    def _taken(self) -> _Connection:
        with contextlib.suppress(IndexError):
            return self._idle.pop()
        # Not within an `except`: a failure to connect would have that error as its context, and be judged by it.
        connection = _Connection.connect(
            self._url,
            autocommit=True,
            prepare_threshold=None,
            connect_timeout=max(2, round(self._timeout)),  # libpq takes no less
            application_name="resilient_agent",
        )
        connection.timeout = self._timeout
        try:
            if _is_direct(connection):
                connection.prepare_threshold = 2
        except BaseException:
            connection.close()
            raise
        return connection

    def _put_back(self, connection: _Connection) -> None:
        self._idle.append(connection)

    def _drop(self, connection: _Connection) -> None:
        connection.close()
        # Those that lay idle as long are probably as dead: a server that restarted has ended them all.
        _close_all(self._idle, self._pid)


def _close_all(idle: list[_Connection], pid: int) -> None:
    """Close this process's connections; a forked child's copies of them are its parent's."""
    while idle and pid == os.getpid():
        with contextlib.suppress(IndexError, psycopg.Error):  # another thread was quicker
            idle.pop().close()


def _is_direct(connection: _Connection) -> bool:
    """Whether no pooler lies between, so that a prepared statement will be where it was prepared.

    A pooler gives its clients numbers of its own to cancel by, as the processes behind it change.
    """
    found = connection.execute("SELECT pg_backend_pid()").fetchall()
    return bool(found[0][0] == connection.info.backend_pid)


def _is_sound(connection: _Connection) -> bool:
    return not connection.closed and connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
