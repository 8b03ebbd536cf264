"""`ConversationRecovery`: the reference's snapshots, kept in the same logs as `session_guard`'s.

Decides how whole snapshots become records: what was stored already is not written again.
Reads the reference's own files (`<id>.json`) too, and takes them over when they are written to.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from resilient_agent import clock
from resilient_agent.session._crossing import decided
from resilient_agent.session.content import Message, dict_of, plain, several, write
from resilient_agent.session.history import interruption_fields
from resilient_agent.session.stores.file import FileLog, FileStore

__all__ = ["ConversationRecovery"]

logger: Final = logging.getLogger("resilient_agent.session")

Snapshot = dict[str, Any]


class ConversationRecovery:
    """Snapshots of conversations. New code is safer with `session_guard`, which saves each message.

    A snapshot is whole or absent, whatever happens while it is saved, and all its messages are
    kept. Sessions of `session_guard` in the same folder are shown as well.

    Args:
        snapshot_dir: the folder; when not given that of `session_guard`.

    Example:
        >>> import asyncio, tempfile
        >>> recovery = ConversationRecovery(tempfile.mkdtemp())
        >>> asyncio.run(recovery.save_snapshot("ticket-42", [{"role": "user", "content": "hello"}]))
        True
        >>> asyncio.run(recovery.restore_snapshot("ticket-42"))["message_count"]
        1
    """

    def __init__(self, snapshot_dir: str | os.PathLike[str] | None = None) -> None:
        self._store = FileStore(snapshot_dir)

    async def save_snapshot(
        self, session_id: str, messages: Iterable[Message], extra: Mapping[str, Any] | None = None
    ) -> bool:
        """Store the conversation as it is now; on the disk when this returns.

        Returns:
            True. What cannot be stored is an error, and the snapshot before it stays.

        Raises:
            NotStorable: something in it is no JSON, or no message.
            TypeError: it is one message or a text, not a list.
            InvalidSessionId: the id is empty or no valid text.
            SessionBusy: a guard or another process holds the session.
            StorageError: the disk refused.
        """
        given = enumerate(several(messages, "put it into a list"))
        stored = [dict_of(plain(each, f"$[{place}]"), each, f"$[{place}]") for place, each in given]
        extra_stored = plain(dict(extra or {}))
        await decided(lambda: self._save(session_id, stored, extra_stored), at=self._store)
        return True

    async def restore_snapshot(self, session_id: str) -> Snapshot | None:
        """The snapshot, or None where there is none.

        Returns:
            A dict with `session_id`, `saved_at` (seconds since 1970), `message_count`, `messages`,
            `extra`, and `interrupted` (True) and `interrupted_at` where the session ended badly.

        Raises:
            InvalidSessionId: the id is empty or no valid text.
            StorageError: it cannot be read.
        """
        return await decided(lambda: self._restore(session_id), at=self._store)

    async def delete_snapshot(self, session_id: str) -> bool:
        """Remove the snapshot; whether there was one.

        Raises:
            InvalidSessionId: the id is empty or no valid text.
            SessionBusy: a guard or another process holds the session.
            StorageError: it is still there.
        """
        return await decided(lambda: self._delete(session_id), at=self._store)

    async def mark_interrupted(self, session_id: str) -> bool:
        """Mark the session as interrupted; whether there was one.

        Raises:
            InvalidSessionId: the id is empty or no valid text.
            SessionBusy: a guard or another process holds the session.
            StorageError: the disk refused, and it is not marked.
        """
        return await decided(lambda: self._mark(session_id), at=self._store)

    def list_interrupted_sessions(self) -> list[Snapshot]:
        """The sessions that ended badly, newest first.

        Returns:
            Dicts with `session_id`, `message_count`, `interrupted_at` (seconds since 1970),
            `age_seconds` and `path`.
        """
        now = clock.wall()
        found = {entry["session_id"]: entry for entry in (*self._old_interrupted(), *self._interrupted())}
        newest_first = sorted(found.values(), key=lambda entry: entry["interrupted_at"], reverse=True)
        return [{**entry, "age_seconds": max(0.0, now - entry["interrupted_at"])} for entry in newest_first]

    def _save(self, session_id: str, messages: list[Any], extra: Snapshot) -> None:
        with self._claimed(session_id) as log:
            _record(log, messages, extra)
            log.append("closed", {})
        self._remove_old(session_id)

    def _restore(self, session_id: str) -> Snapshot | None:
        found, history = self._store.find(session_id), self._store.read(session_id)
        if found is None or history is None:
            return self._old(session_id)
        snapshot: Snapshot = {
            "session_id": session_id,
            "saved_at": found.saved_at.timestamp(),
            "message_count": len(history.messages),
            "messages": history.messages,
            "extra": history.extra,
        }
        if found.interruption is not None:
            snapshot |= {"interrupted": True, "interrupted_at": found.interruption.at.timestamp()}
        return snapshot

    def _delete(self, session_id: str) -> bool:
        stored = self._store.delete(session_id)
        return self._remove_old(session_id) or stored

    def _mark(self, session_id: str) -> bool:
        old = self._old(session_id)
        if old is None and self._store.find(session_id) is None:
            return False
        with self._claimed(session_id) as log:
            if log.was == "new" and old is not None:
                _record(log, plain(old["messages"]), plain(old["extra"]))
            log.append("interrupted", interruption_fields("marked", None, None))
        self._remove_old(session_id)
        return True

    def _interrupted(self) -> Iterator[Snapshot]:
        for found in self._store.scan():
            if found.interruption is not None:
                yield {
                    "session_id": found.session_id,
                    "message_count": found.message_count,
                    "interrupted_at": found.interruption.at.timestamp(),
                    "path": str(found.path),
                }

    @contextlib.contextmanager
    def _claimed(self, session_id: str) -> Iterator[FileLog]:
        log = self._store.claim(session_id)
        try:
            yield log
        except BaseException:
            log.abandon()
            raise
        finally:
            log.release()

    # -- the reference's own files ----------------------------------------------------------------

    def _old_path(self, session_id: str) -> Path:
        """Where the reference kept a session; `a/b` and `a_b` share that file, so its content has to be asked."""
        name = session_id.replace("/", "_").replace("\\", "_")
        return self._store.folder / f"{name}.json"

    def _old(self, session_id: str) -> Snapshot | None:
        """A session in the reference's own format, or None."""
        self._store.path(session_id)  # refuses what is no session id
        try:
            snapshot = self._read_old(self._old_path(session_id))
        except (OSError, ValueError):  # not there, or a name that no file can have
            return None
        return snapshot if snapshot is not None and snapshot["session_id"] == session_id else None

    def _remove_old(self, session_id: str) -> bool:
        """Remove the old file, if it is this session's and could be read; whether it was."""
        if self._old(session_id) is None:
            return False
        self._old_path(session_id).unlink(missing_ok=True)
        return True

    def _old_interrupted(self) -> Iterator[Snapshot]:
        for path in sorted(self._store.folder.glob("*.json")):
            with contextlib.suppress(OSError):
                snapshot = self._read_old(path)
                # Where there is a log of the same session, the log is newer: a kill came before the removal.
                if snapshot and snapshot.get("interrupted") and not self._store.find(snapshot["session_id"]):
                    yield {
                        "session_id": snapshot["session_id"],
                        "message_count": snapshot["message_count"],
                        "interrupted_at": snapshot["interrupted_at"],
                        "path": str(path),
                    }

    def _read_old(self, path: Path) -> Snapshot | None:
        """A file in the reference's format as a snapshot; None, and told, where it is none."""
        try:
            content = json.loads(path.read_text("utf-8"))
            self._store.path(content["session_id"])  # refuses what is no session id
            if not isinstance(content["messages"], list):
                raise TypeError("messages")
            snapshot: Snapshot = {
                "session_id": content["session_id"],
                "saved_at": float(content["saved_at"]),
                "message_count": len(content["messages"]),
                "messages": content["messages"],
                "extra": dict(content.get("extra") or {}),
            }
            if content.get("interrupted"):
                snapshot |= {"interrupted": True, "interrupted_at": float(content["interrupted_at"])}
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            logger.warning("%s is no snapshot that can be read (%s); it is left as it is", path, type(error).__name__)
            return None
        return snapshot


def _record(log: FileLog, messages: list[Any], extra: Snapshot) -> None:
    """One record with what is new: of a conversation that went on only the messages that came to it."""
    stored = log.history.messages
    goes_on = write(messages[: len(stored)]) == write(stored)  # as JSON: 1, 1.0 and True are equal to Python
    new = messages[len(stored) :] if goes_on else messages
    log.append("appended" if goes_on else "replaced", {"messages": new, "extra": extra})
