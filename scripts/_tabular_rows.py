"""How `bench_tabular.py` shows its rows: as text, and as the Markdown kept in `scripts/results`."""

import json
from pathlib import Path
from typing import Any

import _machine
import _peers

RESULTS = Path(__file__).parent / "results"
VERSIONS = ("synthgen-medical", "numpy", "pandas", "scikit-learn")
OURS, REAL = "marginal", "real rows"

Row = dict[str, Any]

HEAD = ("table", "eps", "who", "tvd1", "tvd2", "sd", "AUC lr", "sd", "AUC gb", "sd", "s", "cpu", "measured")
WIDTHS = (9, 4, 15, 7, 7, 7, 7, 7, 7, 7, 6, 6, 12)


def cells_of(row: Row) -> list[str]:
    """Return a row as text, one cell a column of `HEAD`."""
    who = _peers.PEERS.get(row["peer"], row["peer"])
    when = "now" if row.get("now") or row["peer"] in (OURS, REAL) else row["date"]
    head = [row["table"], "-" if row["epsilon"] is None else f"{row['epsilon']:.0f}", who]
    if row["status"] != "scored":
        return [*head, row["status"], *[""] * (len(HEAD) - 5), when]
    sd = {key: f"{row[f'sd_{key}']:.4f}" if row["fits"] > 1 else "" for key in ("tvd2", "auc_lr", "auc_gb")}
    scores = [f"{row['tvd1']:.4f}", f"{row['tvd2']:.4f}", sd["tvd2"], f"{row['auc_lr']:.4f}", sd["auc_lr"]]
    times = [f"{row['seconds']:.1f}", f"{row['cpu_seconds']:.1f}"] if "seconds" in row else ["", ""]
    return [*head, *scores, f"{row['auc_gb']:.4f}", sd["auc_gb"], *times, when]


def line_of(cells: list[str]) -> str:
    """Return cells as a line of the printed table; a note may run over the cells to its right."""
    out = ""
    for i, (cell, width) in enumerate(zip(cells, WIDTHS, strict=True)):
        left = i in (0, 2) or (" " in cell and cell not in HEAD)
        out = f"{out:{sum(WIDTHS[:i]) + i}}" + (cell if left or not cell else f"{cell:>{width}}")
    return out


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
