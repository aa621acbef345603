"""Files of a saved model: settings as JSON, numbers as safetensors. Nothing is unpickled.

A model may come from another hospital. Its files are opened without following links, are no larger than the
limits allow, and hold each key once. Sizes are compared with the file before anything is built from them: a
network is made without memory first, and only if its parameters have the shapes of the tensors on disk is it
made in earnest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from synthgen.encode.table import Encoder
from synthgen.errors import ConfigError, SynthgenError
from synthgen.files import json_file, limits
from synthgen.files.safe_files import write_bytes
from synthgen.generators.compression import Compression, require_cells, stored_merging

if TYPE_CHECKING:
    import torch

    from synthgen.schema.schema import Schema

KEY = "generator"
Stored = TypeVar("Stored")


def write_settings(path: Path, settings: Mapping[str, Any]) -> None:
    """Write JSON values into a file of a model; who saves the model forces its folder to disk."""
    json_file.write(path, dict(settings), private=False, durable=False, sort_keys=False)


def read_settings(path: Path) -> dict[str, Any]:
    """Return what `write_settings` wrote.

    Raises:
        ValueError: the file is no JSON object.
        DataError: it is a link, a pipe or a device, or beyond the limits.
        OSError: it cannot be read.
    """
    found = json_file.read(path)
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
    from safetensors.numpy import load

    return _read(path, load)


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
    from safetensors.torch import load

    return _read(path, load)


def _read(path: Path, load: Callable[[bytes], dict[str, Stored]]) -> dict[str, Stored]:
    """Return a safetensors file's content by one of the library's loaders; see `read_arrays`."""
    from safetensors import SafetensorError

    try:
        return dict(load(json_file.read_bytes(path, "model_bytes", links=False)))
    except (SafetensorError, KeyError, TypeError) as error:  # TypeError: numbers that numpy does not have
        raise ValueError("Expected a safetensors file, got another.") from error


STEP = "Name a folder that `save` or a fit wrote, or copy it anew: it may be damaged or changed."
BROKEN = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    AssertionError,
)
"""What a file that was changed makes of the code that takes it for a model."""


@contextmanager
def reading(folder: Path, what: str = "a saved model") -> Iterator[None]:
    """Turn what goes wrong with a model's files into an error that names the folder.

    Args:
        folder: the model's folder.
        what: what was expected in it.

    Raises:
        ConfigError: the files hold something else.
    """
    try:
        yield
    except SynthgenError:
        raise
    except BROKEN as error:
        raise ConfigError(f"Expected {what}.", where=str(folder), next_step=STEP) from error


def meta(folder: Path, name: str) -> dict[str, Any]:
    """Return a model's settings.

    Raises:
        ConfigError: there are none.
        TooLarge: they are beyond the limits.
    """
    with reading(folder):
        return read_settings(folder / name)


def arrays(folder: Path, name: str) -> dict[str, np.ndarray]:
    """Return a model's tensors as NumPy arrays.

    Raises:
        ConfigError: there are none, or one holds NaN or infinity.
        TooLarge: they are beyond the limits.
    """
    with reading(folder):
        found = read_arrays(folder / name)
        for values in found.values():
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise ValueError("Expected finite numbers.")
        return found


def tensors(folder: Path, name: str) -> dict[str, Any]:
    """Return a model's tensors for torch.

    Raises:
        ConfigError: there are none, or one holds NaN or infinity.
        TooLarge: they are beyond the limits.
    """
    import torch

    with reading(folder):
        found = read_tensors(folder / name)
        for values in found.values():
            if values.is_floating_point() and not bool(torch.isfinite(values).all()):
                raise ValueError("Expected finite numbers.")
        return found


def network(make: Callable[[], Any], weights: Mapping[str, Any]) -> Any:
    """Return a network with its weights, made only if they have its parameters' names and shapes.

    Args:
        make: makes the network, by sizes that the file names.
        weights: its tensors.

    Raises:
        ValueError: they do not fit.
    """
    import torch

    with torch.device("meta"):
        shapes = {name: tuple(values.shape) for name, values in make().state_dict().items()}
    if shapes != {name: tuple(values.shape) for name, values in weights.items()}:
        raise ValueError("Expected tensors of the network's shapes.")
    net = make()
    net.load_state_dict(weights)
    return net


def whole(value: Any, *, least: int = 1, most: int) -> int:
    """Return a whole number of a model's settings.

    Raises:
        ValueError: it is none, or out of its range.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError("Expected a whole number within its range.")
    return value


def sizes(value: Any, *, columns: int) -> Sequence[int]:
    """Return the number of cells of each column.

    Raises:
        ValueError: it is no list of as many whole numbers.
    """
    if not isinstance(value, list) or len(value) != columns:
        raise ValueError("Expected one number a column.")
    return [whole(one, most=limits.current().model_cells) for one in value]


def form(value: Any, schema: Schema, *, keys: Sequence[str]) -> dict[str, int]:
    """Return the sizes that a network of images is made with: those of the schema's images, and others.

    Raises:
        ValueError: they are of other images, or no whole numbers.
    """
    spec = schema.images
    if spec is None or (value["channels"], value["size"]) != (spec.channels, spec.size):
        raise ValueError("Expected the size and the channels of the schema's images.")
    most = limits.current().model_cells
    found = {key: whole(value[key], least=0 if key == "guides" else 1, most=most) for key in keys}
    return {"channels": spec.channels, "size": int(spec.size or 0), **found}


def gains(stored: Mapping[str, Any], bands: int) -> np.ndarray:
    """Return the gains of an image's rings of frequencies.

    Raises:
        ValueError: they are of another size of images.
    """
    found = np.asarray(stored["gains"])
    if found.shape != (bands,):
        raise ValueError("Expected a gain for each ring of frequencies.")
    return found


def merged(
    found: Mapping[str, Any], stored: Mapping[str, np.ndarray], schema: Schema, *, where: str
) -> tuple[dict[str, Compression], int]:
    """Return how fine cells lie in coarse ones, and the number of fine cells.

    Args:
        found: a model's settings, with ``columns`` and ``fine_cells``.
        stored: its arrays ``coarse.i`` and ``share.i``.
        schema: the table's schema.
        where: the model's folder.

    Raises:
        ConfigError: they are of another version.
        TooLarge: more cells are asked for than the limits allow.
        ValueError: they contradict one another.
    """
    merging = stored_merging(found["columns"], stored)
    if sorted(merging) != sorted(column.name for column in schema.columns):
        raise ValueError("Expected the schema's columns.")
    fine = whole(found["fine_cells"], most=limits.LARGEST)
    limits.require("model_cells", fine, where=where)
    require_cells(merging, Encoder.of(schema, fine_cells=fine), where=where)
    return merging, fine
