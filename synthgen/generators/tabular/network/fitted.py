"""A fitted network on marginals: the mixture that it ended as. Sample it, save it, load it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synthgen.data.tables import SyntheticTable
from synthgen.encode.table import Encoder
from synthgen.errors import ConfigError
from synthgen.generators import model_files
from synthgen.generators.compression import Compression
from synthgen.generators.conditions import chance_of, conditions
from synthgen.generators.graphical.estimation import Measurement
from synthgen.generators.graphical.mixture_of_products import Mixture, stored_mixture
from synthgen.generators.model_files import write_arrays, write_settings
from synthgen.generators.tabular.network.resampling import exchanged
from synthgen.schema.schema import Schema

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
WEIGHTS, META = "model.safetensors", "model.json"


@dataclass(frozen=True)
class FittedNetwork:
    """A mixture over coarse cells, and how each coarse cell lies on fine ones. Publishable.

    The network itself is left behind: what it makes of its codes is all there is to sample from.

    Attributes:
        schema: the table's public description.
        mixture: the joint model over coarse cells.
        merging: for each column, fine cells in coarse ones.
        fine_cells: the public number of cells that the encoder was built with.
        generator: key of the generator that fitted it.
        paid: noisy counts that unconditional draws are brought closer to
        (`synthgen.generators.tabular.network.resampling`);
            none where the config does not ask for it.
    """

    schema: Schema
    mixture: Mixture
    merging: Mapping[str, Compression]
    fine_cells: int
    generator: str = "network"
    paid: tuple[Measurement, ...] = ()

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
        import pandas as pd

        encoder = Encoder.of(self.schema, fine_cells=self.fine_cells)
        held = conditions(self.schema, encoder, where or {})
        masks = {name: chance_of(condition, self.merging[name]) for name, condition in held.items()}
        try:
            if self.paid and not masks:
                drawn = exchanged(lambda n: self.mixture.sample(n, rng=rng), n_records, self.paid)
            else:
                drawn = self.mixture.sample(n_records, rng=rng, masks=masks)
        except ValueError as error:
            raise ConfigError(
                f"The model gives no chance to the condition on {sorted(held)}.",
                next_step="Widen the condition.",
            ) from error
        columns = {}
        for name, grid in encoder.grids.items():
            condition = held.get(name)
            allowed = None if condition is None else condition.cells
            cells = self.merging[name].refine(drawn[name], rng=rng, allowed=allowed)
            columns[name] = grid.decode(cells, rng=rng, within=condition.interval if condition else None)
        return SyntheticTable(self.schema, pd.DataFrame(columns))

    def given(self, cells: Mapping[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Draw the free cells of each record given its observed ones, exactly by the model.

        Args:
            cells: by column the fine cells, an int array, one a record; -1 where free. A column that is
                left out is free.
            rng: open randomness; the same state gives the same cells.

        Returns:
            For each column an int32 array of fine cells; observed ones as they were.
        """
        seen = {
            name: np.where(values >= 0, self.merging[name].coarse[values], -1)
            for name, values in cells.items()
        }
        out = {}
        for name, coarse in self.mixture.given(seen, rng=rng).items():
            fresh = self.merging[name].refine(coarse, rng=rng)
            out[name] = np.where(cells[name] >= 0, cells[name], fresh) if name in cells else fresh
        return {name: values.astype(np.int32) for name, values in out.items()}

    def sample_given(self, evidence: pd.DataFrame, *, rng: np.random.Generator) -> SyntheticTable:
        """Draw one record for each row of ``evidence``, whose columns it keeps exactly. Post-processing.

        Args:
            evidence: canonical values of some of the modelled columns; NaN is an observed missing value.
            rng: open randomness; the same state gives the same records, byte for byte.
        """
        import pandas as pd

        encoder = Encoder.of(self.schema, fine_cells=self.fine_cells)
        seen = {name: grid.encode(evidence[name]) for name, grid in encoder.grids.items() if name in evidence}
        first = next(iter(encoder.grids))
        cells = self.given(seen or {first: np.full(len(evidence), -1)}, rng)
        columns = {
            name: evidence[name].reset_index(drop=True) if name in seen else grid.decode(cells[name], rng=rng)
            for name, grid in encoder.grids.items()
        }
        return SyntheticTable(self.schema, pd.DataFrame(columns))

    def save(self, folder: Path) -> None:
        """Write ``model.safetensors`` and ``model.json`` into an existing folder."""
        tensors = {"weights": np.ascontiguousarray(self.mixture.weights)}
        for i, (name, merging) in enumerate(self.merging.items()):
            tensors[f"chances.{i}"] = np.ascontiguousarray(self.mixture.tables[name])
            tensors[f"coarse.{i}"] = merging.coarse.astype(np.int64)
            tensors[f"share.{i}"] = np.ascontiguousarray(merging.share)
        for i, m in enumerate(self.paid):
            tensors[f"paid.{i}"] = np.ascontiguousarray(m.counts, dtype=np.float64)
            tensors[f"sigma.{i}"] = np.array(np.broadcast_to(m.sigma, m.counts.shape), dtype=np.float64)
        meta = {
            "format": FORMAT,
            "generator": self.generator,
            "schema": self.schema.public().digest(),
            "fine_cells": self.fine_cells,
            "columns": list(self.merging),
            "paid": [list(m.attributes) for m in self.paid],
        }
        write_arrays(folder / WEIGHTS, tensors)
        write_settings(folder / META, meta)


def load(folder: Path, schema: Schema, *, generator: str = "network") -> FittedNetwork:
    """Read a saved model of that generator.

    Raises:
        ConfigError: files are missing, of another format, or fitted with another schema.
    """
    meta = model_files.meta(folder, META)
    known = meta.get("format"), meta.get("generator")
    if known != (FORMAT, generator) or not schema.has_digest(meta.get("schema")):
        raise ConfigError(
            f"Expected a {generator} model of this format and schema.",
            where=str(folder),
            next_step="Use the schema of the fit.",
        )
    with model_files.reading(folder, f"a saved {generator} model"):
        tensors = model_files.arrays(folder, WEIGHTS)
        merging, fine_cells = model_files.merged(meta, tensors, schema, where=str(folder))
        mixture = stored_mixture(tensors, {name: one.n_coarse for name, one in merging.items()})
        paid = tuple(
            Measurement(tuple(names), tensors[f"paid.{i}"], tensors[f"sigma.{i}"])
            for i, names in enumerate(meta["paid"])
        )
        if any(m.counts.shape != np.shape(m.sigma) or not set(m.attributes) <= set(merging) for m in paid):
            raise ValueError("Expected a deviation for each count.")
    return FittedNetwork(schema, mixture, merging, fine_cells, generator, paid)
