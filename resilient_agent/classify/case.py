"""`Case`: one failure under judgement, its evidence opened link by link as far as somebody asks.

Most failures are decided by the exception itself, and then nothing behind it is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from resilient_agent.classify.chains import NOTHING, behind
from resilient_agent.classify.evidence import Evidence
from resilient_agent.classify.looking import kind_is

__all__ = ["Case"]


class Case:
    """The evidence of an exception, then of each link behind it. Asking opens what was not opened yet.

    Args:
        error: the exception that is judged.

    Attributes:
        first: the evidence of the exception itself.
    """

    def __init__(self, error: BaseException) -> None:
        self.first = Evidence(error)
        self._opened: list[Evidence] = []
        self._unopened: Iterator[BaseException] | None = None

    def __iter__(self) -> Iterator[Evidence]:
        yield self.first
        yield from self.behind()

    def behind(self) -> Iterable[Evidence]:
        """The evidence of what stands behind the exception, link by link."""
        if self._unopened is None:
            self._unopened = behind(self.first.error)
        return () if self._unopened is NOTHING else self._links()

    def _links(self) -> Iterator[Evidence]:
        place = 0
        while place < len(self._opened) or self._open():
            yield self._opened[place]
            place += 1

    def group(self) -> BaseExceptionGroup[BaseException] | None:
        """The first link that is a group, if there is one."""
        for evidence in self:
            if kind_is(evidence.error, BaseExceptionGroup):
                return evidence.error  # type: ignore[return-value]
        return None

    def _open(self) -> bool:
        link = None if self._unopened is None else next(self._unopened, None)
        if link is None:
            return False
        self._opened.append(Evidence(link))
        return True
