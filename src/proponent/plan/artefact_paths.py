"""Paths of artefacts and of their key files, relative to the checkout."""

from __future__ import annotations

from pathlib import PurePosixPath

LEADERBOARD = "results/leaderboard.csv"
OVERVIEW = "results/figures/overview.svg"
REPORT = "results/report/index.html"
SHARED = "all-methods"
"""Name, in place of a method's, of masks that do not depend on scores."""


def data(setting: str) -> str:
    """Return the path of a setting's training tensors."""
    return f"results/{setting}/data/train.safetensors"


def check(setting: str) -> str:
    """Return the path of the report of a setting's check."""
    return f"results/{setting}/check.json"


def ensemble(setting: str, shard: int) -> str:
    """Return the path of the list of members in a shard of the ensemble."""
    return f"results/{setting}/ensemble/shard-{shard:03d}.json"


def features(setting: str, kind: str, shard: int) -> str:
    """Return the path of a shard's features of one kind."""
    return f"results/{setting}/features/{kind}-{shard:03d}.safetensors"


def retrained_shard(setting: str, design: str, shard: int) -> str:
    """Return the path of a shard of a design's retrainings."""
    return f"results/{setting}/ground_truth/shards/{design}-{shard:04d}.safetensors"


def ground_truth(setting: str, design: str) -> str:
    """Return the path of a design's merged retrainings."""
    return f"results/{setting}/ground_truth/{design}.safetensors"


def derived_masks(setting: str, metric: str, source: str) -> str:
    """Return the path of masks that a metric derived from the scores of a method, or of :data:`SHARED` masks."""
    return f"results/{setting}/ground_truth/derived/{metric}/masks/{source}.safetensors"


def derived_shard(setting: str, metric: str, source: str, shard: int) -> str:
    """Return the path of a shard of retrainings on derived masks."""
    return f"results/{setting}/ground_truth/derived/{metric}/shards/{source}-{shard:04d}.safetensors"


def derived_search(setting: str, metric: str, source: str, shard: int) -> str:
    """Return the path of a shard of searches for the smallest removal."""
    return f"results/{setting}/ground_truth/derived/{metric}/searches/{source}-{shard:04d}.safetensors"


def derived_patches(setting: str, metric: str, source: str) -> str:
    """Return the path of the targets of members that took an optimiser step on chosen examples."""
    return f"results/{setting}/ground_truth/derived/{metric}/patches/{source}.safetensors"


def scores(setting: str, method: str) -> str:
    """Return the path of a method's scores."""
    return f"results/{setting}/scores/{method}.safetensors"


def repeated(setting: str, what: str, method: str) -> str:
    """Return the path of a method's scores for other models; ``what`` differs (:mod:`proponent.plan.repeat_nodes`)."""
    return f"results/{setting}/scores/{what}/{method}.safetensors"


def changed_data(setting: str, what: str) -> str:
    """Return the path of training tensors that differ from those of the setting."""
    return f"results/{setting}/data/{what}/train.safetensors"


def changed_ensemble(setting: str, what: str) -> str:
    """Return the path of the list of members that differ from those of the setting."""
    return f"results/{setting}/ensemble/{what}/shard-000.json"


def changed_features(setting: str, what: str, kind: str) -> str:
    """Return the path of the features of one kind of members that differ from those of the setting."""
    return f"results/{setting}/features/{what}/{kind}-000.safetensors"


def agreement(setting: str) -> str:
    """Return the path of the rank correlations between the methods of a setting."""
    return f"results/{setting}/leaderboard/agreement.csv"


def metrics(setting: str, method: str) -> str:
    """Return the path of a method's metrics."""
    return f"results/{setting}/metrics/{method}.json"


def summary(setting: str) -> str:
    """Return the path of a setting's summary."""
    return f"results/summaries/{setting}.json"


def figure(name: str, setting: str) -> str:
    """Return the path of one of a setting's figures."""
    return f"results/figures/{name}-{setting}.svg"


def explanations(setting: str) -> str:
    """Return the path of heat maps and clusters of a setting."""
    return f"results/{setting}/report/explanations.safetensors"


def report_section(setting: str) -> str:
    """Return the path of what the report shows of a setting."""
    return f"results/{setting}/report/section.json"


def key_path(artefact: str) -> str:
    """Return the path of an artefact's key file: ``results/S/scores/M…`` → ``results/S/keys/scores/M….json``."""
    parts = PurePosixPath(artefact).parts
    if len(parts) < 3 or parts[1] in ("figures", "summaries", "report"):
        return str(PurePosixPath(parts[0], "keys", *parts[1:])) + ".json"
    return str(PurePosixPath(parts[0], parts[1], "keys", *parts[2:])) + ".json"
