"""Drivers of databases, which are not installed with the library: what is said where one is missing, and clients.

Decides what every client of a Redis server has in common here. Does not know what is asked of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import redis

__all__ = ["needs", "redis_client"]


@contextlib.contextmanager
def needs(extra: str, what: str) -> Iterator[None]:
    """Around the import of a driver that an extra brings.

    Raises:
        ModuleNotFoundError: it is not there; the text says the pip line.
    """
    try:
        yield
    except ImportError as error:
        said = f'{what} needs the extra "{extra}": pip install "resilient-agent[{extra}]"'
        raise ModuleNotFoundError(said, name=error.name) from error


def redis_client(url: str, timeout: float, **options: Any) -> redis.Redis:
    """A client that gives up in time, and leaves it to its caller to ask again.

    Args:
        url: as redis-py reads it; `valkey://` and `valkeys://` are understood as well.
        timeout: seconds for connecting, and for each answer.
        options: whatever else redis-py is to be told.
    """
    from redis import Redis, backoff, retry  # noqa: PLC0415 - needed by those who name a server, and by nobody else

    return Redis.from_url(
        f"redis{url.removeprefix('valkey')}" if url.startswith("valkey") else url,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=retry.Retry(backoff.NoBackoff(), 0),
        **options,
    )
