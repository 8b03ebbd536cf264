"""Databases and queues that an agent's tools use: by SQLSTATE, number and class name."""

from resilient_agent.classify.knowledge.curves import GATEWAY, TRANSPORT, UNAVAILABLE
from resilient_agent.classify.rules import Rule, When
from resilient_agent.verdict import ErrorType

__all__ = ["STORES", "STORES_LATE"]

_PG = "PostgreSQL documentation, appendix A, error codes"
_MYSQL = "MySQL documentation, server and client error reference"

STORES = (
    Rule(
        "stores/full",
        when=When(
            codes=("53100", "53200", "sqlite_full", "1021", "1037"),
            types=("OperationalError", "DiskFull", "asyncpg.PostgresError", "psycopg.Error", "psycopg2.Error"),
        ),
        then=ErrorType.FATAL,
        because="the database has no room or no memory left: a person must act",
        seen=f"{_PG}, class 53; SQLITE_FULL; {_MYSQL}",
    ),
    Rule(
        "stores/sqlite-full",
        when=When(types=("sqlite3.OperationalError",), words=("database or disk is full",)),
        then=ErrorType.FATAL,
        because="the database has no room left: a person must act",
        seen="sqlite3.OperationalError: database or disk is full",
    ),
    Rule(
        "stores/conflict",
        when=When(
            codes=("40001", "40p01", "55p03", "sqlite_busy", "sqlite_locked", "1205", "1213"),
            types=("Error", "DatabaseError", "asyncpg.PostgresError", "OperationalError"),
        ),
        then=ErrorType.RETRYABLE,
        because="another transaction holds what this one needs: run it again",
        backoff=GATEWAY,
        seen=f"{_PG}, class 40; SQLITE_BUSY; {_MYSQL}: 1205, 1213",
    ),
    Rule(
        "stores/refused-login",
        when=When(
            codes=("28000", "28p01", "3d000", "25006", "1044", "1045", "1049", "1142", "1143", "1227", "1290"),
            types=("Error", "DatabaseError", "asyncpg.PostgresError", "OperationalError"),
        ),
        then=ErrorType.NON_RETRYABLE,
        because="the database refuses this user, has no such database, or takes no writes",
        seen=f"{_PG}, classes 25 and 28; {_MYSQL}: 1045, 1142, 1290",
    ),
    Rule(
        "stores/refused-connection",
        when=When(
            types=("OperationalError",),
            words=(
                "does not exist",
                "password authentication failed",
                "access denied for user",
                "no pg hba conf entry",
            ),
        ),
        then=ErrorType.NON_RETRYABLE,
        because="the database refuses this user, or has no such database or role",
        seen='psycopg.OperationalError: connection failed: FATAL: database "agents" does not exist',
    ),
    Rule(
        "stores/lock-lost",
        when=When(types=("LockNotOwnedError",)),
        then=ErrorType.NON_RETRYABLE,
        because="the lock was lost meanwhile: releasing it again does not help",
        seen="redis.exceptions.LockNotOwnedError",
    ),
    Rule(
        "stores/too-large-class",
        when=When(types=("DocumentTooLarge", "ProgramLimitExceeded")),
        then=ErrorType.DEGRADED,
        because="the document is larger than the database takes: send less at once",
        seen="pymongo.errors.DocumentTooLarge",
    ),
    Rule(
        "stores/too-large",
        when=When(codes=("1153", "54000"), types=("Error", "DatabaseError", "OperationalError")),
        then=ErrorType.DEGRADED,
        because="the statement is larger than the database takes: send less at once",
        seen=f"{_MYSQL}: 1153, packet bigger than max_allowed_packet",
    ),
    Rule(
        "stores/away",
        when=When(
            codes=(
                "57p01",
                "57p02",
                "57p03",
                "57014",
                "53300",
                "08000",
                "08001",
                "08003",
                "08004",
                "08006",
                "1040",
                "1053",
                "1203",
                "2002",
                "2003",
                "2006",
                "2013",
                "2055",
            ),
            types=("Error", "DatabaseError", "asyncpg.PostgresError", "OperationalError", "InterfaceError"),
        ),
        then=ErrorType.RETRYABLE,
        because="the database is restarting, full of connections, or cut off",
        backoff=UNAVAILABLE,
        seen=f"{_PG}, classes 08, 53 and 57; {_MYSQL}: 2003, 2006, 2013",
    ),
    Rule(
        "stores/sqlite",
        when=When(types=("sqlite3.OperationalError",), words=("is locked", "is busy", "schema has changed")),
        then=ErrorType.RETRYABLE,
        because="another connection holds the database at the moment",
        backoff=TRANSPORT,
        seen="sqlite3.OperationalError: database is locked",
    ),
    Rule(
        "stores/too-many-terms",
        when=When(
            types=("sqlite3.OperationalError",),
            words=("too many sql variables", "too many terms", "string or blob too big"),
        ),
        then=ErrorType.DEGRADED,
        because="the statement is larger than the database takes: send less at once",
        seen="sqlite3.OperationalError: too many SQL variables",
    ),
    Rule(
        "stores/statement",
        when=When(
            types=(
                "IntegrityError",
                "ProgrammingError",
                "DataError",
                "NotSupportedError",
                "sqlite3.OperationalError",
                "IntegrityConstraintViolationError",  # asyncpg
                "SyntaxOrAccessError",
                "DuplicateKeyError",  # pymongo
                "ConfigurationError",
                "InvalidOperation",
                "NoScriptError",  # redis
            )
        ),
        then=ErrorType.NON_RETRYABLE,
        because="the database refuses this very statement: it has to be changed",
        seen="PEP 249, exceptions; psycopg.errors.UniqueViolation; pymongo.errors.DuplicateKeyError",
    ),
)

STORES_LATE = (
    Rule(
        "stores/conflict-class",
        when=When(
            types=(
                "SerializationFailure",
                "SerializationError",
                "DeadlockDetected",
                "DeadlockDetectedError",
                "LockNotAvailable",
                "LockNotAvailableError",
                "WatchError",  # redis
                "TransactionAbortedError",
                "ConflictError",
            )
        ),
        then=ErrorType.RETRYABLE,
        because="another transaction holds what this one needs: run it again",
        backoff=GATEWAY,
        seen="psycopg.errors.SerializationFailure; redis.WatchError",
    ),
    Rule(
        "stores/away-class",
        when=When(
            types=(
                "AdminShutdown",  # psycopg
                "CrashShutdown",
                "CannotConnectNow",
                "TooManyConnections",
                "QueryCanceled",
                "AdminShutdownError",  # asyncpg
                "CannotConnectNowError",
                "TooManyConnectionsError",
                "ConnectionDoesNotExistError",
                "ConnectionFailure",  # psycopg, pymongo
                "AutoReconnect",
                "NetworkTimeout",
                "NotPrimaryError",
                "ServerSelectionTimeoutError",
                "WaitQueueTimeoutError",
                "ExecutionTimeout",
                "BusyLoadingError",  # redis
                "ClusterDownError",
                "MasterDownError",
                "TryAgainError",
                "ReadOnlyError",
                "MaxConnectionsError",
                "LockError",
                "ConnectionTimeout",  # elasticsearch
            )
        ),
        then=ErrorType.RETRYABLE,
        because="the database is restarting, failing over, full of connections, or cut off",
        backoff=UNAVAILABLE,
        seen="psycopg.errors.AdminShutdown; pymongo.errors.AutoReconnect; redis.BusyLoadingError",
    ),
    Rule(
        "stores/answer",
        when=When(types=("redis.ResponseError", "OperationFailure", "asyncpg.PostgresError")),
        then=ErrorType.NON_RETRYABLE,
        because="the database refuses this very command: it has to be changed",
        seen="redis.ResponseError: unknown command",
    ),
    Rule(
        "stores/operational",
        when=When(types=("OperationalError",)),
        then=ErrorType.RETRYABLE,
        because="the database could not work for reasons of its own",
        backoff=UNAVAILABLE,
        seen="PEP 249: OperationalError; psycopg.OperationalError: connection failed",
    ),
)
