"""The named encoders that image metrics report side by side.

A key without a suffix rests on ``radiomics-1``; the same key with the suffix ``.<name>`` on another encoder.
"""

from __future__ import annotations

from synthgen.evaluation.features import phantom_encoder, radiomics_encoder

ENCODERS = {radiomics_encoder.NAME: radiomics_encoder.encode, phantom_encoder.NAME: phantom_encoder.encode}
WORDS = f"{radiomics_encoder.NAME} (keys without a suffix) and {phantom_encoder.NAME}"


def keyed(key: str, encoder: str) -> str:
    """Return an estimate's key for an encoder.

    Example:
        >>> keyed("real", "radiomics-1"), keyed("real", "phantoms-1")
        ('real', 'real.phantoms-1')
    """
    return key if encoder == radiomics_encoder.NAME else f"{key}.{encoder}"


def described() -> dict[str, str]:
    """Return the encoders by name, with the checksum of what they learnt."""
    return {
        radiomics_encoder.NAME: "nothing learnt",
        phantom_encoder.NAME: f"sha256 {phantom_encoder.CHECKSUM}",
    }
