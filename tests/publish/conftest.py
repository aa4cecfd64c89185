"""Invented results of realistic size: five settings, fourteen methods, costs with the usual ratios."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from proponent.publish.ranking import Ranking
from proponent.steps.summary import rank

# Method: (LDS relative to the ceiling, seconds of the method itself, seconds of its inputs, LOO, mislabel AUC)
METHODS = {
    "if-exact": (0.92, 9.0, 14.0, 0.81, 0.981),
    "trak-10": (0.88, 21.0, 140.0, 0.74, 0.962),
    "trak": (0.71, 2.1, 14.0, 0.62, 0.955),
    "trak-projected": (0.69, 3.4, 14.0, 0.60, 0.951),
    "if-cg": (0.90, 44.0, 14.0, 0.80, 0.979),
    "tracin": (0.47, 1.4, 17.0, 0.45, 0.93),
    "tracin-last": (0.44, 0.5, 17.0, 0.43, 0.91),
    "graddot": (0.42, 0.3, 14.0, 0.41, 0.90),
    "gradcos": (0.46, 0.3, 14.0, 0.40, None),
    "rps": (0.38, 1.1, 14.0, 0.33, 0.88),
    "similarity-cosine": (0.31, 0.2, 14.0, 0.22, None),
    "similarity-dot": (0.29, 0.2, 14.0, 0.21, 0.61),
    "same-label": (0.25, 0.02, 0.4, 0.18, 0.5),
    "random": (0.0, 0.02, 0.4, 0.01, 0.49),
}
CEILINGS = {
    "digits-lr": 0.968,
    "digits-mlp": 0.83,
    "mnist-lr": 0.951,
    "mnist-mlp": 0.905,
    "mnist-lr-noisy": 0.94,
}


def document(setting: str, method: str) -> dict[str, Any]:
    rng = np.random.default_rng(sum(map(ord, setting)))
    common = rng.standard_normal(200)
    own = np.random.default_rng(sum(map(ord, setting + method)))
    share, seconds, needed, loo, auc = METHODS[method]
    ceiling = CEILINGS[setting]
    if "mlp" in setting:
        share, seconds, needed = 0.75 * share + 0.03 * own.standard_normal(), 4 * seconds, 5 * needed

    def entry(value: float, spread: float, **extras: Any) -> dict[str, Any]:
        replicates = value + spread * (0.8 * common + 0.6 * own.standard_normal(200))
        low, high = np.quantile(replicates, [0.025, 0.975])
        return {
            "value": value,
            "ci_low": low,
            "ci_high": min(high, 1.0),
            **extras,
            "replicates": replicates.tolist(),
        }

    metrics = {
        "lds": entry(
            share * ceiling,
            0.018,
            ceiling=ceiling,
            ceiling_low=ceiling - 0.012,
            ceiling_high=ceiling + 0.01,
            lds_over_ceiling=share,
            n_subsets=100,
            n_seeds=2,
            n_queries=250,
            n_diverged=0,
        ),
        "loo": entry(loo, 0.05, ceiling=0.9, ceiling_low=0.85, ceiling_high=0.93),
    }
    if setting.endswith("noisy") and auc is not None:
        metrics |= {"mislabel_auc": entry(auc, 0.005), "mislabel_found_10": entry(auc - 0.2, 0.01)}
    cost = {
        "attribution_seconds": seconds,
        "total_seconds": seconds + needed,
        "peak_memory_mib": 800.0,
        "bytes": 123_456_789,
        "ledger": {},
    }
    return {"setting": setting, "method": method, "key": "0" * 64, "metrics": metrics, "cost": cost}


@pytest.fixture
def documents() -> list[dict[str, Any]]:
    return [document(setting, method) for setting in CEILINGS for method in METHODS]


def ranked(documents: list[dict[str, Any]]) -> list[Ranking]:
    """Rank the methods of each setting."""
    settings = sorted({document["setting"] for document in documents})
    return [rank(name, [d for d in documents if d["setting"] == name])[1] for name in settings]


@pytest.fixture
def rankings(documents) -> list[Ranking]:
    return ranked(documents)


@pytest.fixture
def trainings() -> list[dict[str, Any]]:
    steps = np.unique(np.geomspace(1, 3550, 60).astype(int))
    return [
        {
            "member": member,
            "steps": [28, 56, 111, 222, 444, 888, 1775, 3550],
            "loss_steps": steps.tolist(),
            "loss": (
                2.3 / (1 + (steps / 60) ** 0.9) * np.exp(0.08 * rng.standard_normal(len(steps)))
            ).tolist(),
        }
        for member, rng in ((m, np.random.default_rng(m)) for m in range(10))
    ]
