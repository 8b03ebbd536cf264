"""What has nothing to do with a service: bugs in the program, and the machine it runs on."""

import errno

from resilient_agent.classify.knowledge.curves import TRANSPORT, UNAVAILABLE
from resilient_agent.classify.rules import Rule, When
from resilient_agent.verdict import ErrorType

__all__ = ["LOCAL", "LOCAL_WORDS"]

LOCAL = (
    Rule(
        "local/cancelled",
        when=When(types=("CancelledError", "trio.Cancelled", "KeyboardInterrupt", "SystemExit", "GeneratorExit")),
        then=ErrorType.NON_RETRYABLE,
        because="somebody wants this to stop",
        seen="asyncio.CancelledError, also as a leaf of a group",
    ),
    Rule(
        "local/try-again",
        when=When(types=("tenacity.TryAgain",)),
        then=ErrorType.RETRYABLE,
        because="the function itself asks to be called again",
        seen="tenacity documentation: raise TryAgain",
    ),
    Rule(
        "local/circuit-open",
        when=When(types=("resilient_agent.CircuitOpen",)),
        then=ErrorType.RETRYABLE,
        because="the service was down a moment ago, so a circuit breaker keeps calls away from it",
        backoff=UNAVAILABLE,
        seen="resilient_agent.CircuitOpen, out of a call inside",
    ),
    Rule(
        "local/session",
        when=When(
            types=(
                "resilient_agent.Deferred",
                "resilient_agent.OutcomeUnknown",
                "resilient_agent.SessionClosed",
                "resilient_agent.SessionLost",
                "resilient_agent.SessionPoisoned",
                "resilient_agent.SessionSealed",
                "resilient_agent.UnsupportedFormat",
            )
        ),
        then=ErrorType.NON_RETRYABLE,
        because="the session says no, and asking again does not change that: somebody has to decide",
        seen="resilient_agent.OutcomeUnknown, whose text shows the arguments of the call",
    ),
    Rule(
        "local/offline",
        when=When(types=("OfflineModeIsEnabled",)),
        then=ErrorType.NON_RETRYABLE,
        because="the program was told to stay offline",
        seen="huggingface_hub with HF_HUB_OFFLINE set, whose error is a ConnectionError",
    ),
    Rule(
        "local/timeout",
        when=When(types=("builtins.TimeoutError",)),
        then=ErrorType.RETRYABLE,
        because="no answer came in time",
        backoff=TRANSPORT,
        seen="asyncio.wait_for; socket timeouts; OSError: [Errno 110] Connection timed out",
    ),
    Rule(
        "local/connection",
        when=When(types=("builtins.ConnectionError", "BlockingIOError", "InterruptedError")),
        then=ErrorType.RETRYABLE,
        because="the connection could not be made, or broke",
        backoff=TRANSPORT,
        seen="the built-in ConnectionResetError, BrokenPipeError, BlockingIOError",
    ),
    Rule(
        "local/disk-full",
        when=When(types=("OSError",), errnos=(errno.ENOSPC, errno.EDQUOT)),
        then=ErrorType.FATAL,
        because="there is no room left on this machine's disk",
        seen="OSError: [Errno 28] No space left on device",
    ),
    Rule(
        "local/memory-refused",
        when=When(types=("OSError",), errnos=(errno.ENOMEM,)),
        then=ErrorType.FATAL,
        because="this machine has no memory left",
        seen="OSError: [Errno 12] Cannot allocate memory",
    ),
    Rule(
        "local/out-of-memory",
        when=When(types=("MemoryError", "OutOfMemoryError", "_ArrayMemoryError")),
        then=ErrorType.FATAL,
        because="this machine has no memory left",
        seen="the built-in MemoryError",
    ),
    Rule(
        "local/file",
        when=When(
            types=(
                "FileNotFoundError",
                "PermissionError",
                "FileExistsError",
                "IsADirectoryError",
                "NotADirectoryError",
                "ChildProcessError",
                "ProcessLookupError",
            ),
        ),
        then=ErrorType.NON_RETRYABLE,
        because="a file, folder or process of this machine is not as the program expects it",
        seen="the built-in FileNotFoundError",
    ),
    Rule(
        "local/system-call",
        when=When(
            types=("OSError",),
            errnos=(
                errno.ENAMETOOLONG,
                errno.EROFS,
                errno.ELOOP,
                errno.EINVAL,
                errno.EBADF,
                errno.ENOTEMPTY,
                errno.EXDEV,
                errno.EMFILE,
                errno.ENFILE,
                errno.EADDRINUSE,
                errno.ENOEXEC,
                errno.E2BIG,
                errno.EFBIG,
                errno.ENODEV,
                errno.ENOTSUP,
                errno.EIO,
            ),
        ),
        then=ErrorType.NON_RETRYABLE,
        because="this machine's system refuses what the program asks for",
        seen="OSError: [Errno 36] File name too long",
    ),
    Rule(
        "local/validation",
        when=When(types=("ValidationError",)),
        then=ErrorType.NON_RETRYABLE,
        because="the data does not have the form that the program asks for",
        seen="pydantic.ValidationError, whose text names fields such as `timeout`",
    ),
    Rule(
        "local/cut",
        when=When(types=("IncompleteReadError", "SSLEOFError", "SSLZeroReturnError")),
        then=ErrorType.RETRYABLE,
        because="the server went away in the middle of its answer",
        backoff=TRANSPORT,
        seen="asyncio.IncompleteReadError, which is an EOFError; ssl.SSLEOFError",
    ),
    Rule(
        "local/programming",
        when=When(
            types=(
                "TypeError",
                "NameError",
                "AttributeError",
                "AssertionError",
                "LookupError",
                "ArithmeticError",
                "ImportError",
                "SyntaxError",
                "NotImplementedError",
                "RecursionError",
                "UnicodeError",
                "BufferError",
                "StopIteration",
                "StopAsyncIteration",
                "EOFError",
                "InvalidStateError",  # asyncio
                "LimitOverrunError",
                "CalledProcessError",
                "ClosedResourceError",  # anyio, trio
                "BusyResourceError",
                "configparser.*",
                "argparse.*",
                "csv.*",
                "struct.*",
                "binascii.*",
                "pickle.*",
                "zipfile.*",
                "tarfile.*",
                "ImproperConnectionState",  # http.client: used in the wrong order
                "CookieConflict",  # httpx
                "StreamError",
                "UnrewindableBodyError",  # requests
                "StreamConsumedError",
            ),
        ),
        then=ErrorType.NON_RETRYABLE,
        because="this is a mistake in the program: it would be made again",
        seen="a TypeError for a missing argument, retried by most tools",
    ),
)

# The same in words, where a library quotes what this machine said.
LOCAL_WORDS = (
    Rule(
        "local/disk-full-said",
        when=When(
            words=(
                "no space left on device",
                "not enough space on the disk",
                "disk quota exceeded",
                "disk is full",
                "disk full",
                "disk usage exceeded",
                "磁盘空间不足",
            )
        ),
        then=ErrorType.FATAL,
        because="there is no room left on the disk: a person must act",
        seen="a tool that quotes `[Errno 28] No space left on device`; Elasticsearch's flood-stage watermark",
    ),
    Rule(
        "local/closed-here",
        when=When(
            words=(
                "connector is closed",
                "session is closed",
                "client has been closed",
                "event loop is closed",
                "pool is closed",
            ),
        ),
        then=ErrorType.NON_RETRYABLE,
        because="the program itself has closed what it uses: it has to open a new one",
        seen="aiohttp.ClientConnectionError: Connector is closed; RuntimeError: Session is closed, Event loop is closed",
    ),
    Rule(
        "local/refused-here",
        when=When(
            words=("permissionerror", "not allowed by ruleset", "exception deserializing", "exception serializing")
        ),
        then=ErrorType.NON_RETRYABLE,
        because="this machine or its proxy forbids the connection, or cannot read the answer",
        seen="requests: `Connection aborted.`, PermissionError(13); SOCKS reply 2; gRPC: Exception deserializing response",
    ),
)
