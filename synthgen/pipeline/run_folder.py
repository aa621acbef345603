"""A run's folder: what belongs to which config, what is finished, what may leave.

    internal/   mode 0700: state, ingest counts, evaluation, the steward's report. Never leaves.
    public/     the model, the synthetic records, the public report, the bundle

The folder belongs to the hash of all that fixes the fit: config, schema and version. A finished stage is
not run again; a partial run goes on with ``--resume``, from the noised answers that it stored; another
hash, or changed data, is refused, unless nothing was drawn yet: then the folder begins anew. What follows the
fit (`synthgen.config.run_config.ResolvedConfig.choices`) can be changed: the stages that rest on it run
again, and each change is kept. What the state file says of stages saves time and decides nothing about noise:
whether a fit may draw is in the ledger alone (`synthgen.privacy.ledger.reservation`).
"""

from __future__ import annotations

import datetime
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthgen.errors import ConfigError, DataError, OperationError, SynthgenError
from synthgen.files import json_file, safe_files
from synthgen.pipeline import own_runs

STATE = "state.json"
ANSWERS = "answers.journal"
SOURCES = "source"
FORMAT = 2
_STATE = {"digest": str, "source": dict, "stages": dict, "choices": dict}
DRAWN = ("sample.records", "release.formats", "release.csv_formulas")
"""Choices that the synthetic records' files rest on; the evaluation rests on all."""


@dataclass(frozen=True)
class RunFolder:
    """A run's folder.

    Attributes:
        path: the folder.
        fresh: made by this process.
        anew: begun anew for another config or schema, since nothing had been drawn.
    """

    path: Path
    fresh: bool = False
    anew: bool = False

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        digest: str,
        source: Mapping[str, Any],
        resume: bool,
        goal: str = "finished",
        choices: Mapping[str, Any] | None = None,
    ) -> RunFolder:
        """Make a folder for a config, or go on with the one that is there.

        Args:
            path: the folder.
            digest: hash of all that fixes the fit.
            source: how to read the config again, as the operator gave it: path, overrides, and whether he
                named the ledger on the command line.
            resume: go on with a partial run, or with choices that changed after the fit.
            goal: the stage without which the run is partial for the caller.
            choices: what follows the fit, by key of the config.

        Raises:
            ConfigError: the folder belongs to another config, is partial, or holds something else.
            OperationError: the disk refused.
        """
        folder = cls(path)
        content = {"format": FORMAT, **_sealed(digest, source), "stages": {}}
        content["choices"] = dict(choices or {})
        if os.path.lexists(folder._state_file):
            folder._check()
            state = folder.state
            if state["digest"] != digest and not folder.drawn:
                folder._write(content)
                return cls(path, anew=True)
            folder._require(digest, resume, goal)
            fitted = "fit" in state["stages"]
            if goal != "fit" or not fitted:
                folder._choose(choices or {}, resume=resume or not fitted)
            if not folder.is_own or folder.state["source"] != dict(source):
                folder._write({**folder.state, **_sealed(digest, source)})
            return folder
        if os.path.lexists(path) and not folder._unborn():
            raise ConfigError(
                "Expected an empty folder or a run, found other files.",
                where=str(path),
                next_step="Choose another --output.",
            )
        try:
            safe_files.make_folders(path, private=False)
            folder._check()  # before anything is made in it: it may be another user's
            safe_files.make_folders(folder.internal, private=True)
            safe_files.make_folders(folder.public, private=False)
        except OSError as error:
            raise OperationError.of(error, "make the run's folder", where=str(path)) from error
        folder._write(content)
        return cls(path, fresh=True)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open an existing run.

        Raises:
            ConfigError: there is none.
            DataError: it holds a link, a pipe, a device, or something of another user.
        """
        folder = cls(path)
        if not os.path.lexists(folder._state_file):
            raise ConfigError(
                "Expected the folder of a run, found none.",
                where=str(path),
                next_step="Check the path, or run first.",
            )
        folder._check()
        return folder

    @classmethod
    def started(cls, path: Path) -> bool:
        """Return whether a folder holds a run for which noise was drawn, or that went on anyway."""
        folder = cls(path)
        if not os.path.lexists(folder._state_file):
            return False
        folder._check()
        return "anyway" in folder.state or folder.drawn

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
        content = self.read(STATE)
        if content.get("format") != FORMAT:
            raise ConfigError(
                "Expected a run of this version of synthgen, found one of another.",
                where=str(self.path),
                next_step="Its model can still be drawn from: synthgen sample RUN. To evaluate it, use the "
                "version that made it.",
            )
        with self.intact(STATE):
            for key, kind in _STATE.items():
                if not isinstance(content[key], kind):
                    raise TypeError(key)
            if not all(isinstance(noted, dict) for noted in content["stages"].values()):
                raise TypeError("stages")
        return content

    def read(self, name: str) -> dict[str, Any]:
        """Return the content of a JSON file in ``internal``.

        Raises:
            DataError: it is missing, or no JSON object, or has a key twice.
            OperationError: the disk refused.
        """
        try:
            with self.intact(name):
                found = json_file.read(self.internal / name)
                if not isinstance(found, dict):
                    raise TypeError(name)
                return found
        except FileNotFoundError:
            raise self._damaged(name) from None
        except OSError as error:
            raise OperationError.of(error, "read the run", where=str(self.internal / name)) from error

    @contextmanager
    def intact(self, name: str) -> Iterator[None]:
        """Refuse a file in ``internal`` that says what no run writes, while it is made use of."""
        try:
            yield
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            raise self._damaged(name) from None

    def _damaged(self, name: str) -> DataError:
        return DataError(
            f"Expected the {name} that a run wrote, found damage.",
            where=str(self.internal / name),
            next_step="Restore the run's folder. Its model can still be drawn from: synthgen sample RUN.",
        )

    @property
    def drawn(self) -> bool:
        """Whether noise may have been drawn for this run."""
        from synthgen.privacy.ledger.answer_journal import Journal

        if "fit" in self.state["stages"] or self.model.exists():
            return True
        if not self.answers.exists():
            return False
        try:
            journal = Journal(self.answers)
        except SynthgenError:  # damaged, a copy, or in use: nobody knows
            return True
        try:
            return journal.drawn
        finally:
            journal.close()

    @property
    def is_own(self) -> bool:
        """Whether this user made the run on this machine, with the config and ledger that it names."""
        state = self.state
        content = {"digest": state.get("digest"), "source": state.get("source")}
        return own_runs.is_own(content, state.get("seal"))

    @property
    def source(self) -> dict[str, Any]:
        """What the run says of its origin: ``config``, ``overrides``, ``ledger_is_named``.

        Raises:
            DataError: it says nothing that can be read so.
        """
        source = self.state.get("source")
        if isinstance(source, dict) and isinstance(source.get("config"), str):
            overrides = source.get("overrides")
            if isinstance(overrides, list) and all(isinstance(text, str) for text in overrides):
                return source
        raise DataError(
            "Expected the state of a run, found one that was changed.",
            where=str(self._state_file),
            next_step="Go on from its config, if you have that: synthgen run CONFIG --output ANOTHER.",
        )

    def keep_sources(self, files: Mapping[str, Path]) -> None:
        """Keep copies of what the run was made from: its config, schema and policy, by name.

        Raises:
            OperationError: the disk refused.
        """
        for name, path in files.items():
            try:
                content = json_file.read_bytes(path, "config_bytes")
            except OSError as error:
                raise OperationError.of(error, "copy the config into the run", where=str(path)) from error
            safe_files.write_bytes(self.sources / name, content, "copy the config into the run", private=True)

    @property
    def sources(self) -> Path:
        """Copies of config, schema and policy."""
        return self.internal / SOURCES

    def discard(self) -> None:
        """Remove a folder that this process made, if nothing was drawn for it."""
        if self.fresh and not self.drawn:
            shutil.rmtree(self.path, ignore_errors=True)

    def note(self, key: str, value: Any) -> None:
        """Keep a fact about the whole run."""
        self._write({**self.state, key: value})

    @property
    def changes(self) -> list[dict[str, Any]]:
        """Choices that were changed after the fit: key, from, to, and when (UTC)."""
        return list(self.state.get("changes", []))

    def choose(self, choices: Mapping[str, Any]) -> None:
        """Take other choices than those that the run has; what rests on them is done again."""
        self._choose(choices, resume=True)

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
        """Remove what killed processes left half written."""
        for folder in (self.internal, self.public):
            safe_files.remove_temporary(folder)

    def write(self, name: str, content: Any) -> Path:
        """Write JSON into ``internal``."""
        path = self.internal / name
        json_file.write(path, content, private=True)
        return path

    @property
    def _state_file(self) -> Path:
        return self.internal / STATE

    def _unborn(self) -> bool:
        """Whether there is nothing, or what a process left that was killed while it made the folder."""
        if self.path.is_symlink() or not self.path.is_dir():
            return False
        found = set(self.path.rglob("*")) - {self.internal, self.public}
        return all(p.parent == self.internal and safe_files.is_temporary(p.name) for p in found)

    def _check(self) -> None:
        """Refuse links, devices and other users' files; keep other users from changing what was checked."""
        try:
            safe_files.check_folder(self.path, what="a run", tighten=True)
            if self.internal.is_dir():
                self.internal.chmod(safe_files.PRIVATE_FOLDER)
        except OSError as error:
            raise OperationError.of(error, "open the run's folder", where=str(self.path)) from error

    def _choose(self, choices: Mapping[str, Any], *, resume: bool) -> None:
        state = self.state
        before = state["choices"]
        changed = [key for key in {**before, **choices} if before.get(key) != choices.get(key)]
        if not changed:
            return
        if not resume:
            raise ConfigError(
                f"Expected the choices that this run was made with, found others of {', '.join(changed)}.",
                where=str(self.path),
                next_step="Add --resume: what follows the fit is done again, without a new spend, and the "
                "change is recorded.",
            )
        if "fit" in state["stages"]:
            now = datetime.datetime.now(tz=datetime.UTC).isoformat(timespec="seconds")
            made = [
                {"key": key, "from": before.get(key), "to": choices.get(key), "when": now} for key in changed
            ]
            state["changes"] = [*state.get("changes", []), *made]
        for stage in ("evaluate", "finished", *(["sample"] if set(changed) & set(DRAWN) else [])):
            state["stages"].pop(stage, None)
        bundle = self.public / "bundle"
        if bundle.exists():
            safe_files.rename(bundle, f"bundle-{1 + len(list(self.public.glob('bundle-*')))}")
        self._write({**state, "choices": dict(choices)})

    def _require(self, digest: str, resume: bool, goal: str) -> None:
        state = self.state
        if state["digest"] != digest:
            raise ConfigError(
                "Expected this config's folder, found that of another config, schema or version.",
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
        json_file.write(self._state_file, state, private=True)


def _sealed(digest: str, source: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run's state says of its origin, with this user's seal."""
    content = {"digest": digest, "source": dict(source)}
    return {**content, "seal": own_runs.seal(content)}
