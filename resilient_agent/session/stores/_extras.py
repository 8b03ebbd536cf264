"""What is said where a driver is not installed: the line that installs it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

__all__ = ["needs"]


@contextlib.contextmanager
def needs(extra: str, what: str) -> Iterator[None]:
    """Around the import of a driver that an extra brings.

    Raises:
        ImportError: it is not there; the text says the pip line.
    """
    try:
        yield
    except ImportError as error:
        raise ImportError(f'{what} needs a driver: pip install "resilient-agent[{extra}]" ({error})') from error
