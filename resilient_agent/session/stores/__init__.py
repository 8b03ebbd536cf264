"""Where sessions are kept. One room per kind of store; today files on this machine."""

from resilient_agent.session.stores.file import FileStore, StoredSession

__all__ = ["FileStore", "StoredSession"]
