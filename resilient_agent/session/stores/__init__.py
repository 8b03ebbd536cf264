"""Where sessions are kept: one room per kind of store, and the table by which a URL finds its own.

Decides which store an address means. The rooms of databases are loaded when one is named, as each needs
a driver that is not installed with the library.
"""

from __future__ import annotations

import importlib
import os
import re
import threading
from typing import Any, Final

from resilient_agent.session.stores.base import SessionStore
from resilient_agent.session.stores.file import FileStore

__all__ = ["ENVIRONMENT", "open_store"]

ENVIRONMENT: Final = "RESILIENT_AGENT_STORE"

_SCHEMES: Final = {
    "postgres": "postgres",
    "postgresql": "postgres",
    "redis": "redis",
    "rediss": "redis",
    "unix": "redis",
    "valkey": "redis",
    "valkeys": "redis",
}
_NAMES: Final = {"postgres": "PostgresStore", "redis": "RedisStore"}
# Settings of libpq, host:port, and URLs without their slashes. Taken for folders, each worker would keep its own.
_ADDRESS: Final = re.compile(
    r"\s*(?:host|hostaddr|port|dbname|user|password|service)\s*=|[\w.-]+:\d+(?:/\d*)?\Z"
    rf"|(?:{'|'.join(_SCHEMES)}):",
    re.IGNORECASE,
)
_NEEDED: Final = ("claim", "read", "scan", "due", "delete", "prune")

_lock = threading.Lock()
_opened: dict[tuple[str, tuple[tuple[str, Any], ...]], SessionStore] = {}


def open_store(store: SessionStore | str | os.PathLike[str] | None = None, **options: Any) -> SessionStore:
    """The store that an address means.

    A database is opened once in a process: its connections, and the thread that renews its leases, are
    shared by all who name it with the same options.

    Args:
        store: a store, which is given back; a folder, where `~` is the home folder; or a URL:
            `postgresql://user@host/database`, `redis://host:6379/0`, `rediss://...`, `valkey://...`,
            `unix:///path/to/socket`. When not given, what the environment variable `RESILIENT_AGENT_STORE`
            says, else the folder that `FileStore()` takes.
        options: for the store: `ttl=`, `patience=` of a database, `durability=` of a folder.

    Raises:
        TypeError: it is none of these, or the store does not know an option.
        ValueError: an empty text, a URL of a kind that there is no store for, the address of a database that is
            no URL, or an option that is out of its range.
        ImportError: the driver is not installed; the text says the pip line.

    Example:
        >>> import tempfile
        >>> open_store(tempfile.mkdtemp(), durability="process").durability
        'process'
        >>> open_store("mysql://localhost/agents")
        Traceback (most recent call last):
            ...
        ValueError: mysql:// is no store; these are: postgres, postgresql, redis, rediss, unix, valkey, valkeys
    """
    if store is None:
        store = os.environ.get(ENVIRONMENT) or None
    if store == "":
        raise ValueError('store="" names no folder: is the variable that it comes from set?')
    if isinstance(store, type):
        raise TypeError(f"store is the class {store.__name__}: make one, {store.__name__}(...)")
    if isinstance(store, str) and "://" in store:
        return _of_url(store, options)
    if isinstance(store, str) and _ADDRESS.match(store):
        raise ValueError(
            "store= reads like the address of a database, and no folder: name a database by its URL, such as "
            "postgresql://user@host/database or redis://host:6379/0; a folder of that name has ./ before it"
        )
    if store is None or isinstance(store, str | os.PathLike):
        return FileStore(store, **options)
    missing = [name for name in _NEEDED if not callable(getattr(store, name, None))]
    if missing:
        raise TypeError(f"store must be a store, a folder or a URL, not {store!r}: it has no {', '.join(missing)}")
    if options:
        raise TypeError(f"{', '.join(options)} is said where the store is made, and {store!r} is made")
    return store


def _of_url(url: str, options: dict[str, Any]) -> SessionStore:
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower()
    if scheme not in _SCHEMES:
        raise ValueError(f"{scheme}:// is no store; these are: {', '.join(_SCHEMES)}")
    room, url = _SCHEMES[scheme], f"{scheme}://{rest}"  # drivers know small letters only
    key = (url, tuple(sorted(options.items())))
    with _lock:
        if key not in _opened:
            made = getattr(importlib.import_module(f"{__name__}.{room}"), _NAMES[room])
            _opened[key] = made(url, **options)
        return _opened[key]
