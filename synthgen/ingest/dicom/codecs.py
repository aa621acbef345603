"""Decoders of the JPEG family for pydicom, from imagecodecs (BSD).

pydicom finds Pillow by itself, which takes 8 bits of JPEG and one grey band of JPEG 2000. 12 bits, lossless
JPEG, JPEG-LS and JPEG 2000 in colour or High-Throughput come from here.
"""

from __future__ import annotations

from typing import Any

import imagecodecs
import numpy as np
from pydicom.pixels.decoders.base import get_decoder

LABEL = "imagecodecs"
_PREFIX = "1.2.840.10008.1.2.4."
_JPEG = ("50", "51", "57", "70")
_LS = ("80", "81")
_2000 = ("90", "91", "201", "202", "203")
DECODER_DEPENDENCIES = {_PREFIX + end: ("imagecodecs",) for end in (*_JPEG, *_LS, *_2000)}


def is_available(uid: str) -> bool:
    """Return whether a transfer syntax is decoded here."""
    return uid in DECODER_DEPENDENCIES


def register() -> None:
    """Tell pydicom of these decoders, after those that it has."""
    for uid in DECODER_DEPENDENCIES:
        decoder = get_decoder(uid)
        if LABEL not in decoder.available_plugins:
            decoder.add_plugin(LABEL, (__name__, "decode"))


def decode(src: bytes, runner: Any) -> bytes:
    """Return one frame's values, as pydicom calls it.

    Colours are left as they were stored, since pydicom turns them by the photometric interpretation; but
    JPEG 2000 undoes its own transform, as the standard wants.

    Raises:
        ValueError: the stream holds another form than the header says.
    """
    end = str(runner.transfer_syntax).removeprefix(_PREFIX)
    if end in _JPEG:
        image = _jpeg(src, runner)
    elif end in _LS:
        image = imagecodecs.jpegls_decode(src)
    else:
        image = imagecodecs.jpeg2k_decode(src) if end in ("90", "91") else imagecodecs.htj2k_decode(src)
        if str(runner.photometric_interpretation) in ("YBR_ICT", "YBR_RCT"):
            runner.set_option("photometric_interpretation", "RGB")
    wanted = (runner.rows, runner.columns) + ((3,) if runner.samples_per_pixel == 3 else ())
    if image.shape != wanted or image.dtype.itemsize > 2 or image.dtype.kind not in "iu":
        raise ValueError("Expected the form that the header says, got another.")
    runner.set_option("bits_allocated", 8 * image.dtype.itemsize)
    if image.ndim == 3:
        runner.set_option("planar_configuration", 0)
    return np.ascontiguousarray(image).tobytes()


def _jpeg(src: bytes, runner: Any) -> Any:
    if runner.samples_per_pixel == 1 or str(runner.photometric_interpretation) == "RGB":
        return imagecodecs.jpeg_decode(src)
    return imagecodecs.jpeg_decode(src, colorspace="YCBCR", outcolorspace="YCBCR")
