"""A finite mixture of product distributions: marginals, conditions and evidence in closed form.

Inside a component the columns are independent, so a clique's marginal is a matrix product and what is
observed only reweighs the components: p(component | evidence) is proportional to the component's weight
times the chances that it gives to each observed column. Everything here works on probabilities that were
paid for, so it is post-processing. It needs numpy alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from synthgen.generators.graphical.junction_tree import Attributes, draw

BLOCK = 2**22  # entries of the (record, component) tables that are held at once
LEAST = 1e-30  # a chance below this is taken as this, so that any evidence leaves some component


def stored_mixture(tensors: Mapping[str, np.ndarray], sizes: Mapping[str, int]) -> Mixture:
    """Return the mixture of a saved model, which may be anybody's.

    Args:
        tensors: ``weights``, and ``chances.I`` of each column.
        sizes: number of cells of each column, in the order of the tensors.

    Raises:
        ValueError: a tensor is of another shape or type, or holds no probabilities.
        KeyError: a tensor is missing.
    """
    weights = tensors["weights"]
    tables = {name: tensors[f"chances.{i}"] for i, name in enumerate(sizes)}
    if weights.ndim != 1 or not len(weights):
        raise ValueError("Expected a weight for each component, got another shape.")
    for name, table in tables.items():
        if table.shape != (len(weights), sizes[name]):
            raise ValueError("Expected a row of chances for each component, got another shape.")
    for numbers in (weights, *tables.values()):
        if numbers.dtype.kind != "f" or not (np.isfinite(numbers).all() and (numbers >= 0).all()):
            raise ValueError("Expected probabilities, got other numbers.")
    return Mixture(weights, tables)


@dataclass(frozen=True)
class Mixture:
    """Weights of components, and for each column the chances of its cells in each component.

    Attributes:
        weights: float64 (component,), non-negative, summing to 1.
        tables: by column a float64 array (component, cell) whose rows sum to 1.
    """

    weights: np.ndarray
    tables: Mapping[str, np.ndarray]

    def marginal(self, attributes: Attributes) -> np.ndarray:
        """Return the probabilities of a clique's cells, one axis a column."""
        return next(self.marginals([attributes]))[1]

    def marginals(self, cliques: Sequence[Attributes]) -> Iterator[tuple[Attributes, np.ndarray]]:
        """Yield each clique with its probabilities; those that share all columns but the last share work."""
        for left in dict.fromkeys(clique[:-1] for clique in cliques):
            product = self._product(left)
            for clique in cliques:
                if clique[:-1] == left:
                    table = product.T @ self.tables[clique[-1]]
                    yield clique, table.reshape([self.tables[name].shape[1] for name in clique])

    def _product(self, names: Attributes) -> np.ndarray:
        """Return (component, cell of the clique): weight times the chances of several columns."""
        out = self.weights[:, None]
        for name in names:
            out = (out[:, :, None] * self.tables[name][:, None, :]).reshape(len(out), -1)
        return out

    def sample(
        self,
        n_records: int,
        *,
        rng: np.random.Generator,
        masks: Mapping[str, np.ndarray] | None = None,
    ) -> dict[str, np.ndarray]:
        """Draw records: components in strata, then each column in strata inside its component.

        Args:
            n_records: records to draw.
            rng: open randomness; the same state gives the same records, byte for byte.
            masks: by column the chance of each cell to be kept, from 0 to 1; zero forbids it. The records
                follow the mixture given that all are kept.

        Returns:
            For each column an int32 array of cells, one a record.

        Raises:
            ValueError: the masks leave nothing that the mixture gives a chance.
        """
        masks = masks or {}
        tables = {
            name: table * masks[name] if name in masks else table for name, table in self.tables.items()
        }
        with np.errstate(divide="ignore"):
            logs = np.log(self.weights) + sum(np.log(tables[name].sum(axis=1)) for name in masks)
        if not np.isfinite(logs).any():
            raise ValueError("Expected a possible condition, got one that the model gives no chance.")
        component = draw(np.exp(logs - logs.max())[None, :], np.zeros(n_records, dtype=np.int64), rng)
        return {name: draw(table, component, rng).astype(np.int32) for name, table in tables.items()}

    def given(self, cells: Mapping[str, np.ndarray], *, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Draw what is not observed of each record, given what is: exactly by the mixture.

        Args:
            cells: by column an int array of observed cells, one a record; -1 where it is to be drawn. A
                column that is left out is drawn for every record.
            rng: open randomness; the same state gives the same records, byte for byte.

        Returns:
            For each column an int32 array of cells; observed ones as they were.
        """
        n_records = len(next(iter(cells.values()))) if cells else 0
        component = np.empty(n_records, dtype=np.int64)
        rows = max(1, BLOCK // len(self.weights))
        for start in range(0, n_records, rows):
            part = {name: values[start : start + rows] for name, values in cells.items()}
            component[start : start + rows] = self._component(part, rng)
        out = {}
        for name, table in self.tables.items():
            fresh = draw(table, component, rng).astype(np.int32)
            seen = cells.get(name)
            out[name] = fresh if seen is None else np.where(seen >= 0, seen, fresh).astype(np.int32)
        return out

    def _component(self, cells: Mapping[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
        """Draw each record's component from its posterior."""
        n_records = len(next(iter(cells.values())))
        logs = np.tile(np.log(np.maximum(self.weights, LEAST)), (n_records, 1))
        for name, values in cells.items():
            seen = np.flatnonzero(values >= 0)
            logs[seen] += np.log(np.maximum(self.tables[name], LEAST)).T[values[seen]]
        ladder = np.cumsum(np.exp(logs - logs.max(axis=1, keepdims=True)), axis=1)
        u = rng.random(n_records) * ladder[:, -1]
        return np.asarray(np.minimum((ladder <= u[:, None]).sum(axis=1), len(self.weights) - 1))
