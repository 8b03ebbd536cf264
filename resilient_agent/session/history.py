"""`History`: what a session is, folded from its records. Pure; knows no file and no lock."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable
from typing import Any, Literal, Self

from resilient_agent.errors import UnsupportedFormat
from resilient_agent.session.record import FORMAT, Record
from resilient_agent.verdict import Classification, ErrorType

__all__ = ["History", "Interruption", "Status", "holder_of", "interruption_fields"]

Status = Literal["new", "open", "interrupted", "closed"]


@dataclasses.dataclass(frozen=True, slots=True)
class Interruption:
    """How a session ended badly.

    Attributes:
        at: when; of a killed process the moment of its last save. Aware, UTC.
        reason: `"exception"`, `"cancelled"`, `"keyboard interrupt"`, `"system exit"`,
            `"generator exit"`, `"marked"` (by hand), or `"unknown"` where the process had no
            time to say: kill -9, power cut, out of memory.
        error: the class name of the exception, or None.
        verdict: what the classifier says of it, or None.
        rule: the rule that decided, or an empty string.
        because: its reason, or an empty string.
    """

    at: datetime.datetime
    reason: str
    error: str | None = None
    verdict: ErrorType | None = None
    rule: str = ""
    because: str = ""


@dataclasses.dataclass(slots=True)
class History:
    """The fold over a session's records.

    Attributes:
        session_id: as the first owner wrote it; None before the first record.
        seq, epoch: those of the last record; 0 before the first.
        messages, extra: the conversation.
        status: `new` (no record), `open`, `interrupted`, `closed`.
        saved_at: when the last record was written.
        marked: the interruption that an owner wrote down, if the last thing it did was that.
    """

    session_id: str | None = None
    seq: int = 0
    epoch: int = 0
    messages: list[Any] = dataclasses.field(default_factory=list)
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)
    status: Status = "new"
    saved_at: datetime.datetime | None = None
    marked: Interruption | None = None

    @classmethod
    def of(cls, records: Iterable[Record]) -> Self:
        """The history that these records make."""
        history = cls()
        for record in records:
            history.apply(record)
        return history

    def apply(self, record: Record) -> None:
        """Take one record in. A kind that this version does not know changes nothing but the numbers.

        Raises:
            UnsupportedFormat: the record says that the log is of a later format.
        """
        self.seq, self.epoch, self.saved_at = record.seq, record.epoch, record.at
        self.status, self.marked = "open", None
        fields = record.fields
        match record.kind:
            case "opened":
                _check_format(fields)
                self.session_id = fields.get("session_id")
            case "appended":
                self.messages.extend(fields["messages"])
                self.extra = fields.get("extra", self.extra)
            case "replaced":
                self.messages = list(fields["messages"])  # the list grows, the record's own does not
                self.extra = fields.get("extra", self.extra)
            case "extra":
                self.extra = fields["extra"]
            case "interrupted":
                self.status = "interrupted"
                self.marked = _read_interruption(record)
            case "closed":
                self.status = "closed"

    @property
    def interruption(self) -> Interruption | None:
        """How it ended badly, if it did and nobody holds it: as marked, else for an unknown reason."""
        if self.marked is not None or self.status != "open" or self.saved_at is None:
            return self.marked
        return Interruption(at=self.saved_at, reason="unknown")


def holder_of(record: Record) -> str:
    """Who wrote an `opened` record, in words."""
    fields = record.fields
    return f"process {fields.get('pid')} on {fields.get('host')} since {record.at:%Y-%m-%d %H:%M:%S} UTC"


def interruption_fields(reason: str, error: BaseException | None, verdict: Classification | None) -> dict[str, Any]:
    """What an `interrupted` record says. Never the error's message: keys and prompts stand in those."""
    return {
        "reason": reason,
        "error": None if error is None else type(error).__name__,
        "verdict": None if verdict is None else verdict.error_type.value,
        "rule": "" if verdict is None else verdict.rule,
        "because": "" if verdict is None else verdict.because,
    }


def _read_interruption(record: Record) -> Interruption:
    fields = record.fields
    verdict = fields.get("verdict")
    return Interruption(
        at=record.at,
        reason=fields.get("reason", "unknown"),
        error=fields.get("error"),
        verdict=ErrorType(verdict) if verdict in [member.value for member in ErrorType] else None,
        rule=fields.get("rule") or "",
        because=fields.get("because") or "",
    )


def _check_format(fields: dict[str, Any]) -> None:
    found = fields.get("format")
    if not isinstance(found, int) or found > FORMAT:
        raise UnsupportedFormat(
            f"this log has format {found!r}, and this version of resilient_agent reads up to {FORMAT}: "
            "upgrade resilient_agent. The log is left as it is."
        )
