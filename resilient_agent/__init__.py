"""resilient_agent: model calls that retry as they should, in sessions that survive a kill -9.

The front door: everything that users need is imported from here, and each name is loaded
when it is first used. Reading order for a newcomer to the code: `verdict`, one table in
`classify/knowledge/`, `classify/rules`, `backoff`, `strategies`, `_call`, `_shapes`; then
`session/record`, `session/history`, `session/stores/file`, `session/guard`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from resilient_agent.backoff import BackoffConfig
    from resilient_agent.classify import ErrorClassifier, Rule, When
    from resilient_agent.classify.explain import Explanation, NearMiss, explain
    from resilient_agent.classify.registry import register, unregister
    from resilient_agent.decorator import Resilient, resilient
    from resilient_agent.errors import (
        InvalidSessionId,
        NotStorable,
        ResilientAgentError,
        SessionBusy,
        SessionClosed,
        SessionError,
        SessionLost,
        StorageError,
        StorageFull,
        UnsupportedFormat,
    )
    from resilient_agent.executor import RetryExecutor
    from resilient_agent.session.guard import AsyncSession, Session, interrupted_sessions, session_guard
    from resilient_agent.session.history import Interruption
    from resilient_agent.session.snapshots import ConversationRecovery
    from resilient_agent.session.stores.file import FileStore, StoredSession
    from resilient_agent.strategies import retry_if_retryable, stop_by_error, wait_by_backoff, wait_by_error
    from resilient_agent.verdict import Classification, ErrorType

__version__ = "0.1.0"

_ROOMS: Final = {
    "AsyncSession": "session.guard",
    "BackoffConfig": "backoff",
    "Classification": "verdict",
    "ConversationRecovery": "session.snapshots",
    "ErrorClassifier": "classify",
    "ErrorType": "verdict",
    "Explanation": "classify.explain",
    "FileStore": "session.stores.file",
    "Interruption": "session.history",
    "InvalidSessionId": "errors",
    "NearMiss": "classify.explain",
    "NotStorable": "errors",
    "Resilient": "decorator",
    "ResilientAgentError": "errors",
    "RetryExecutor": "executor",
    "Rule": "classify",
    "Session": "session.guard",
    "SessionBusy": "errors",
    "SessionClosed": "errors",
    "SessionError": "errors",
    "SessionLost": "errors",
    "StorageError": "errors",
    "StorageFull": "errors",
    "StoredSession": "session.stores.file",
    "UnsupportedFormat": "errors",
    "When": "classify",
    "explain": "classify.explain",
    "interrupted_sessions": "session.guard",
    "register": "classify.registry",
    "resilient": "decorator",
    "retry_if_retryable": "strategies",
    "session_guard": "session.guard",
    "stop_by_error": "strategies",
    "unregister": "classify.registry",
    "wait_by_backoff": "strategies",
    "wait_by_error": "strategies",
}

__all__ = [
    "AsyncSession",
    "BackoffConfig",
    "Classification",
    "ConversationRecovery",
    "ErrorClassifier",
    "ErrorType",
    "Explanation",
    "FileStore",
    "Interruption",
    "InvalidSessionId",
    "NearMiss",
    "NotStorable",
    "Resilient",
    "ResilientAgentError",
    "RetryExecutor",
    "Rule",
    "Session",
    "SessionBusy",
    "SessionClosed",
    "SessionError",
    "SessionLost",
    "StorageError",
    "StorageFull",
    "StoredSession",
    "UnsupportedFormat",
    "When",
    "explain",
    "interrupted_sessions",
    "register",
    "resilient",
    "retry_if_retryable",
    "session_guard",
    "stop_by_error",
    "unregister",
    "wait_by_backoff",
    "wait_by_error",
]


def __getattr__(name: str) -> Any:
    room = _ROOMS.get(name)
    if room is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{room}"), name)
    globals()[name] = value  # the next look-up finds it without asking here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
