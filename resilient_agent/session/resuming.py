"""Who may go on with a stored session, and whether with what is stored. Pure: the moment is handed in."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Final, Literal

from resilient_agent.errors import Deferred, SessionPoisoned
from resilient_agent.session._durations import in_seconds
from resilient_agent.session.history import History, Interruption

__all__ = ["Resume", "Terms"]

Resume = bool | Literal["force"]

_WITHIN: Final = "resume_within is seconds, a timedelta, or None for no limit"


@dataclasses.dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a session is resumed; the arguments of `session_guard`.

    Raises:
        TypeError, ValueError: an argument is none of its kind; the text says what to give.
    """

    resume: Resume = True
    max_resumes: int | None = 3
    resume_within: float | datetime.timedelta | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.resume, bool) or self.resume == "force"):
            raise ValueError(f'resume is True, False or "force", not {self.resume!r}')
        if self.max_resumes is not None and (
            isinstance(self.max_resumes, bool) or not isinstance(self.max_resumes, int)
        ):
            raise TypeError(f"max_resumes is a number of resumes, or None for no limit, not {self.max_resumes!r}")
        if self.max_resumes is not None and self.max_resumes < 0:
            raise ValueError(f"max_resumes must not be negative, not {self.max_resumes}")
        if self.resume_within is not None and not in_seconds(self.resume_within, _WITHIN) > 0:
            raise ValueError(f"resume_within must be above 0 seconds, not {self.resume_within!r}")

    def begins_afresh(self, history: History, session_id: str, now: datetime.datetime) -> bool:
        """Whether the new owner leaves behind what is stored.

        Raises:
            SessionPoisoned: it was resumed and crashed too often.
            Deferred: it is not to be resumed yet.
        """
        if history.status == "new":
            return False
        if self.resume is False:
            return True
        interruption = history.interruption
        if interruption is None or self.resume == "force":
            return False
        if self.is_stale(interruption, now):
            return True
        if self.max_resumes is not None and interruption.resumes >= self.max_resumes:
            raise SessionPoisoned(session_id, interruption.resumes, _reason(interruption))
        if interruption.not_before is not None and now < interruption.not_before:
            raise Deferred(interruption.not_before, interruption.attempts)
        return False

    def is_stale(self, interruption: Interruption, now: datetime.datetime) -> bool:
        """Whether it ended too long ago to go on with; a wait that a server had asked for makes it no older."""
        if self.resume_within is None:
            return False
        since = max(interruption.at, interruption.not_before or interruption.at)
        return (now - since).total_seconds() > in_seconds(self.resume_within, _WITHIN)


def _reason(interruption: Interruption) -> str:
    if interruption.error is None:
        return "killed, or the machine went down" if interruption.reason == "unknown" else interruption.reason
    return f"{interruption.error} ({interruption.because})" if interruption.because else interruption.error
