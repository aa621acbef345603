"""A run's folder: what belongs to which config, what is finished, what may leave.

    internal/   mode 0700: state, ingest counts, evaluation, the steward's report. Never leaves.
    public/     the model, the synthetic records, the public report, the bundle

The folder belongs to the hash of the resolved config, schema, policy and version. A finished stage is
not run again; a partial run goes on with ``--resume``, from the noised answers that it stored; another
hash, or changed data, is refused. What the state file says of stages saves time and decides nothing about
noise: whether a fit may draw is in the ledger alone (`synthgen.privacy.reservation`).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthgen.errors import ConfigError, OperationError
from synthgen.outputs import replacing
from synthgen.privacy._ledger_copy import sync_folder

STATE = "state.json"
ANSWERS = "answers.journal"
FORMAT = 1


@dataclass(frozen=True)
class RunFolder:
    """A run's folder.

    Attributes:
        path: the folder.
    """

    path: Path

    @classmethod
    def create(
        cls, path: Path, *, digest: str, source: Mapping[str, Any], resume: bool, goal: str = "finished"
    ) -> RunFolder:
        """Make a folder for a config, or go on with the one that is there.

        Args:
            path: the folder.
            digest: hash of all that the run depends on.
            source: how to read the config again: path and overrides.
            resume: go on with a partial run.
            goal: the stage without which the run is partial for the caller.

        Raises:
            ConfigError: the folder belongs to another config, is partial, or holds something else.
            OperationError: the disk refused.
        """
        folder = cls(path)
        if folder._state_file.exists():
            folder._require(digest, resume, goal)
            return folder
        if path.exists() and not folder._unborn():
            raise ConfigError(
                "Expected an empty folder or a run, found other files.",
                where=str(path),
                next_step="Choose another --output.",
            )
        try:
            folder.internal.mkdir(parents=True, exist_ok=True)
            folder.internal.chmod(0o700)
            folder.public.mkdir(exist_ok=True)
        except OSError as error:
            raise OperationError.of(error, "make the run's folder", where=str(path)) from error
        folder._write({"format": FORMAT, "digest": digest, "source": dict(source), "stages": {}})
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open an existing run.

        Raises:
            ConfigError: there is none.
        """
        folder = cls(path)
        if not folder._state_file.is_file():
            raise ConfigError(
                "Expected the folder of a run, found none.",
                where=str(path),
                next_step="Check the path, or run first.",
            )
        return folder

    @property
    def internal(self) -> Path:
        """What never leaves."""
        return self.path / "internal"

    @property
    def public(self) -> Path:
        """What may leave."""
        return self.path / "public"

    @property
    def model(self) -> Path:
        """The fitted generator."""
        return self.public / "model"

    @property
    def answers(self) -> Path:
        """The noised answers of the fit, stored as they are drawn."""
        return self.internal / ANSWERS

    @property
    def state(self) -> dict[str, Any]:
        """What is known of the run, as JSON values."""
        try:
            content: dict[str, Any] = json.loads(self._state_file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise OperationError("Expected a readable state file.", where=str(self._state_file)) from error
        return content

    def done(self, stage: str) -> dict[str, Any] | None:
        """Return what a finished stage noted, or None."""
        found: dict[str, Any] | None = self.state["stages"].get(stage)
        return found

    def mark(self, stage: str, **noted: Any) -> None:
        """Note that a stage is finished."""
        state = self.state
        state["stages"][stage] = noted
        self._write(state)

    def clean(self) -> None:
        """Remove what a killed process left half written beside the bundle's place."""
        for left in self.public.glob(".*.partial"):
            shutil.rmtree(left, ignore_errors=True)

    def write(self, name: str, content: Any) -> Path:
        """Write JSON into ``internal``."""
        path = self.internal / name
        write_json(path, content)
        return path

    @property
    def _state_file(self) -> Path:
        return self.internal / STATE

    def _unborn(self) -> bool:
        """Whether there is nothing, or what a process left that was killed while it made the folder."""
        ours = {self.internal, self.public, partial_of(self._state_file)}
        return self.path.is_dir() and ours.issuperset(self.path.rglob("*"))

    def _require(self, digest: str, resume: bool, goal: str) -> None:
        state = self.state
        if state["digest"] != digest:
            raise ConfigError(
                "Expected this config's folder, found that of another config, schema, policy or version.",
                where=str(self.path),
                next_step="Choose another --output.",
            )
        if goal not in state["stages"] and not resume:
            kept = self.answers.exists() and "fit" not in state["stages"]
            raise ConfigError(
                f"Expected a finished run, found a partial one{' with stored answers' if kept else ''}.",
                where=str(self.path),
                next_step="Add --resume: only what was drawn and not stored is paid for again."
                if kept
                else "Add --resume.",
            )

    def _write(self, state: Mapping[str, Any]) -> None:
        write_json(self._state_file, state)


def partial_of(path: Path) -> Path:
    """Return where a file is written before it takes its name."""
    return path.with_name(f".{path.name}.partial")


def write_json(path: Path, content: Any) -> None:
    """Write JSON so that a crash leaves the old file or the new one.

    Raises:
        OperationError: the disk refused.
    """
    with replacing(path, "write a file") as partial, partial.open("w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=1, sort_keys=True, allow_nan=False)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())


def sync_tree(folder: Path) -> None:
    """Force a folder's files and their names to disk.

    Raises:
        OperationError: the disk refused.
    """
    try:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                with path.open("rb") as stream:
                    os.fsync(stream.fileno())
        for path in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
            sync_folder(path)
    except OSError as error:
        raise OperationError(
            f"Expected to write a folder ({error.strerror}).",
            where=str(folder),
            next_step="Check the disk, then --resume.",
        ) from None


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def saved_digest(folder: Path | None) -> str:
    """Return the digest of a saved model: of all its files' names and contents; empty if there is none."""
    return source_digest((folder,)) if folder is not None and folder.is_dir() else ""


def source_digest(paths: Sequence[Path]) -> str:
    """Return the SHA-256 of what a run reads: of one file its own, else of all files' names and contents."""
    if len(paths) == 1 and paths[0].is_file():
        return file_digest(paths[0])
    whole = hashlib.sha256()
    for number, root in enumerate(paths):
        files = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file())
        for path in files:
            name = path.relative_to(root).as_posix()
            whole.update(json.dumps([number, name, file_digest(path)]).encode())
    return whole.hexdigest()
