"""resilient_agent: model calls that retry as they should, in sessions that survive a kill -9.

The front door: everything that users need is imported from here, and each name is loaded
when it is first used. Reading order for a newcomer to the code: `verdict`, one table in
`classify/knowledge/`, `classify/rules`, `backoff`, `strategies`, `_call`, `_course`, `_shapes`, `gates/pacer`; then
`session/record`, `session/history`, `session/stores/base`, `session/stores/_filelog`, `session/stores/file`,
`session/stores/lease`, `session/stores/_leasedlog`, `session/stores/postgres`, `session/repair`, `session/_core`,
`session/guard`, `session/recovery`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from resilient_agent.backoff import BackoffConfig
    from resilient_agent.classify import ErrorClassifier, Rule, When
    from resilient_agent.classify.explain import Explanation, NearMiss, explain
    from resilient_agent.classify.registry import register, unregister
    from resilient_agent.context import CurrentAttempt, current_attempt, last_call
    from resilient_agent.decorator import Resilient, resilient
    from resilient_agent.errors import (
        AttemptTimeout,
        CircuitOpen,
        DeadlineExceeded,
        Deferred,
        InvalidSessionId,
        NotStorable,
        OutcomeUnknown,
        ResilientAgentError,
        SessionBusy,
        SessionClosed,
        SessionError,
        SessionLost,
        SessionPoisoned,
        SessionSealed,
        StorageError,
        StorageFull,
        StoreUnavailable,
        UnsupportedFormat,
    )
    from resilient_agent.executor import RetryExecutor
    from resilient_agent.fallback import Rung
    from resilient_agent.gates.breaker import BreakerState, CircuitBreaker
    from resilient_agent.gates.budget import RetryBudget
    from resilient_agent.gates.pacer import Pacer
    from resilient_agent.gates.shared.budget import SharedRetryBudget
    from resilient_agent.gates.shared.pacer import SharedPacer
    from resilient_agent.loop import Attempts, attempts
    from resilient_agent.policy import Policy
    from resilient_agent.report import AttemptReport, CallReport, report_of
    from resilient_agent.schedule import Schedule
    from resilient_agent.session.effects import Effect
    from resilient_agent.session.faces import AsyncSession, Session
    from resilient_agent.session.guard import discard_session, interrupted_sessions, prune_sessions, session_guard
    from resilient_agent.session.history import Interruption
    from resilient_agent.session.pending import OpenCall, Pending
    from resilient_agent.session.recovery import claim_interrupted, recover
    from resilient_agent.session.redact import redact_secrets
    from resilient_agent.session.repair import OUTCOME_UNKNOWN, repair_messages
    from resilient_agent.session.snapshots import ConversationRecovery
    from resilient_agent.session.stores import open_store
    from resilient_agent.session.stores.base import SessionStore, StoredSession
    from resilient_agent.session.stores.file import FileStore
    from resilient_agent.session.stores.leased import LeasedStore
    from resilient_agent.session.stores.memory import MemoryStore
    from resilient_agent.session.stores.postgres import PostgresStore
    from resilient_agent.session.stores.redis import RedisStore
    from resilient_agent.strategies import (
        retry_if_retryable,
        stop_before_deadline,
        stop_by_error,
        wait_by_backoff,
        wait_by_error,
    )
    from resilient_agent.verdict import Classification, ErrorType

__version__ = "0.1.0"

_ROOMS: Final = {
    "AsyncSession": "session.faces",
    "AttemptReport": "report",
    "AttemptTimeout": "errors",
    "Attempts": "loop",
    "BackoffConfig": "backoff",
    "BreakerState": "gates.breaker",
    "CallReport": "report",
    "CircuitBreaker": "gates.breaker",
    "CircuitOpen": "errors",
    "Classification": "verdict",
    "ConversationRecovery": "session.snapshots",
    "CurrentAttempt": "context",
    "DeadlineExceeded": "errors",
    "Deferred": "errors",
    "Effect": "session.effects",
    "ErrorClassifier": "classify",
    "ErrorType": "verdict",
    "Explanation": "classify.explain",
    "FileStore": "session.stores.file",
    "Interruption": "session.history",
    "InvalidSessionId": "errors",
    "LeasedStore": "session.stores.leased",
    "MemoryStore": "session.stores.memory",
    "NearMiss": "classify.explain",
    "NotStorable": "errors",
    "OUTCOME_UNKNOWN": "session.repair",
    "OpenCall": "session.pending",
    "OutcomeUnknown": "errors",
    "Pacer": "gates.pacer",
    "Pending": "session.pending",
    "Policy": "policy",
    "PostgresStore": "session.stores.postgres",
    "RedisStore": "session.stores.redis",
    "Resilient": "decorator",
    "ResilientAgentError": "errors",
    "RetryBudget": "gates.budget",
    "RetryExecutor": "executor",
    "Rule": "classify",
    "Rung": "fallback",
    "Schedule": "schedule",
    "Session": "session.faces",
    "SessionBusy": "errors",
    "SessionClosed": "errors",
    "SessionError": "errors",
    "SessionLost": "errors",
    "SessionPoisoned": "errors",
    "SessionSealed": "errors",
    "SessionStore": "session.stores.base",
    "SharedPacer": "gates.shared.pacer",
    "SharedRetryBudget": "gates.shared.budget",
    "StorageError": "errors",
    "StorageFull": "errors",
    "StoreUnavailable": "errors",
    "StoredSession": "session.stores.base",
    "UnsupportedFormat": "errors",
    "When": "classify",
    "attempts": "loop",
    "claim_interrupted": "session.recovery",
    "current_attempt": "context",
    "discard_session": "session.guard",
    "explain": "classify.explain",
    "interrupted_sessions": "session.guard",
    "last_call": "context",
    "open_store": "session.stores",
    "prune_sessions": "session.guard",
    "recover": "session.recovery",
    "redact_secrets": "session.redact",
    "register": "classify.registry",
    "repair_messages": "session.repair",
    "report_of": "report",
    "resilient": "decorator",
    "retry_if_retryable": "strategies",
    "session_guard": "session.guard",
    "stop_before_deadline": "strategies",
    "stop_by_error": "strategies",
    "unregister": "classify.registry",
    "wait_by_backoff": "strategies",
    "wait_by_error": "strategies",
}

__all__ = [
    "OUTCOME_UNKNOWN",
    "AsyncSession",
    "AttemptReport",
    "AttemptTimeout",
    "Attempts",
    "BackoffConfig",
    "BreakerState",
    "CallReport",
    "CircuitBreaker",
    "CircuitOpen",
    "Classification",
    "ConversationRecovery",
    "CurrentAttempt",
    "DeadlineExceeded",
    "Deferred",
    "Effect",
    "ErrorClassifier",
    "ErrorType",
    "Explanation",
    "FileStore",
    "Interruption",
    "InvalidSessionId",
    "LeasedStore",
    "MemoryStore",
    "NearMiss",
    "NotStorable",
    "OpenCall",
    "OutcomeUnknown",
    "Pacer",
    "Pending",
    "Policy",
    "PostgresStore",
    "RedisStore",
    "Resilient",
    "ResilientAgentError",
    "RetryBudget",
    "RetryExecutor",
    "Rule",
    "Rung",
    "Schedule",
    "Session",
    "SessionBusy",
    "SessionClosed",
    "SessionError",
    "SessionLost",
    "SessionPoisoned",
    "SessionSealed",
    "SessionStore",
    "SharedPacer",
    "SharedRetryBudget",
    "StorageError",
    "StorageFull",
    "StoreUnavailable",
    "StoredSession",
    "UnsupportedFormat",
    "When",
    "attempts",
    "claim_interrupted",
    "current_attempt",
    "discard_session",
    "explain",
    "interrupted_sessions",
    "last_call",
    "open_store",
    "prune_sessions",
    "recover",
    "redact_secrets",
    "register",
    "repair_messages",
    "report_of",
    "resilient",
    "retry_if_retryable",
    "session_guard",
    "stop_before_deadline",
    "stop_by_error",
    "unregister",
    "wait_by_backoff",
    "wait_by_error",
]


def __getattr__(name: str) -> Any:
    room = _ROOMS.get(name)
    if room is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f"{__name__}.{room}")
    except AttributeError as error:  # `from resilient_agent import` would take it for a name that we do not have
        raise ImportError(f"{__name__}.{room} cannot be loaded: {error!r}") from error
    value = globals()[name] = getattr(module, name)  # the next look-up finds it without asking here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
