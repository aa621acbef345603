"""A fitted marginal model: sample it, save it, load it where the data never was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synthgen.data.tables import RealTable, SyntheticTable
from synthgen.encode.table import Encoder
from synthgen.errors import ConfigError
from synthgen.generators import model_files
from synthgen.generators.compression import Compression
from synthgen.generators.conditions import Condition, chance_of, conditions
from synthgen.generators.graphical.conditional_sampling import draw_given
from synthgen.generators.graphical.junction_tree import Attributes, JunctionTree, stored_tree
from synthgen.generators.model_files import write_arrays, write_settings
from synthgen.schema.schema import Schema

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
WEIGHTS, META = "model.safetensors", "model.json"


@dataclass(frozen=True)
class FittedMarginal:
    """Probabilities over coarse cells, and how each coarse cell lies on fine ones. Publishable.

    Attributes:
        schema: the table's public description.
        tree: the joint model over coarse cells.
        merging: for each column, fine cells in coarse ones.
        fine_cells: the public number of cells that the encoder was built with.
    """

    schema: Schema
    tree: JunctionTree
    merging: Mapping[str, Compression]
    fine_cells: int

    def sample(
        self, n_records: int, *, rng: np.random.Generator, where: Mapping[str, Any] | None = None
    ) -> SyntheticTable:
        """Draw records. Post-processing: may be called for ever.

        Args:
            n_records: records to draw, 0 or more.
            rng: open randomness; the same state gives the same records, byte for byte.
            where: column to a value, a list of values, None (missing), or an interval ``(low, high)`` of a
                number. Every record keeps to it exactly; the other columns follow the model given it.

        Raises:
            ConfigError: a condition names an unknown column or value, or one the model gives no chance.
        """
        held = self.held(where or {})
        return self.decode(self.draw(n_records, rng=rng, held=held), rng=rng, held=held)

    def held(self, where: Mapping[str, Any]) -> dict[str, Condition]:
        """Return conditions by column.

        Raises:
            ConfigError: a condition names an unknown column or value.
        """
        return conditions(self.schema, self.encoder, where)

    @cached_property
    def encoder(self) -> Encoder:
        """The public fine cells."""
        return Encoder.of(self.schema, fine_cells=self.fine_cells)

    def draw(
        self, n_records: int, *, rng: np.random.Generator, held: Mapping[str, Condition]
    ) -> dict[str, np.ndarray]:
        """Return coarse cells by column, one a record, that keep to the conditions.

        Raises:
            ConfigError: the model gives the conditions no chance.
        """
        masks: dict[Attributes, np.ndarray] = {
            (name,): chance_of(held[name], self.merging[name]) for name in held
        }
        try:
            return self.tree.sample(n_records, rng=rng, masks=masks)
        except ValueError as error:
            raise ConfigError(
                f"The model gives no chance to the condition on {sorted(held)}.",
                next_step="Widen the condition.",
            ) from error

    def decode(
        self,
        coarse: Mapping[str, np.ndarray],
        *,
        rng: np.random.Generator,
        held: Mapping[str, Condition],
    ) -> SyntheticTable:
        """Return records from coarse cells, with exactly the values that the conditions allow."""
        columns = {}
        for name, grid in self.encoder.grids.items():
            condition = held.get(name)
            allowed = None if condition is None else condition.cells
            cells = self.merging[name].refine(coarse[name], rng=rng, allowed=allowed)
            columns[name] = grid.decode(cells, rng=rng, within=condition.interval if condition else None)
        import pandas as pd

        return SyntheticTable(self.schema, pd.DataFrame(columns))

    def encode(self, table: RealTable | SyntheticTable) -> np.ndarray:
        """Return the coarse cell of each value, "record column". As sensitive as the table."""
        fine = self.encoder.encode(table.frame)
        return np.stack([m.coarse[fine[name]] for name, m in self.merging.items()], axis=1)

    def sample_given(self, evidence: pd.DataFrame, *, rng: np.random.Generator) -> SyntheticTable:
        """Draw one record for each row of ``evidence``, whose columns it keeps. Post-processing.

        Args:
            evidence: canonical values of some columns.
            rng: open randomness; the same state gives the same records, byte for byte.
        """
        return self.decode_given(self.draw_given(evidence, rng=rng), evidence, rng=rng)

    def draw_given(self, evidence: pd.DataFrame, *, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return coarse cells by column, one a row of ``evidence``: its own, and the rest given them."""
        grids = self.encoder.grids
        seen = {name: grid.encode(evidence[name]) for name, grid in grids.items() if name in evidence}
        observed = {name: self.merging[name].coarse[cells] for name, cells in seen.items()}
        return draw_given(self.tree, observed, len(evidence), rng=rng) | observed

    def decode_given(
        self, coarse: Mapping[str, np.ndarray], evidence: pd.DataFrame, *, rng: np.random.Generator
    ) -> SyntheticTable:
        """Return records from coarse cells, with the values of ``evidence`` where it has the column."""
        import pandas as pd

        columns = {}
        for name, grid in self.encoder.grids.items():
            if name in evidence:
                columns[name] = evidence[name].reset_index(drop=True)
            else:
                columns[name] = grid.decode(self.merging[name].refine(coarse[name], rng=rng), rng=rng)
        return SyntheticTable(self.schema, pd.DataFrame(columns))

    def save(self, folder: Path) -> None:
        """Write ``model.safetensors`` and ``model.json`` into an existing folder."""
        tensors = {f"node.{i}": np.ascontiguousarray(node.table) for i, node in enumerate(self.tree.nodes)}
        for i, merging in enumerate(self.merging.values()):
            tensors[f"coarse.{i}"] = merging.coarse.astype(np.int64)
            tensors[f"share.{i}"] = np.ascontiguousarray(merging.share)
        meta = {
            "format": FORMAT,
            "generator": "marginal",
            "schema": self.schema.public().digest(),
            "fine_cells": self.fine_cells,
            "columns": list(self.merging),
            "nodes": [[list(n.attributes), n.parent, list(n.separator)] for n in self.tree.nodes],
        }
        write_arrays(folder / WEIGHTS, tensors)
        write_settings(folder / META, meta)


def load(folder: Path, schema: Schema) -> FittedMarginal:
    """Read a saved model.

    Raises:
        ConfigError: files are missing, of another format, or fitted with another schema.
    """
    meta = model_files.meta(folder, META)
    if meta.get("format") != FORMAT or not schema.has_digest(meta.get("schema")):
        raise ConfigError(
            "Expected a model of this format and schema.",
            where=str(folder),
            next_step="Use the schema of the fit.",
        )
    with model_files.reading(folder, "a saved marginal model"):
        stored = model_files.arrays(folder, WEIGHTS)
        merging, fine_cells = model_files.merged(meta, stored, schema, where=str(folder))
        tables = [stored[f"node.{i}"] for i in range(len(meta["nodes"]))]
        tree = stored_tree(meta["nodes"], tables, {name: one.n_coarse for name, one in merging.items()})
    return FittedMarginal(schema, tree, merging, fine_cells)
