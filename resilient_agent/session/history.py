"""`History`: what a session is, folded from its records. Pure; knows no file and no lock."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal, Self, get_args

from resilient_agent.errors import SessionSealed, UnsupportedFormat
from resilient_agent.session.effects import Effect
from resilient_agent.session.record import FORMAT, Kind, Record
from resilient_agent.verdict import Classification, ErrorType

__all__ = ["History", "Interruption", "Status", "check_unsealed", "holder_of", "interruption_fields"]

Status = Literal["new", "open", "interrupted", "closed"]

_NO_CRASH: Final = frozenset(
    {"cancelled", "keyboard interrupt", "system exit", "generator exit", "terminated", "deferred", "marked"}
)
"""Ends that somebody wanted: they say nothing against resuming."""


@dataclasses.dataclass(frozen=True, slots=True)
class Interruption:
    """How a session ended badly.

    Attributes:
        at: when; of a killed process the moment of its last save. Aware, UTC.
        reason: `"exception"`, `"cancelled"`, `"keyboard interrupt"`, `"system exit"`,
            `"generator exit"`, `"terminated"` (SIGTERM), `"deferred"`, `"marked"` (by hand), or
            `"unknown"` where the process had no time to say: kill -9, power cut, out of memory.
        error: the class name of the exception, or None.
        verdict: what the classifier says of it, or None.
        rule: the rule that decided, or an empty string.
        because: its reason, or an empty string.
        attempts: how many requests the call had made that ended the session; 0 where that is not known.
        resumes: how often in a row the session was resumed and crashed again without getting any further
            (no answer was saved, no effect finished). Ends that somebody wanted (Ctrl-C, a cancellation,
            SIGTERM, a deferral) are no crashes. In a listing, as far as the end of the log tells.
        not_before: when it makes sense to go on, where a server has named that; aware, UTC.
    """

    at: datetime.datetime
    reason: str
    error: str | None = None
    verdict: ErrorType | None = None
    rule: str = ""
    because: str = ""
    attempts: int = 0
    resumes: int = 0
    not_before: datetime.datetime | None = None

    def as_fields(self) -> dict[str, Any]:
        """The fields of an `interrupted` record that says this; `resumes` is counted by the fold."""
        return {
            "reason": self.reason,
            "error": self.error,
            "verdict": None if self.verdict is None else self.verdict.value,
            "rule": self.rule,
            "because": self.because,
            "attempts": self.attempts,
            "not_before": None if self.not_before is None else self.not_before.isoformat(),
        }


@dataclasses.dataclass(slots=True)
class History:
    """The fold over a session's records.

    Attributes:
        session_id: as the first owner wrote it; None before the first record.
        born: a random word of the conversation, from which its idempotency keys are made.
        seq, epoch: those of the last record; 0 before the first.
        messages, extra: the conversation.
        effects: what is done once, by key.
        status: `new` (no record), `open`, `interrupted`, `closed`.
        saved_at: when the last record was written.
        marked: the interruption that an owner wrote down, if the last thing it did was that.
        resumes: how often in a row it was resumed and crashed again.
        resuming: whether its last owner resumed it, and got no further since: it saved no answer of a model
            or a tool, and finished no effect. A prompt that is saved again is no progress.
        place: how many messages its owners saved one after the other; a repair changes nothing of it.
        mended: whether something was put into the messages by a repair; a replacement may have kept it.
        strange: whether there are records of kinds that this version does not know.
    """

    session_id: str | None = None
    born: str = ""
    seq: int = 0
    epoch: int = 0
    messages: list[Any] = dataclasses.field(default_factory=list)
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)
    effects: dict[str, Effect] = dataclasses.field(default_factory=dict)
    status: Status = "new"
    saved_at: datetime.datetime | None = None
    marked: Interruption | None = None
    resumes: int = 0
    resuming: bool = False
    place: int = 0
    mended: bool = False
    strange: bool = False

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
            SessionSealed: the record is sealed.
        """
        check_unsealed(record)
        take = _TAKES.get(record.kind)
        if take is None:
            self.strange = True
        else:
            take(self, record)
        self.seq, self.epoch, self.saved_at = record.seq, record.epoch, record.at
        if record.kind not in _ENDS:
            self.status, self.marked = "open", None

    # One method for each kind of record; they see the history as it was before the record.

    def _opened(self, record: Record) -> None:
        fields = record.fields
        _check_format(fields)
        self.session_id = fields.get("session_id")
        if fields.get("afresh"):
            self.messages, self.extra, self.effects, self.mended = [], {}, {}, False
        self.born = fields.get("born") or self.born
        self.resumes, self.resuming = fields.get("resumes", 0), fields.get("resuming", False)

    def _appended(self, record: Record) -> None:
        fields = record.fields
        messages = fields["messages"]
        self._add(messages)
        self.messages += messages
        self.place += len(messages)
        self.extra = fields.get("extra", self.extra)

    def _replaced(self, record: Record) -> None:
        fields = record.fields
        self._add(fields["messages"])
        self.messages = list(fields["messages"])  # the list grows, the record's own does not
        self.extra = fields.get("extra", self.extra)
        self.place += 1

    def _repaired(self, record: Record) -> None:
        fields = record.fields
        if fields["added"]:
            self._add(fields["messages"])
        self.messages[fields["kept"] :] = fields["messages"]
        self.place += fields["added"]
        self.mended = True

    def _extra(self, record: Record) -> None:
        fields = record.fields
        self.extra = fields["extra"]

    def _started(self, record: Record) -> None:
        fields = record.fields
        self.effects[fields["key"]] = Effect(fields["key"], fields["name"], fields["arguments"], record.at)

    def _finished(self, record: Record) -> None:
        fields = record.fields
        if self.resuming:
            self.resumes, self.resuming = 0, False
        if (started := self.effects.get(fields["key"])) is not None:  # else its line is damaged
            self.effects[fields["key"]] = started.finish(fields["result"])

    def _forgotten(self, record: Record) -> None:
        fields = record.fields
        self.effects.pop(fields["key"], None)

    def _interrupted(self, record: Record) -> None:
        fields = record.fields
        if fields.get("reason") not in _NO_CRASH:
            self.resumes += self.resuming
        self.status = "interrupted"
        self.marked = _read_interruption(record, self.resumes)

    def _closed(self, _: Record) -> None:
        self.status, self.marked, self.resumes = "closed", None, 0

    def _compacted(self, record: Record) -> None:
        fields = record.fields
        _check_format(fields)
        self.session_id, self.born = fields["session_id"], fields["born"]
        self.messages, self.extra = list(fields["messages"]), fields["extra"]
        self.effects = {found["key"]: Effect.from_fields(found) for found in fields["effects"]}
        self.resumes, self.resuming = fields["resumes"], fields["resuming"]
        self.place, self.mended = fields["place"], fields["mended"]

    def _add(self, messages: list[Any]) -> None:
        """Messages came: an answer among them says that the session got further than before."""
        if self.resuming and not all(_is_prompt(message) for message in messages):
            self.resumes, self.resuming = 0, False

    def opening(self, *, afresh: bool) -> dict[str, Any]:
        """The fields of an `opened` record that tell where its owner came in."""
        if afresh:
            return {"afresh": True, "resumes": 0, "resuming": False}
        before = self.interruption
        return {"resumes": before.resumes if before else self.resumes, "resuming": before is not None}

    def compacted(self) -> dict[str, Any]:
        """The fields of a record that says all this at once."""
        return {
            "format": FORMAT,
            "session_id": self.session_id,
            "born": self.born,
            "messages": self.messages,
            "extra": self.extra,
            "effects": [effect.as_fields() for effect in self.effects.values()],
            "resumes": self.resumes,
            "resuming": self.resuming,
            "place": self.place,
            "mended": self.mended,
        }

    def count_after(self, kind: str, fields: dict[str, Any]) -> int:
        """How many messages there are after such a record."""
        match kind:
            case "appended":
                return len(self.messages) + len(fields["messages"])
            case "replaced":
                return len(fields["messages"])
            case "repaired":
                return int(fields["kept"]) + len(fields["messages"])
            case "opened" if fields.get("afresh"):
                return 0
        return len(self.messages)

    @property
    def interruption(self) -> Interruption | None:
        """How it ended badly, if it did and nobody holds it: as marked, else for an unknown reason."""
        if self.marked is not None or self.status != "open" or self.saved_at is None:
            return self.marked
        return Interruption(at=self.saved_at, reason="unknown", resumes=self.resumes + self.resuming)


_PROMPTS: Final = ("user", "system", "developer")
_ENDS: Final = frozenset({"interrupted", "closed"})
_TAKES: Final[dict[str, Callable[[History, Record], None]]] = {
    kind: getattr(History, f"_{kind}") for kind in get_args(Kind)
}


def _is_prompt(message: Any) -> bool:
    """Whether a message asks for an answer; Anthropic's tool results, which stand under a user's role, are one."""
    if not isinstance(message, dict) or message.get("role") not in _PROMPTS:
        return False
    blocks = message.get("content")
    return not isinstance(blocks, list) or not any(
        isinstance(block, dict) and block.get("type") == "tool_result" for block in blocks
    )


def check_unsealed(record: Record) -> None:
    """That a record can be read.

    Raises:
        SessionSealed: it is sealed.
    """
    if "sealed" in record.fields:
        raise SessionSealed(f"record {record.seq} of the session is sealed: give the codec= that it was made with")


def holder_of(record: Record) -> str:
    """Who wrote an `opened` record, in words."""
    fields = record.fields
    return f"process {fields.get('pid')} on {fields.get('host')} since {record.at:%Y-%m-%d %H:%M:%S} UTC"


def interruption_fields(
    reason: str,
    error: BaseException | None,
    verdict: Classification | None,
    *,
    attempts: int = 0,
    not_before: datetime.datetime | None = None,
) -> dict[str, Any]:
    """What an `interrupted` record says. Never the error's message: keys and prompts stand in those."""
    return {
        "reason": reason,
        "error": None if error is None else type(error).__name__,
        "verdict": None if verdict is None else verdict.error_type.value,
        "rule": "" if verdict is None else verdict.rule,
        "because": "" if verdict is None else verdict.because,
        "attempts": attempts,
        "not_before": None if not_before is None else not_before.isoformat(),
    }


def _read_interruption(record: Record, resumes: int) -> Interruption:
    fields = record.fields
    verdict, not_before = fields.get("verdict"), fields.get("not_before")
    return Interruption(
        at=record.at,
        reason=fields.get("reason", "unknown"),
        error=fields.get("error"),
        verdict=ErrorType(verdict) if verdict in [member.value for member in ErrorType] else None,
        rule=fields.get("rule") or "",
        because=fields.get("because") or "",
        attempts=fields.get("attempts") or 0,
        resumes=resumes,
        not_before=None if not_before is None else datetime.datetime.fromisoformat(not_before),
    )


def _check_format(fields: dict[str, Any]) -> None:
    found = fields.get("format")
    if not isinstance(found, int) or found > FORMAT:
        raise UnsupportedFormat(
            f"this log has format {found!r}, and this version of resilient_agent reads up to {FORMAT}: "
            "upgrade resilient_agent. The log is left as it is."
        )
