"""Files of a saved model: settings as JSON, numbers as safetensors. Nothing is unpickled.

A model may come from another hospital. Its files are opened without following links, are no larger than the
limits allow, and hold each key once; what they say is checked by the generator that they belong to.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synthgen import jsonfile
from synthgen.safe_files import write_bytes

if TYPE_CHECKING:
    import torch

KEY = "generator"


def write_settings(path: Path, settings: Mapping[str, Any]) -> None:
    """Write JSON values into a file of a model; who saves the model forces its folder to disk."""
    jsonfile.write(path, dict(settings), private=False, durable=False, sort_keys=False)


def read_settings(path: Path) -> dict[str, Any]:
    """Return what `write_settings` wrote.

    Raises:
        ValueError: the file is no JSON object.
        DataError: it is a link, a pipe or a device, or beyond the limits.
        OSError: it cannot be read.
    """
    found = jsonfile.read(path)
    if not isinstance(found, dict):
        raise ValueError("Expected a JSON object, got another value.")
    return found


def write_name(path: Path, name: str) -> None:
    """Write a generator's key into a file of its own."""
    write_settings(path, {KEY: name})


def read_name(path: Path) -> str:
    """Return what `write_name` wrote.

    Raises:
        ValueError: the file names no generator.
        DataError: it is a link, a pipe or a device, or beyond the limits.
        OSError: it cannot be read.
    """
    name = read_settings(path).get(KEY)
    if not isinstance(name, str):
        raise ValueError("Expected the name of a generator, got none.")
    return name


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays into a safetensors file of a model."""
    from safetensors.numpy import save

    write_bytes(path, save({**arrays}), private=False, durable=False)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return what `write_arrays` wrote.

    Raises:
        ValueError: the file is no safetensors file.
        DataError: it is a link, a pipe or a device, or beyond the limits.
        OSError: it cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return dict(load(jsonfile.read_bytes(path, "model_bytes", links=False)))
    except (SafetensorError, KeyError, TypeError) as error:  # a type of numbers that numpy does not have
        raise ValueError("Expected a safetensors file, got another.") from error


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write tensors into a safetensors file of a model."""
    from safetensors.torch import save

    write_bytes(
        path, save({name: t.contiguous() for name, t in tensors.items()}), private=False, durable=False
    )


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return what `write_tensors` wrote.

    Raises:
        ValueError: the file is no safetensors file.
        DataError: it is a link, a pipe or a device, or beyond the limits.
        OSError: it cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return dict(load(jsonfile.read_bytes(path, "model_bytes", links=False)))
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError("Expected a safetensors file, got another.") from error
