"""Print the gate's verdicts on leaky, harmful and good images of real cohorts.

    python scripts/benchmarks/bench_gate_images.py [--only PATTERN ...] [--cohorts pneumoniamnist kermany]
        [--seeds 1] [--metrics PATTERN ...] [--json FILE]

Images are evaluated as `synthgen evaluate --real --holdout --synthetic` does, by the policy for images: a
third of the patients is the training part, a third the holdout. Of ``--metrics``, those alone and the rules
about them. Verdicts are R (release), x (refuse), ? (cannot sign), one a seed; the first reason decided.
Patterns are those of a shell, of names or kinds.
"""

import argparse
import fnmatch
import json
import os
import sys
import time
import warnings
import zlib
from pathlib import Path
from typing import Any

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")
HERE = Path(__file__).parent
for folder in (HERE, HERE.parent, HERE.parents[1]):
    sys.path.insert(0, str(folder))

import _gate_image_parts  # noqa: E402  # threads are counted first
import _machine  # noqa: E402
import numpy as np  # noqa: E402
from bench_gate import LETTERS, deciding  # noqa: E402

Row = dict[str, Any]


def judged(cohort: str, name: str, seed: int, patterns: list[str]) -> Row:
    """Return one verdict with what decided."""
    parts = _gate_image_parts.cut(cohort, seed)
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    start = time.process_time()
    images = _gate_image_parts.MADE[name].make(parts, rng)
    made = time.process_time()
    told = evaluated(parts, images, seed, patterns)
    decided, figure = deciding(told)
    return {
        "cohort": cohort, "name": name, "seed": seed, "verdict": told["verdict"], "decided": decided,
        "figure": figure, "reasons": told["reasons"], "images": len(images),
        "seconds": {"made": round(made - start, 1), "evaluated": round(time.process_time() - made, 1)},
    }  # fmt: skip


def evaluated(parts: Any, images: Any, seed: int, patterns: list[str]) -> Row:
    """Return what `synthgen evaluate` says, or some metrics and the rules about them, at their own levels."""
    from synthgen.cli import file_commands as files
    from synthgen.evaluation.base import HEADS
    from synthgen.evaluation.run import evaluate_all, metric_names
    from synthgen.release.gate.gate import decide, load_policy

    real = {"train": parts.train, "holdout": parts.holdout}
    if not patterns:
        return files.evaluate_tables(
            real, images, policy="images", claim=None, seed=seed, progress=lambda *_: None
        )
    names = [name for name in metric_names() if any(fnmatch.fnmatch(name, p) for p in patterns)]
    policy = load_policy("images")
    rules = tuple(rule for rule in policy.rules if rule.metric in names)
    share = len({rule.head for rule in rules}) / len({rule.head for rule in policy.rules})
    levels = {level: share * getattr(policy, level) for level in ("wrongful_refusal", "wrongful_doubt")}
    inputs = files.inputs_of(real, images, claim=None, seed=seed)
    results = evaluate_all(inputs, seed=seed, only=names)
    told = decide(results, policy.model_copy(update={"rules": rules, **levels})).to_json()
    told["reasons"] = [reason for reason in told["reasons"] if reason["metric"] not in HEADS]
    grave = [reason["severity"] for reason in told["reasons"] if reason["severity"] != "warn"]
    return {**told, "verdict": grave[0] if grave else "release"}


def show(rows: list[Row]) -> None:
    """Print a table a cohort."""
    for cohort in dict.fromkeys(row["cohort"] for row in rows):
        print(f"\n{cohort}\n\n| images | kind | what | verdicts | decided by | CPU s |\n" + "|---" * 6 + "|")
        mine = [row for row in rows if row["cohort"] == cohort]
        for name in dict.fromkeys(row["name"] for row in mine):
            held = [row for row in mine if row["name"] == name]
            kind = _gate_image_parts.MADE[name]
            letters = "".join(LETTERS[row["verdict"]] for row in held)
            seconds = np.mean([row["seconds"]["evaluated"] for row in held])
            print(
                f"| {name} | {kind.kind} | {kind.what} | {letters} | {held[0]['decided']} | {seconds:.0f} |"
            )


def main() -> None:
    """Evaluate, print, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = ["pneumoniamnist", "kermany"]
    parser.add_argument("--only", nargs="*", default=["*"], metavar="PATTERN")
    parser.add_argument("--cohorts", nargs="+", default=known, choices=known)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--metrics", nargs="*", default=[], metavar="PATTERN")
    parser.add_argument("--list", action="store_true", help="print the makers, and evaluate none")
    parser.add_argument("--json", type=Path, help="where the rows go, after each")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    chosen = [
        one
        for one in _gate_image_parts.MADE.values()
        if any(fnmatch.fnmatch(word, pattern) for pattern in asked.only for word in (one.name, one.kind))
    ]
    if asked.list:
        for one in chosen:
            print(f"{one.kind:8} {one.name}: {one.what}")
        return
    rows: list[Row] = []
    for cohort in asked.cohorts:
        for seed in range(asked.first, asked.first + asked.seeds):
            for one in chosen:
                rows.append(judged(cohort, one.name, seed, asked.metrics))
                row = rows[-1]
                told = (
                    f"{cohort} {one.name} seed {seed}: {row['verdict']} by {row['decided']}: {row['figure']}"
                )
                print(told, file=sys.stderr, flush=True)
                if asked.json is not None:
                    content = {"machine": _machine.facts(), "date": _machine.today(), "rows": rows}
                    asked.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    show(rows)


if __name__ == "__main__":
    main()
