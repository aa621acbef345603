"""How `bench_tabular.py` shows its rows: as text, and as the Markdown kept in `scripts/results`."""

import json
from pathlib import Path
from typing import Any

import _machine
import _peers

RESULTS = Path(__file__).parent / "results"
VERSIONS = ("synthgen-medical", "numpy", "pandas", "scikit-learn")
OURS, REAL = "marginal", "real rows"
OTHERS = RESULTS / "generators.json"
RANKED = ("tvd2", "auc_lr", "auc_gb", "gap")

Row = dict[str, Any]

HEAD = (
    *("table", "eps", "who", "tvd1", "tvd2", "sd", "AUC lr", "sd", "AUC gb", "sd"),
    *("gap", "sd", "s", "cpu", "GiB", "measured"),
)
WIDTHS = (9, 4, 24, 7, 7, 7, 7, 7, 7, 7, 7, 7, 6, 6, 5, 12)


def cells_of(row: Row) -> list[str]:
    """Return a row as text, one cell a column of `HEAD`."""
    who = _peers.PEERS.get(row["peer"], row["peer"])
    when = "now" if row.get("now") or row["peer"] in (OURS, REAL) else row["date"]
    head = [row["table"], "-" if row["epsilon"] is None else f"{row['epsilon']:.0f}", who]
    if row["status"] != "scored":
        return [*head, row["status"], *[""] * (len(HEAD) - 5), when]
    sd = {key: f"{row[f'sd_{key}']:.4f}" if f"sd_{key}" in row and row["fits"] > 1 else "" for key in RANKED}
    scores = [f"{row['tvd1']:.4f}", f"{row['tvd2']:.4f}", sd["tvd2"], f"{row['auc_lr']:.4f}", sd["auc_lr"]]
    times = [f"{row['seconds']:.1f}", f"{row['cpu_seconds']:.1f}"] if "seconds" in row else ["", ""]
    others = [f"{row['auc_gb']:.4f}", sd["auc_gb"], f"{row['gap']:.4f}" if "gap" in row else "", sd["gap"]]
    memory = f"{row['peak_gib']:.1f}" if "peak_gib" in row else ""
    return [*head, *scores, *others, *times, memory, when]


def line_of(cells: list[str]) -> str:
    """Return cells as a line of the printed table; a note may run over the cells to its right."""
    out = ""
    for i, (cell, width) in enumerate(zip(cells, WIDTHS, strict=True)):
        left = i in (0, 2) or (" " in cell and cell not in HEAD)
        out = f"{out:{sum(WIDTHS[:i]) + i}}" + (cell if left or not cell else f"{cell:>{width}}")
    return out


def all_kept() -> list[Row]:
    """Return what is kept: `marginal`, our other generators, the peers, by table and epsilon."""
    ours = json.loads((RESULTS / "tabular_marginal.json").read_text(encoding="utf-8"))["rows"]
    others = _peers.kept(OTHERS)
    again = {(row["table"], row["epsilon"]) for row in others if row["peer"] == OURS}
    rows = [row for row in ours if (row["table"], row["epsilon"]) not in again] + others + _peers.kept()
    return sorted(rows, key=lambda row: (row["table"], row["epsilon"]))


def ranks_of(rows: list[Row]) -> list[str]:
    """Say who is first in each table, epsilon and measure, and who is within its spread of the first.

    The spread is the larger standard deviation of the two rows' fits.
    """
    lines = []
    for table, epsilon in sorted({(row["table"], row["epsilon"]) for row in rows if row["epsilon"]}):
        cell = [row for row in _peers.find(rows, table, epsilon) if row["status"] == "scored"]
        for key in RANKED[:3]:
            sign = 1 if key == "tvd2" else -1
            first, *others = sorted((row for row in cell if key in row), key=lambda row: sign * row[key])
            near = [
                row["peer"]
                for row in others
                if abs(row[key] - first[key]) <= max(row.get(f"sd_{key}", 0.0), first.get(f"sd_{key}", 0.0))
            ]
            beside = f", {', '.join(near)} within one sd" if near else ""
            lines.append(f"{table} eps {epsilon:.0f} {key}: first {first['peer']} {first[key]:.4f}{beside}")
    return lines


def keep(rows: list[Row], lines: list[str]) -> None:
    """Write this run into `scripts/results`: our rows as JSON, the whole table as Markdown."""
    mine = [row for row in rows if row["peer"] == OURS]
    document = {"format": 1, "versions": _machine.versions(*VERSIONS), "rows": mine}
    (RESULTS / "tabular_marginal.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    table = [HEAD, ["---"] * len(HEAD), *(cells_of(row) for row in rows)]
    machine, load = _machine.facts(), max(row["load_end"] for row in mine)
    text = [
        "# marginal beside its peers, delta 1e-5",
        "",
        f"Written by `python scripts/bench_tabular.py --keep` on {_machine.today()}: {machine['processor']}, "
        f"{machine['cores']} cores, Python {machine['python']}, load average up to {load}.",
        f"Ours: mean and sd of {mine[0]['fits']} fits. Peers: one fit, one thread; details in `peers.json`.",
        "",
        *(f"| {' | '.join(cells)} |" for cells in table),
        "",
        *(f"- {line}" for line in lines),
    ]
    (RESULTS / "tabular_marginal.md").write_text("\n".join(text) + "\n", encoding="utf-8")
