"""The named encoders that image metrics report side by side.

A key without a suffix rests on ``radiomics-1``; the same key with the suffix ``.<name>`` on another encoder.
"""

from __future__ import annotations

from synthgen.evaluate import _encoder, _phantom_encoder

ENCODERS = {_encoder.NAME: _encoder.encode, _phantom_encoder.NAME: _phantom_encoder.encode}
WORDS = f"{_encoder.NAME} (keys without a suffix) and {_phantom_encoder.NAME}"


def keyed(key: str, encoder: str) -> str:
    """Return an estimate's key for an encoder.

    Example:
        >>> keyed("real", "radiomics-1"), keyed("real", "phantoms-1")
        ('real', 'real.phantoms-1')
    """
    return key if encoder == _encoder.NAME else f"{key}.{encoder}"


def described() -> dict[str, str]:
    """Return the encoders by name, with the checksum of what they learnt."""
    return {_encoder.NAME: "nothing learnt", _phantom_encoder.NAME: f"sha256 {_phantom_encoder.CHECKSUM}"}
