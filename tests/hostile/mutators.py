"""Change files as an attacker or a bad disk would: bytes, lengths, structure; all from a seed."""

from __future__ import annotations

import copy
import io
import json
import random
import struct
import zipfile
from collections.abc import Callable
from typing import Any

EXTREME = (
    *(
        0,
        -1,
        1,
        2**31,
        2**63,
        10**18,
        10**30,
        -(10**9),
        0.5,
        1e308,
        -1e-300,
        "",
        "NaN",
        "%d" * 300,
        None,
        True,
    ),
    *([], {}, [[]], "\u202e", "a" * 5000, "..", "/etc/passwd", "\x00", "9" * 5000, ["x"] * 300, "2000-13-45"),
    *("=1+1", "é" * 20, "auto", "1e999", {"class": "GaussianDpEvent", "noise_multiplier": 1e-9}),
)
WORDS = (
    *(b"\x00", b"\xff" * 4, b"\n", b'"', b",", b"\r", b"\x7f\xff\xff\xff", b"[" * 50, b"{" * 50, b"? " * 30),
    *(
        b"&a *a ",
        b"!!python/object:os.system x",
        b"- " * 60,
        b"1e999",
        b"9" * 400,
        b"nan",
        b"\xf0\x9f\x92\xa9",
    ),
    *(b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xff\xfe", b"%d" * 100, b'"' * 99, b"\x1b[2J", b"PK\x05\x06"),
)


def flip(data: bytes, rng: random.Random) -> bytes:
    """Change a few bytes."""
    changed = bytearray(data or b"\0")
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def cut(data: bytes, rng: random.Random) -> bytes:
    """End too early."""
    return data[: rng.randrange(len(data) + 1)]


def splice(data: bytes, rng: random.Random) -> bytes:
    """Repeat, move or leave out a part."""
    a, b = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    part = data[a : min(b, a + 4096)]
    place = rng.randrange(len(data) + 1)
    kind = rng.randrange(3)
    if kind == 0:
        return data[:a] + data[b:]
    return data[:place] + part * rng.choice((1, 2, 50)) + data[place:]


def insert(data: bytes, rng: random.Random) -> bytes:
    """Put in bytes that mean something to a parser."""
    place = rng.randrange(len(data) + 1)
    return data[:place] + rng.choice(WORDS) * rng.choice((1, 1, 3)) + data[place:]


def lengths(data: bytes, rng: random.Random) -> bytes:
    """Overwrite two, four or eight bytes with a number that a length field would not have."""
    form = rng.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
    size = struct.calcsize(form)
    if len(data) < size:
        return flip(data, rng)
    place = rng.randrange(len(data) - size + 1)
    most = 256**size - 1
    number = rng.choice(
        (0, 1, most, most // 2, most // 2 + 1, rng.randrange(most), len(data), len(data) * 1000)
    )
    return data[:place] + struct.pack(form, number & most) + data[place + size :]


BYTES: tuple[Callable[[bytes, random.Random], bytes], ...] = (flip, cut, splice, insert, lengths)


def any_bytes(data: bytes, rng: random.Random) -> bytes:
    """Change bytes in one to three ways."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        data = rng.choice(BYTES)(data, rng)
    return data


def tree(value: Any, rng: random.Random) -> Any:
    """Change one value of a document: leave it out, replace it, or nest it."""
    places: list[tuple[Any, Any]] = []
    left = [value]
    while left:
        node = left.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in keys:
            places.append((node, key))
            if isinstance(node[key], (dict, list)):
                left.append(node[key])
    if not places:
        return copy.deepcopy(rng.choice(EXTREME))
    node, key = rng.choice(places)
    kind = rng.randrange(7)
    if kind == 0 and isinstance(node, dict):
        node[rng.choice(("x", "", "a.b", "\u202e", key))] = node.pop(key)
    elif kind == 1:
        del node[key]
    elif kind == 2:
        nested: Any = copy.deepcopy(node[key])
        for _ in range(rng.choice((1, 30, 200))):
            nested = [nested] if rng.random() < 0.5 else {"a": nested}
        node[key] = nested
    elif kind == 3 and isinstance(node[key], list):
        node[key] = copy.deepcopy(node[key]) * rng.choice((2, 100))
    elif kind == 4 and isinstance(node[key], (int, float)) and not isinstance(node[key], bool):
        node[key] = rng.choice((-node[key], node[key] * 10**9, node[key] + 0.5, node[key] * 1e-12, -0.0))
    else:
        node[key] = copy.deepcopy(rng.choice(EXTREME))
    return value


def json_text(data: bytes, rng: random.Random) -> bytes:
    """Change values of a JSON document, or its bytes."""
    if rng.random() < 0.35:
        return any_bytes(data, rng)
    value = json.loads(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        value = tree(value, rng)
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def yaml_text(data: bytes, rng: random.Random) -> bytes:
    """Change values of a YAML document, or its bytes."""
    from ruamel.yaml import YAML

    if rng.random() < 0.4:
        return any_bytes(data, rng)
    value = YAML(typ="safe", pure=True).load(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        value = tree(value, rng)
    return json.dumps(value, ensure_ascii=rng.random() < 0.5, default=str).encode("utf-8", "replace")


def csv_text(data: bytes, rng: random.Random) -> bytes:
    """Change cells, lines or bytes of a text table."""
    if rng.random() < 0.5:
        return any_bytes(data, rng)
    lines = data.decode("utf-8").splitlines(keepends=True)
    for _ in range(rng.choice((1, 2, 5))):
        at = rng.randrange(len(lines))
        cells = lines[at].split(",")
        cells[rng.randrange(len(cells))] = str(rng.choice(EXTREME))[:9000]
        lines[at] = ",".join(cells)
    return "".join(lines).encode("utf-8", "replace")


def zip_archive(data: bytes, rng: random.Random) -> bytes:
    """Rebuild an archive with entries changed, renamed or mis-declared; or change bytes."""
    if rng.random() < 0.5:
        return any_bytes(data, rng)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", rng.choice((0, 8, 12))) as new:
        for info in old.infolist():
            content, name = old.read(info), info.filename
            if rng.random() < 0.5:
                content = any_bytes(content, rng)
            if rng.random() < 0.1:
                name = rng.choice(("../x.npy", "x_images.npy", "labels.npy", "", "a\x00b", name + "/"))
            if rng.random() < 0.9:
                new.writestr(name or "x", content)
    made = bytearray(out.getvalue())
    if rng.random() < 0.4 and (place := made.rfind(b"PK\x01\x02")) >= 0:
        at = place + rng.choice((8, 10, 16, 20, 24, 42))
        made[at : at + 4] = struct.pack("<I", rng.choice((0, 1, 2**31, 2**32 - 1, rng.randrange(2**20))))
    return bytes(made)


def safetensors(data: bytes, rng: random.Random) -> bytes:
    """Change header or numbers of a safetensors file."""
    if rng.random() < 0.4:
        return any_bytes(data, rng)
    size = struct.unpack_from("<Q", data)[0]
    header, body = json.loads(data[8 : 8 + size]), bytearray(data[8 + size :])
    if rng.random() < 0.5:
        header = tree(header, rng)
    else:
        width = 8 * rng.randrange(max(1, len(body) // 8))
        body[width : width + 8] = struct.pack(
            "<d", rng.choice((float("nan"), float("inf"), -1.0, 1e300, 0.0))
        )
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(body)


def for_name(name: str) -> Callable[[bytes, random.Random], bytes]:
    """Return the mutator of a file's kind."""
    endings = {
        ".json": json_text,
        ".yaml": yaml_text,
        ".csv": csv_text,
        ".npz": zip_archive,
        ".zip": zip_archive,
    }
    endings[".safetensors"] = safetensors
    return next((made for ending, made in endings.items() if name.endswith(ending)), any_bytes)
