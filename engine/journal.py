"""The journal of a job: what the networks said, tile by tile and mask by mask, safe against a kill at any moment.

One SQLite file in the job folder. A tile is written in one transaction, with a checksum over all that it
holds; so is each mask that was redrawn. What a torn or damaged file can no longer vouch for counts as not done
and is computed again.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from .contracts import Instance, Tile
from .errors import JobFolderError
from .job_folder import require_plain
from .journal_rows import digest_rows, from_row, is_sound, mark_of, to_row

FORMAT = 3
FILE_NAME = "journal.sqlite"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS job (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS tile (
    row INTEGER NOT NULL, col INTEGER NOT NULL, count INTEGER NOT NULL, checksum BLOB NOT NULL,
    PRIMARY KEY (row, col)
);
CREATE TABLE IF NOT EXISTS instance (
    row INTEGER NOT NULL, col INTEGER NOT NULL, number INTEGER NOT NULL,
    id TEXT NOT NULL, x0 INTEGER NOT NULL, y0 INTEGER NOT NULL, x1 INTEGER NOT NULL, y1 INTEGER NOT NULL,
    score REAL NOT NULL, seen_row INTEGER NOT NULL, seen_col INTEGER NOT NULL,
    cut INTEGER NOT NULL, edge INTEGER NOT NULL, refined INTEGER NOT NULL, probability BLOB NOT NULL,
    PRIMARY KEY (row, col, number)
);
CREATE TABLE IF NOT EXISTS redrawn (
    id TEXT PRIMARY KEY, x0 INTEGER, y0 INTEGER, x1 INTEGER, y1 INTEGER, score REAL, seen_row INTEGER,
    seen_col INTEGER, cut INTEGER, edge INTEGER, refined INTEGER, probability BLOB, checksum BLOB NOT NULL
);
"""
_COLUMNS = "id, x0, y0, x1, y1, score, seen_row, seen_col, cut, edge, refined, probability"


class Journal:
    """Finished tiles of one job. Use `Journal.open`, as a context manager or with `close`.

    Calls may come from any thread.

    Attributes:
        folder: the job folder.
        notes: what was lost to damage, if anything, for the log.
    """

    @classmethod
    def open(cls, job_folder: str | Path, fingerprint: dict[str, Any]) -> Journal:
        """Open the journal of a job folder, making both where they do not exist.

        Args:
            job_folder: one job's folder.
            fingerprint: everything the result depends on (raster, model, parameters), as JSON values.

        Raises:
            JobFolderError: the folder cannot be written, is in use by another process, or holds another
                job; the message names what differs.
        """
        return cls(Path(job_folder), fingerprint)

    def __init__(self, folder: Path, fingerprint: dict[str, Any]) -> None:
        self.folder = folder
        self.notes: list[str] = []
        self._lock = threading.RLock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            raise JobFolderError(
                f"The job folder {folder} cannot be made ({_reason(error)})", "Choose another folder"
            ) from error
        require_plain(folder)
        self._database = self._open(fingerprint)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the folder. Everything added is already safe."""
        with self._lock:
            self._database.close()

    def done(self) -> set[tuple[int, int]]:
        """The finished tiles as ``(row, col)``."""
        with self._guarded():
            return set(self._database.execute("SELECT row, col FROM tile"))

    def add(self, tile: Tile, instances: Iterable[Instance]) -> None:
        """Record a finished tile; after return it survives a loss of power.

        Raises:
            JobFolderError: the disk is full or the folder has gone; the journal stays as it was.
        """
        self.add_batch([(tile, list(instances))])

    def add_batch(self, batch: Sequence[tuple[Tile, Sequence[Instance]]]) -> None:
        """Record several finished tiles in one transaction: all of them or none. Raises as `add`."""
        rows = [(tile, [to_row(instance) for instance in instances]) for tile, instances in batch]
        with self._guarded(), _transaction(self._database):
            for tile, found in rows:
                place = (tile.row, tile.col)
                self._database.execute("DELETE FROM instance WHERE row = ? AND col = ?", place)
                self._database.executemany(
                    f"INSERT INTO instance (row, col, number, {_COLUMNS})"  # noqa: S608 - constant names
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    [(*place, number, *row) for number, row in enumerate(found)],
                )
                self._database.execute(
                    "INSERT OR REPLACE INTO tile VALUES (?, ?, ?, ?)", (*place, len(found), digest_rows(place, found))
                )

    def instances(self) -> Iterator[Instance]:
        """All instances of finished tiles, by id (then tile), exactly as they were added.

        Holds one instance at a time. Tiles added meanwhile may or may not be included.
        """
        with self._guarded():
            keys = self._database.execute("SELECT row, col, number FROM instance ORDER BY id, row, col, number")
            places = keys.fetchall()
        for place in places:
            with self._guarded():
                row = self._database.execute(
                    f"SELECT {_COLUMNS} FROM instance WHERE row = ? AND col = ? AND number = ?",  # noqa: S608
                    place,
                ).fetchone()
            try:
                found = from_row(row)
            except (TypeError, ValueError) as error:
                raise self._explain(sqlite3.DatabaseError("an entry is damaged")) from error
            yield found

    def instances_of(self, tile: Tile) -> list[Instance]:
        """The instances of one finished tile, exactly as they were added and in that order."""
        with self._guarded():
            rows = self._database.execute(
                f"SELECT {_COLUMNS} FROM instance WHERE row = ? AND col = ? ORDER BY number",  # noqa: S608
                (tile.row, tile.col),
            ).fetchall()
        try:
            return [from_row(row) for row in rows]
        except (TypeError, ValueError) as error:
            raise self._explain(sqlite3.DatabaseError("an entry is damaged")) from error

    def add_redrawn(self, pairs: Sequence[tuple[Instance, Instance]]) -> None:
        """Record what became of masks, ``(before, after)``; `after` is `before` where it was kept. Raises as `add`."""
        rows = []
        for before, after in pairs:
            row = (before.id, *[None] * 11) if after is before else to_row(after)
            if row[0] != before.id:
                raise ValueError(f"{after.id} is not {before.id} redrawn")
            rows.append((*row, digest_rows(mark_of(before), [row])))
        with self._guarded(), _transaction(self._database):
            self._database.executemany(
                f"INSERT OR REPLACE INTO redrawn VALUES ({', '.join('?' * 13)})",  # noqa: S608
                rows,
            )

    def find_redrawn(self, before: Instance) -> Instance | None:
        """What became of a mask: another instance, `before` itself if it was kept, or None if that is not known."""
        with self._guarded():
            found = self._database.execute(
                f"SELECT {_COLUMNS}, checksum FROM redrawn WHERE id = ?",  # noqa: S608 - constant names
                (before.id,),
            ).fetchone()
        if found is None:
            return None
        *row, checksum = found
        if digest_rows(mark_of(before), [row]) != checksum:
            return None
        if row[-1] is None:
            return before
        try:
            return from_row(row)
        except (TypeError, ValueError):
            return None

    def _open(self, fingerprint: dict[str, Any]) -> sqlite3.Connection:
        """Open the database for this process alone; a file that is none, or is damaged, is set aside."""
        path = self.folder / FILE_NAME
        for attempt in range(2):
            database = None
            try:
                database = _connect(path)
                self._check_fingerprint(database, fingerprint)
                self._drop_damaged_tiles(database)
                return database
            except sqlite3.Error as error:
                if database is not None:
                    database.close()
                if _is_outside_trouble(error) or attempt:
                    raise self._explain(error) from error
                self._set_aside(path)
            except BaseException:
                if database is not None:
                    database.close()
                raise
        raise AssertionError("unreachable")

    def _set_aside(self, path: Path) -> None:
        number = 1
        while (aside := path.with_name(f"journal.damaged-{number}.sqlite")).exists():
            number += 1
        try:
            path.rename(aside)
            with suppress(FileNotFoundError):
                path.with_name(path.name + "-journal").unlink()
        except OSError as error:
            raise JobFolderError(
                f"The journal in {self.folder} is damaged and cannot be moved away ({_reason(error)})",
                "Delete the job folder or choose another",
            ) from error
        self.notes.append(f"The job's journal was damaged; it was set aside as {aside.name} and work starts anew")

    def _check_fingerprint(self, database: sqlite3.Connection, fingerprint: dict[str, Any]) -> None:
        asked = {name: json.dumps(value, sort_keys=True, default=str) for name, value in fingerprint.items()}
        asked["journal format"] = str(FORMAT)
        stored = dict(database.execute("SELECT name, value FROM job"))
        if not stored and not database.execute("SELECT 1 FROM tile LIMIT 1").fetchone():
            with _transaction(database):
                database.executemany("INSERT INTO job VALUES (?, ?)", sorted(asked.items()))
                database.execute("INSERT INTO job VALUES ('checksum', ?)", (_digest_text(asked),))
            return
        if stored.pop("checksum", None) != _digest_text(stored):
            raise sqlite3.DatabaseError("the record of the job is damaged")
        differing = [name for name in sorted({*asked, *stored}) if asked.get(name) != stored.get(name)]
        if differing:
            details = "; ".join(
                f"{name} was {_shorten(stored.get(name))}, is {_shorten(asked.get(name))}" for name in differing[:5]
            )
            raise JobFolderError(
                f"The job folder {self.folder} belongs to another job ({details})",
                "Choose an empty folder, or run with what the folder was begun with",
            )

    def _drop_damaged_tiles(self, database: sqlite3.Connection) -> None:
        """Forget tiles whose contents no longer match their checksums, so that they are done again."""
        damaged = []
        for row, col, count, checksum in database.execute("SELECT * FROM tile").fetchall():
            found = database.execute(
                f"SELECT {_COLUMNS} FROM instance WHERE row = ? AND col = ? ORDER BY number",  # noqa: S608
                (row, col),
            ).fetchall()
            if len(found) != count or digest_rows((row, col), found) != checksum or not all(map(is_sound, found)):
                damaged.append((row, col))
        stray = "NOT EXISTS (SELECT 1 FROM tile WHERE tile.row = instance.row AND tile.col = instance.col)"
        if damaged or database.execute(f"SELECT 1 FROM instance WHERE {stray} LIMIT 1").fetchone():  # noqa: S608
            with _transaction(database):
                database.executemany("DELETE FROM tile WHERE row = ? AND col = ?", damaged)
                database.execute(f"DELETE FROM instance WHERE {stray}")  # noqa: S608
        if damaged:
            self.notes.append(f"{len(damaged)} tiles in the job's journal were damaged and are done again")

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Serialise access and turn SQLite's errors into sentences."""
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise self._explain(error) from error

    def _explain(self, error: sqlite3.Error) -> JobFolderError:
        text = str(error).lower()
        if "full" in text:
            return JobFolderError(
                f"The disk of the job folder {self.folder} is full",
                "Free some space and run again with the same job folder to continue",
            )
        if "locked" in text or "busy" in text:
            return JobFolderError(
                f"The job folder {self.folder} is in use by another run", "Wait for it, or choose another folder"
            )
        return JobFolderError(
            f"The journal in the job folder {self.folder} cannot be read or written ({_reason(error)})",
            "Check the folder and its drive, then run again with the same job folder",
        )


def _connect(path: Path) -> sqlite3.Connection:
    """Open and lock the database. Raises `sqlite3.Error` if it cannot serve as a journal."""
    database = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        database.text_factory = lambda raw: raw.decode("utf-8", "replace")  # damage is for the checksums
        for pragma in (
            "trusted_schema = OFF",
            "cell_size_check = ON",
            "locking_mode = EXCLUSIVE",  # held until closed or dead: no second process
            "journal_mode = TRUNCATE",  # works on network drives too, unlike WAL
            "synchronous = FULL",
        ):
            database.execute(f"PRAGMA {pragma}")
        with _transaction(database, "EXCLUSIVE"):
            pass
        if database.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("the file is damaged")
        database.executescript(_SCHEMA)
        for columns, table in (
            (f"row, col, number, {_COLUMNS}", "instance"),
            ("row, col, count, checksum", "tile"),
            ("name, value", "job"),
            (f"{_COLUMNS}, checksum", "redrawn"),
        ):
            database.execute(f"SELECT {columns} FROM {table} LIMIT 1")  # noqa: S608 - constant names
        if database.execute("SELECT 1 FROM sqlite_master WHERE type IN ('trigger', 'view')").fetchone():
            raise sqlite3.DatabaseError("the file holds more than a journal")
    except BaseException:
        database.close()
        raise
    return database


@contextmanager
def _transaction(database: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    """One transaction: all of it or nothing."""
    database.execute(f"BEGIN {kind}")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # SQLite may have rolled back by itself
            database.execute("ROLLBACK")
        raise


def _is_outside_trouble(error: sqlite3.Error) -> bool:
    """Trouble with the folder, not with what the file holds: nothing to set aside."""
    words = ("locked", "busy", "readonly", "unable to open", "disk", "full", "permission")
    return isinstance(error, sqlite3.OperationalError) and any(word in str(error).lower() for word in words)


def _digest_text(values: dict[str, str]) -> str:
    return hashlib.blake2s(json.dumps(values, sort_keys=True).encode(), digest_size=16).hexdigest()


def _shorten(text: str | None) -> str:
    if text is None:
        return "nothing"
    return text if len(text) <= 60 else text[:57] + "..."


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).rstrip(".")
