"""Know which runs this user made on this machine: their config and ledger are his own, and no others are.

A run's folder names the config and the ledger that it was made with. In a folder that somebody sent, both are
the sender's choice: a ledger of his would count this hospital's spends where nobody looks, and a config of
his could point at this hospital's table. So the folder's word is taken only with a seal: a keyed hash under a
secret of this user, which no folder holds. Without it the operator names the ledger himself.

The secret lies in ``$XDG_STATE_HOME/synthgen/runs.key`` (``~/.local/state``), mode 0600. Where it cannot be
kept, no run has a seal, and the ledger is asked for each time.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synthgen.errors import SynthgenError
from synthgen.files.safe_files import open_without_links, write_bytes

KEY_BYTES = 32


def seal(content: Mapping[str, Any]) -> str:
    """Return the seal of JSON values; empty where this user's secret cannot be kept."""
    key = _key(make=True)
    return "" if key is None else _hash(key, content)


def is_own(content: Mapping[str, Any], sealed: object) -> bool:
    """Return whether a seal is this user's, of these values."""
    key = _key(make=False)
    if key is None or not isinstance(sealed, str) or not sealed.isascii():
        return False
    return hmac.compare_digest(_hash(key, content), sealed)


def key_path() -> Path:
    """Return the place of this user's secret.

    Raises:
        RuntimeError: this user has no home.
    """
    folder = os.environ.get("XDG_STATE_HOME") or ""
    return (
        (Path(folder) if folder.startswith("/") else Path.home() / ".local" / "state")
        / "synthgen"
        / "runs.key"
    )


def _hash(key: bytes, content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hmac.new(key, b"synthgen run:" + text.encode(), hashlib.sha256).hexdigest()


def _key(*, make: bool) -> bytes | None:
    try:
        path = key_path()
        if make and not os.path.lexists(path):
            write_bytes(path, secrets.token_bytes(KEY_BYTES), private=True, overwrite=False)
        with open_without_links(path, ours=True) as stream:
            private = not stat.S_IMODE(os.fstat(stream.fileno()).st_mode) & 0o077
            key = stream.read(KEY_BYTES + 1)
    except (OSError, RuntimeError, SynthgenError):
        return None
    return key if private and len(key) == KEY_BYTES else None
