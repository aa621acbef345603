"""Rows of `bench_imaging.py`: kept, averaged over fits, and compared image by image."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Row = dict[str, Any]
KEPT = Path(__file__).parent / "results" / "imaging.json"
FIGURES = ("kernel", "precision", "recall", "coverage")
YARDSTICK = "embedding"
DRAWS = 2000


def answers(said: np.ndarray, truth: np.ndarray) -> Row:
    """Return AUC or accuracy, and each test image's answer, which paired intervals need."""
    if said.shape[1] == 2:
        scores = np.round(said[:, 1], 4)
        return {
            "measure": "AUC",
            "value": auc(scores, truth),
            "answers": scores.tolist(),
            "truth": pack(truth),
        }
    right = said.argmax(axis=1) == truth
    return {"measure": "accuracy", "value": float(right.mean()), "answers": pack(right), "truth": ""}


def pack(bits: np.ndarray) -> str:
    """Return bits as hexadecimal digits behind their number."""
    return f"{len(bits)}:{np.packbits(bits.astype(bool)).tobytes().hex()}"


def unpack(text: str) -> np.ndarray:
    """Return what `pack` packed."""
    number, _, digits = text.partition(":")
    return np.unpackbits(np.frombuffer(bytes.fromhex(digits), dtype=np.uint8))[: int(number)]


def auc(scores: np.ndarray, truth: np.ndarray) -> float:
    """Return the chance that an ill one scores above another; ties count half."""
    from scipy.stats import rankdata

    ill = truth.astype(bool)
    ranks = rankdata(scores)
    return float((ranks[ill].sum() - ill.sum() * (ill.sum() + 1) / 2) / (ill.sum() * (~ill).sum()))


def kept() -> list[Row]:
    """Return the kept rows."""
    text = KEPT.read_text(encoding="utf-8") if KEPT.exists() else ""
    return json.loads(text or "[]")


def keep(row: Row) -> None:
    """Put a row in the place of the one of the same cell; runs side by side take turns."""
    cell = ("set", "generator", "epsilon", "seed")
    with KEPT.open("a") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        others = [old for old in kept() if any(old[key] != row[key] for key in cell)]
        rows = sorted(
            [*others, row], key=lambda r: (r["set"], r["epsilon"] or 0.0, r["generator"], r["seed"])
        )
        KEPT.write_text("[\n" + ",\n".join(json.dumps(r) for r in rows) + "\n]\n", encoding="utf-8")


def line(row: Row) -> str:
    """Return a row as text."""
    told = ", ".join(f"{key} {row['figures'][key]:.3f}" for key in FIGURES if key in row["figures"])
    where = f"{row['set']} {row['generator']} epsilon {row['epsilon'] or 0:g} seed {row['seed']}"
    took = f"fit {row['seconds']:.0f} s ({row['cpu_seconds']:.0f} CPU), drawn in {row['draw_seconds']:.0f} s"
    return f"{where}: {row['measure']} {row['value']:.4f} {told} {took}, peak {row['peak_gib']:.1f} GiB"


def table(rows: Sequence[Row]) -> list[str]:
    """Return Markdown: means over fits, their spread, and the paired difference from the yardstick."""
    head = (
        "set",
        "epsilon",
        "generator",
        "fits",
        "AUC or accuracy",
        "sd",
        f"minus {YARDSTICK}",
        *FIGURES,
        "fit, CPU s",
        "GiB",
    )
    out = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for cell in _cells(rows):
        fits = [r for r in rows if _cell(r) == cell]
        values = [r["value"] for r in fits]
        mean = {
            key: np.mean([r["figures"][key] for r in fits]) for key in FIGURES if key in fits[0]["figures"]
        }
        sd = f"{np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
        shown = [
            *(cell[0], "" if cell[1] is None else f"{cell[1]:g}", cell[2], str(len(fits))),
            *(f"{np.mean(values):.4f}", sd, _against(rows, cell, fits)),
            *(f"{mean[key]:.3f}" if key in mean else "" for key in FIGURES),
            *(
                f"{np.median([r['cpu_seconds'] for r in fits]):.0f}",
                f"{max(r['peak_gib'] for r in fits):.1f}",
            ),
        ]
        out.append("| " + " | ".join(shown) + " |")
    return out


def _cell(row: Row) -> tuple[Any, ...]:
    return row["set"], row["epsilon"], row["generator"]


def _cells(rows: Iterable[Row]) -> list[tuple[Any, ...]]:
    return sorted({_cell(row) for row in rows}, key=lambda c: (c[0], c[1] is None, c[1] or 0.0, c[2]))


def _against(rows: Sequence[Row], cell: tuple[Any, ...], fits: Sequence[Row]) -> str:
    other = [r for r in rows if _cell(r) == (cell[0], cell[1], YARDSTICK)]
    if cell[2] == YARDSTICK or not other:
        return ""
    low, high = paired(fits, other)
    middle = np.mean([r["value"] for r in fits]) - np.mean([r["value"] for r in other])
    return f"{middle:+.4f} ({low:+.3f} to {high:+.3f})"


def paired(first: Sequence[Row], second: Sequence[Row]) -> tuple[float, float]:
    """Return the 95 % interval, over test images, of the difference of two generators' means over fits."""
    rng = np.random.default_rng(0)
    if first[0]["measure"] == "accuracy":
        right = [np.mean([unpack(r["answers"]) for r in rows], axis=0) for rows in (first, second)]
        gap = right[0] - right[1]
        half = 1.96 * gap.std() / len(gap) ** 0.5
        return float(gap.mean() - half), float(gap.mean() + half)
    truth = unpack(first[0]["truth"])
    scores = [[np.asarray(r["answers"]) for r in rows] for rows in (first, second)]
    found = []
    for _ in range(DRAWS):
        rows = np.concatenate([rng.choice(np.flatnonzero(truth == k), (truth == k).sum()) for k in (0, 1)])
        a, b = (np.mean([auc(s[rows], truth[rows]) for s in side]) for side in scores)
        found.append(a - b)
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)
