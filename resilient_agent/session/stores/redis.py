"""`RedisStore`: sessions in Redis or Valkey, over redis-py.

Decides how each step of `lease.Engine` is one script, which the server runs as a whole and, with
`appendfsync always`, has on its disk before it answers. No modules, and nothing newer than Redis 6.2.

A script touches keys of one hash slot only, so it works in a cluster: sessions are spread over
`_SHARDS` shards, and all keys of a shard carry its name in braces. With P the prefix and NN the shard:

    {P:NN}:s:ID    hash   one session: epoch, owner, holder, ttl, expires, progress, seq, rest, ended
    {P:NN}:r:ID    list   its records, each a line as a file would hold it
    {P:NN}:headers hash   ID -> what a listing says of it
    {P:NN}:leases  zset   ID -> until when its lease runs
    {P:NN}:due     zset   ID -> from when on it may be gone on with; those that ended are not in it
    {P:NN}:epoch   number the last epoch that was given, which outlives every session

Nothing expires by itself: an interrupted session waits until somebody goes on with it. Moments are
the server's TIME, in milliseconds. Knows nothing of records, guards and event loops.
"""

from __future__ import annotations

import datetime
import hashlib
import logging
import random
import threading
import urllib.parse
import weakref
from collections.abc import Iterator
from typing import Any, Final

from resilient_agent._drivers import needs, redis_client
from resilient_agent.errors import SessionBusy
from resilient_agent.session.stores.lease import Engine, Entry, Grant, Lease, Row, step_timeout
from resilient_agent.session.stores.leased import LeasedStore

with needs("redis", "RedisStore"):
    import redis

__all__ = ["RedisStore"]

logger: Final = logging.getLogger("resilient_agent.session")

_SHARDS: Final = 16
"""Never to be changed: where a session lies depends on it."""

_PREFIX: Final = "resilient_agent"

_NOW: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# KEYS: session, leases, due, epoch. ARGV: id, owner, holder, ttl in ms.
_CLAIM: Final = (
    _NOW
    + """
local held = redis.call('HMGET', KEYS[1], 'owner', 'expires', 'holder', 'seq', 'ended', 'rest')
if held[1] and held[1] ~= ARGV[2] and tonumber(held[2]) > now then return {false, held[3]} end
local epoch = redis.call('INCR', KEYS[4])
local expires = now + ARGV[4]
redis.call('HSET', KEYS[1], 'epoch', epoch, 'owner', ARGV[2], 'holder', ARGV[3], 'ttl', ARGV[4],
           'expires', expires, 'progress', now)
local seq = tonumber(held[4] or 0)
redis.call('ZADD', KEYS[2], expires, ARGV[1])
if seq > 0 and held[5] ~= '1' then redis.call('ZADD', KEYS[3], expires + held[6], ARGV[1]) end
return {epoch, seq, now}
"""
)

# KEYS: session, records, headers, due. ARGV: id, epoch, seq, line, header, ended, rest in ms, alone.
_APPEND: Final = """
local held = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'ended', 'rest', 'expires')
local seq, wanted = tonumber(held[2] or 0), tonumber(ARGV[3])
if held[1] ~= ARGV[2] or (seq ~= wanted and seq ~= wanted - 1) then return 0 end
if ARGV[8] == '1' then
    redis.call('DEL', KEYS[2])
elseif seq == wanted then
    redis.call('RPOP', KEYS[2])
end
redis.call('RPUSH', KEYS[2], ARGV[4])
redis.call('HSET', KEYS[3], ARGV[1], ARGV[5])
if held[3] == ARGV[6] and held[4] == ARGV[7] then
    redis.call('HSET', KEYS[1], 'seq', wanted)
    return 1
end
redis.call('HSET', KEYS[1], 'seq', wanted, 'ended', ARGV[6], 'rest', ARGV[7])
if ARGV[6] == '1' then
    redis.call('ZREM', KEYS[4], ARGV[1])
else
    redis.call('ZADD', KEYS[4], held[5] + ARGV[7], ARGV[1])
end
return 1
"""

# KEYS: leases, due, and the session of each lease. ARGV: id, epoch, idle in ms, for each.
# Gives the places of those that are lost.
_RENEW: Final = (
    _NOW
    + """
local lost = {}
for place = 1, #KEYS - 2 do
    local id, epoch, idle = ARGV[3 * place - 2], ARGV[3 * place - 1], ARGV[3 * place]
    local held = redis.call('HMGET', KEYS[place + 2], 'epoch', 'ttl', 'rest')
    if held[1] == epoch then
        local expires = now + held[2]
        redis.call('HSET', KEYS[place + 2], 'expires', expires, 'progress', now - idle)
        redis.call('ZADD', KEYS[1], expires, id)
        redis.call('ZADD', KEYS[2], 'XX', expires + (held[3] or 0), id)
    else
        lost[#lost + 1] = place
    end
end
return lost
"""
)

# KEYS: session, leases, due. ARGV: id, epoch, rest in ms.
_RELEASE: Final = (
    _NOW
    + """
local held = redis.call('HMGET', KEYS[1], 'epoch', 'seq')
if held[1] ~= ARGV[2] then return 0 end
redis.call('ZREM', KEYS[2], ARGV[1])
if not held[2] then
    redis.call('DEL', KEYS[1])
    return 1
end
redis.call('HSET', KEYS[1], 'owner', '', 'expires', now, 'rest', ARGV[3])
redis.call('ZADD', KEYS[3], 'XX', now + ARGV[3], ARGV[1])
return 1
"""
)

# KEYS: session, records, headers, leases, due. ARGV: id, epoch.
_DELETE: Final = """
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
redis.call('ZREM', KEYS[5], ARGV[1])
return 1
"""

# KEYS: headers, leases. ARGV: what the keys of the shard's sessions begin with.
# Gives all headers, and of each whose lease runs who holds it and when he got on last.
_SCAN: Final = (
    _NOW
    + """
local live = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. now, '+inf')
local told = {}
for place, id in ipairs(live) do
    local held = redis.call('HMGET', ARGV[1] .. id, 'holder', 'progress')
    told[place] = {id, held[1], held[2]}
end
return {redis.call('HGETALL', KEYS[1]), told}
"""
)

# KEYS: due. ARGV: how many.
_DUE: Final = (
    _NOW
    + """
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
"""
)


class RedisStore(LeasedStore):
    """Sessions in Redis 6.2 or later, or in Valkey. Made by `open_store("redis://...")` too.

    What a save survives is the server's own setting. `appendonly yes` with `appendfsync always` survives a crash of the
    machine; `everysec`, the usual one, may lose a second of acknowledged saves. A failover to a replica may
    lose what the replica had not got: replication is asynchronous, `min-replicas-to-write` makes that rarer, and
    nothing excludes it. Where that is too little, use PostgreSQL. A `maxmemory-policy` that evicts keys would
    throw sessions away: a warning says so when the store is first used.

    Args:
        url: `redis://user:password@host:6379/0`, `rediss://...`, `valkey://...`, `unix://...`; or a client, such as a
            `redis.RedisCluster` or one that a `redis.sentinel.Sentinel` made, with timeouts of its own.
        ttl: seconds after which a session is free whose owner is not heard of.
        patience: seconds that the server may be away before an error says so.
        prefix: with what its keys begin.

    Raises:
        ImportError: redis-py is not installed.
        ValueError: a number is out of its range, the prefix has a brace in it, or the client decodes responses.
        StoreUnavailable, StorageError: (when it is used) the server is away, or refuses.

    Example:
        >>> RedisStore("redis://:secret@cache.example.com:6379/0")
        RedisStore('redis://cache.example.com:6379/0')
    """

    def __init__(
        self, url: str | redis.Redis | redis.RedisCluster, *, ttl: float = 30.0, patience: float = 10.0,
        prefix: str = _PREFIX,
    ) -> None:  # fmt: skip
        if not prefix or set(prefix) & set("{}"):
            raise ValueError(f"prefix must be a word without braces, not {prefix!r}")
        client = redis_client(url, step_timeout(ttl), client_name="resilient_agent") if isinstance(url, str) else url
        if client.get_encoder().decode_responses:
            raise ValueError("the client must give bytes: make it with decode_responses=False")
        name = _shown(url) if isinstance(url, str) else type(url).__name__
        if isinstance(url, str):
            weakref.finalize(self, client.close)
        super().__init__(_Redis(client, name=name, prefix=prefix), ttl=ttl, patience=patience)


class _Redis(Engine):
    """The engine."""

    errors = (redis.RedisError, redis.exceptions.RedisClusterException)

    def __init__(self, client: Any, *, name: str, prefix: str) -> None:
        self.name = name
        self._client = client
        self._prefix = prefix
        self._checked = False
        self._lock = threading.Lock()
        scripts = (_CLAIM, _APPEND, _RENEW, _RELEASE, _DELETE, _SCAN, _DUE)
        register = client.register_script
        self._claim, self._append, self._renew, self._release, self._delete, self._scan, self._due = map(
            register, scripts
        )

    def now(self) -> datetime.datetime:
        seconds, micros = self._client.time()
        return _moment(seconds * 1000 + micros // 1000)

    def claim(self, lease: Lease) -> Grant:
        self._check()
        key = lease.session_id
        shard = self._shard_of(key)
        keys = [f"{shard}:s:{key}", f"{shard}:leases", f"{shard}:due", f"{shard}:epoch"]
        epoch, *told = self._claim(keys, [key, lease.owner, lease.holder, _ms(lease.ttl)])
        if epoch is None:
            raise SessionBusy(lease.session_id, told[0].decode())
        return Grant(epoch, told[0], _moment(told[1]))

    def append(self, lease: Lease, entry: Entry) -> bool:
        key = lease.session_id
        shard = self._shard_of(key)
        keys = [f"{shard}:s:{key}", f"{shard}:r:{key}", f"{shard}:headers", f"{shard}:due"]
        said = [
            key, lease.epoch, entry.seq, entry.line, entry.header, int(entry.ended), _ms(entry.rest), int(entry.alone),
        ]  # fmt: skip
        return bool(self._append(keys, said))

    def renew(self, leases: list[tuple[Lease, float]]) -> list[Lease]:
        shards: dict[str, list[tuple[Lease, float]]] = {}
        for lease, idle in leases:
            shards.setdefault(self._shard_of(lease.session_id), []).append((lease, idle))
        return [lost for shard, here in shards.items() for lost in self._renew_in(shard, here)]

    def _renew_in(self, shard: str, leases: list[tuple[Lease, float]]) -> list[Lease]:
        sessions = [f"{shard}:s:{lease.session_id}" for lease, _ in leases]
        said = [part for lease, idle in leases for part in (lease.session_id, lease.epoch, _ms(idle))]
        lost = self._renew([f"{shard}:leases", f"{shard}:due", *sessions], said)
        return [leases[place - 1][0] for place in lost]

    def release(self, lease: Lease, rest: float) -> None:
        key = lease.session_id
        shard = self._shard_of(key)
        keys = [f"{shard}:s:{key}", f"{shard}:leases", f"{shard}:due"]
        self._release(keys, [key, lease.epoch, _ms(rest)])

    def read(self, session_id: str) -> list[bytes]:
        lines: list[bytes] = self._client.lrange(f"{self._shard_of(session_id)}:r:{session_id}", 0, -1)
        return lines

    def scan(self) -> Iterator[Row]:
        for shard in self._shards():
            headers, live = self._scan([f"{shard}:headers", f"{shard}:leases"], [f"{shard}:s:"])
            held = {key: (holder, progress) for key, holder, progress in live}
            for key, header in zip(headers[::2], headers[1::2], strict=True):
                holder, progress = held.get(key, (b"", b"0"))
                yield Row(key.decode(), header, key in held, holder.decode(), _moment(int(progress)))

    def due(self, limit: int) -> list[str]:
        shards = self._shards()
        random.shuffle(shards)  # so that not all workers look at the same sessions first
        found: list[str] = []
        for shard in shards:
            if len(found) >= limit:
                break
            found += [key.decode() for key in self._due([f"{shard}:due"], [limit - len(found)])]
        return found

    def delete(self, lease: Lease) -> bool:
        key = lease.session_id
        shard = self._shard_of(key)
        keys = [f"{shard}:{part}" for part in (f"s:{key}", f"r:{key}", "headers", "leases", "due")]
        return bool(self._delete(keys, [key, lease.epoch]))

    def _shard_of(self, session_id: str) -> str:
        number = hashlib.blake2b(session_id.encode(), digest_size=1).digest()[0] % _SHARDS
        return self._shard(number)

    def _shard(self, number: int) -> str:
        return f"{{{self._prefix}:{number:02}}}"

    def _shards(self) -> list[str]:
        self._check()
        return [self._shard(number) for number in range(_SHARDS)]

    def _check(self) -> None:
        """Warn, once, of settings of the server that lose sessions."""
        with self._lock:
            if self._checked:
                return
            for warning in _dangers(self._client):
                logger.warning("%s: %s", self.name, warning)
            self._checked = True


def _dangers(client: Any) -> Iterator[str]:
    if isinstance(client, redis.RedisCluster):
        return  # each node has its own answer
    try:
        policy, kept = client.info("memory").get("maxmemory_policy", ""), client.info("persistence")
    except redis.ResponseError:  # this user may not ask: then whoever runs the server has to know
        return
    if policy.startswith("allkeys"):
        yield f"its maxmemory-policy is {policy}: when memory is full it throws sessions away; set noeviction"
    if kept.get("aof_enabled") == 0:
        yield "it keeps no append-only file: what it has acknowledged is lost when it restarts; set appendonly yes"


def _shown(url: str) -> str:
    """The address without user, password and options."""
    found = urllib.parse.urlsplit(url)
    port = f":{found.port}" if found.port else ""
    return f"{found.scheme}://{found.hostname or ''}{port}{found.path}"


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _moment(milliseconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)
