"""Stores in databases, for tests: opened as another process would, and emptied."""

from resilient_agent import PostgresStore, RedisStore


def opened(url, **options):
    """A store with connections of its own, as another process has it."""
    return (RedisStore if url.startswith("redis") else PostgresStore)(url, **options)


def emptied(store):
    """The store, without what tests before have left in it."""
    for found in list(store.scan()):
        store.delete(found.session_id)
    return store
