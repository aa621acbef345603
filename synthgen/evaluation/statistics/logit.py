"""Fit a logistic regression by Newton's steps, for its standard errors."""

from __future__ import annotations

import numpy as np

STEPS = 30
RIDGE = 1e-4
"""Keeps the information matrix invertible where a label separates; far below one patient's information."""


def coefficients(matrix: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return coefficients and their standard errors.

    Args:
        matrix: ``(record, feature)``, an intercept among them.
        truth: 0 or 1 a record.

    Returns:
        ``(feature,)`` twice; a step is halved until the likelihood grows.

    Source: McCullagh and Nelder (1989), Generalized Linear Models, section 2.5.
    """
    beta = np.zeros(matrix.shape[1])
    information = np.eye(len(beta))
    for _ in range(STEPS):
        risk = _risk(matrix @ beta)
        information = (matrix * (risk * (1 - risk))[:, None]).T @ matrix + RIDGE * np.eye(len(beta))
        step = np.linalg.solve(information, matrix.T @ (truth - risk) - RIDGE * beta)
        while (
            _loss(matrix, truth, beta + step) > _loss(matrix, truth, beta) + 1e-9 and abs(step).max() > 1e-9
        ):
            step = step / 2
        beta = beta + step
        if abs(step).max() < 1e-8:
            break
    return beta, np.sqrt(np.diag(np.linalg.inv(information)))


def _risk(scores: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-np.clip(scores, -500, 500))))


def _loss(matrix: np.ndarray, truth: np.ndarray, beta: np.ndarray) -> float:
    scores = matrix @ beta
    return float((np.logaddexp(0, scores) - truth * scores).sum() + RIDGE / 2 * (beta @ beta))
