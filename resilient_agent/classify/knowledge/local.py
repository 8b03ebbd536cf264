"""What has nothing to do with a service: bugs in the program, and the machine it runs on."""

import errno

from resilient_agent.classify.rules import Rule, When
from resilient_agent.verdict import ErrorType

__all__ = ["LOCAL"]

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
        "local/disk-full",
        when=When(types=("OSError",), errnos=(errno.ENOSPC, errno.EDQUOT)),
        then=ErrorType.FATAL,
        because="there is no room left on this machine's disk",
        seen="OSError: [Errno 28] No space left on device",
    ),
    Rule(
        "local/out-of-memory",
        when=When(types=("MemoryError",)),
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
            ),
        ),
        then=ErrorType.NON_RETRYABLE,
        because="a file or folder of this machine is not as the program expects it",
        seen="the built-in FileNotFoundError",
    ),
    Rule(
        "local/validation",
        when=When(types=("ValidationError",)),
        then=ErrorType.NON_RETRYABLE,
        because="the data does not have the form that the program asks for",
        seen="pydantic.ValidationError, whose text names fields such as `timeout`",
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
            ),
        ),
        then=ErrorType.NON_RETRYABLE,
        because="this is a mistake in the program: it would be made again",
        seen="a TypeError for a missing argument, retried by most tools",
    ),
)
