"""Values of finished settings for docs/settings.md: ``record NAME…`` stores them, and ``write`` makes the page of them.

``python benchmarks/settings_page.py record fmnist-mlp`` reads ``results/fmnist-mlp`` and writes
``docs/data/settings/fmnist-mlp.json``; ``python benchmarks/settings_page.py write`` writes ``docs/settings.md``.
"""

from __future__ import annotations

import json
import math
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import nn

from proponent.chunking import chunks
from proponent.config.benchmark import load_benchmark
from proponent.plan.run_plan import Plan
from proponent.rows import Rows, outputs_of, rows_of
from proponent.settings.cards import read_card
from proponent.settings.factories import build_model
from proponent.settings.ragged_rows import IGNORED
from proponent.store.tensors import load_tensors

ROOT = Path(__file__).parents[1]
BEST = 5
"""Methods per setting in the second table."""
RETRIEVAL = ("mrr", "recall_10", "tail_patch")
"""Metrics of known sources that a record holds with their intervals."""
OPPONENTS = 10
"""Opponents of a query whose labels are counted."""
FRAME = """# Settings

One row per setting whose results are recorded below. `python benchmarks/settings_page.py write` makes this page of the
files in `docs/data/settings/`, which `python benchmarks/settings_page.py record NAME` writes from finished results.
`snakemake --config selection=images` runs a selection of `params.yaml`. Accuracy is that of the ensemble's mean probability
on the test queries, and R² that of its mean prediction; of sequences and pairs, accuracy and perplexity are those of all
positions that count. Seconds are those of all jobs, added up, for the methods that have a row below or in the recorded file;
on two cores about half of them pass. Most settings were measured next to other work on the same cores, which makes jobs
slower, some with one job at a time and some with two.

From data to leaderboard with the methods of `params.yaml` (`snakemake --cores 2 --config 'settings=[NAME]'`, two cores):
on an AMD EPYC with nothing else running, `diabetes-ridge` 67 s, `mnist-mlp-early` 2 min 6 s, `emoji-cnn` 18 min 44 s
(2026-11-30); next to other work, `concrete-mlp` 86 s, `speech-intents` 19 min 17 s, `newsgroups-minilm` 36 min 57 s
(2026-12-01, next to three minutes of short tests). On an Intel Xeon (2026-12-01), next to tests, `shakespeare-gpt` 22
min 38 s and `chorales-transformer` 26 min 25 s.

![LDS of every method on every recorded setting, with 95 % intervals and ceilings](images/settings.svg)

"""


def record(root: Path, name: str) -> dict[str, Any]:
    """Return what the page shows of a finished setting.

    Args:
        root: the checkout.
        name: name of the setting.
    """
    folder = root / "results" / name
    described = json.loads((folder / "data/description.json").read_text())
    manifests = [json.loads(path.read_text()) for path in folder.rglob("*.manifest.json")]
    jobs = [manifest for manifest in manifests if "seconds" in manifest]
    state = load_file(folder / "ensemble/member-000/final.safetensors")
    truths = [
        load_file(path)["targets"].shape for path in sorted((folder / "ground_truth").glob("*.safetensors"))
    ]
    documents = [
        json.loads(path.read_text())
        for path in sorted((folder / "metrics").glob("*.json"))
        if not path.name.endswith(".manifest.json")
    ]
    lds = {
        document["method"]: document["metrics"]["lds"]
        for document in documents
        if "lds" in document["metrics"]
    }
    ordered = sorted(lds, key=lambda method: -lds[method]["value"])
    first = lds[ordered[0]] if ordered else {}
    return {
        "setting": name,
        "data": described["card"],
        "n_train": described["n_train"],
        **quality(folder, described["n_tune"], lambda: member_outputs(root, name)),
        "parameters": sum(
            value.size for key, value in state.items() if "running_" not in key and "num_batches" not in key
        ),
        "members": len(list((folder / "ensemble").glob("member-*"))),
        "retrainings": sum(shape[0] * (shape[1] if len(shape) == 3 else 1) for shape in truths),
        "seconds": round(sum(manifest["seconds"] for manifest in jobs)),
        "peak_memory_mib": round(max(manifest["peak_memory_mib"] for manifest in jobs)),
        "ceiling": first.get("ceiling"),
        "ceiling_additive": first.get("ceiling_additive"),
        "lds": [
            [method, *(lds[method][key] for key in ("value", "ci_low", "ci_high"))] for method in ordered
        ],
        "attribution_seconds": {
            document["method"]: document["cost"]["attribution_seconds"]
            for document in documents
            if "cost" in document
        },
        "scalars": {
            path.name.removesuffix(".safetensors.manifest.json"): json.loads(path.read_text())["details"][
                "scalars"
            ]
            for path in sorted((folder / "scores").glob("*.safetensors.manifest.json"))
            if "scalars" in json.loads(path.read_text()).get("details", {})
        },
        "candidates": candidates(folder),
        "mislabel": {
            document["method"]: {
                name: metric["value"] for name, metric in document["metrics"].items() if "mislabel" in name
            }
            for document in documents
        },
        "retrieval": {
            document["method"]: {
                name: [document["metrics"][name][key] for key in ("value", "ci_low", "ci_high")]
                for name in RETRIEVAL
                if name in document["metrics"]
            }
            for document in documents
            if any(name in document["metrics"] for name in RETRIEVAL)
        },
        "opponents": opponents(folder, described),
    }


def candidates(folder: Path) -> dict[str, list[list[Any]]]:
    """Return what each method tried: for each candidate its hyper-parameters and its LDS on the tune queries and masks."""
    found = {}
    for path in sorted((folder / "tuning").glob("*.json")):
        if path.name.endswith(".manifest.json"):
            continue
        document = json.loads(path.read_text())
        found[document["method"]] = [[entry["params"], entry["lds"]] for entry in document["candidates"]]
    return found


def opponents(folder: Path, described: dict[str, Any], method: str = "tracin") -> dict[str, Any]:
    """Return the labels of the strongest opponents of test queries.

    Args:
        folder: folder of the setting's results.
        described: description of the data.
        method: method whose scores are looked at.

    Returns:
        Names of the classes, and for each class of queries the share of each class among their ``OPPONENTS`` strongest
        opponents; empty for data without classes and without scores of the method.
    """
    path = folder / f"scores/{method}.safetensors"
    names = described.get("class_names")
    if not names or not path.exists():
        return {}
    scores = load_file(path)["scores"][described["n_tune"] :]
    train, query = (load_file(folder / f"data/{part}.safetensors")["y"] for part in ("train", "query"))
    query = query[described["n_tune"] :]
    strongest = train[np.argsort(scores, axis=1)[:, :OPPONENTS]]
    shares = [
        [
            float((strongest[query == own] == other).mean()) if (query == own).any() else None
            for other in range(len(names))
        ]
        for own in range(len(names))
    ]
    return {"method": method, "classes": names, "shares": shares}


def member_outputs(root: Path, name: str) -> list[np.ndarray]:
    """Return the outputs of each member's final model for the queries of a setting, (n_query, ...).

    Args:
        root: the checkout.
        name: name of the setting.
    """
    plan = Plan(load_benchmark(root, {"settings": [name], "methods": ["random"]}))
    spec = next(node.spec for node in plan.graph.nodes.values() if node.step == "train")
    tensors = load_tensors(root / f"results/{name}/data/query.safetensors")
    y = tensors.pop("y")
    x = rows_of(tensors)
    found = []
    for path in sorted((root / f"results/{name}/ensemble").glob("member-*/final.safetensors")):
        model, state = build_model(spec.model, 0), load_tensors(path)
        model.to(next(value.dtype for value in state.values() if value.is_floating_point()))
        model.load_state_dict(state)
        found.append(_outputs(model.eval(), x, len(y)))
    return found


@torch.no_grad()
def _outputs(model: nn.Module, x: Rows, n: int) -> np.ndarray:
    return np.concatenate([outputs_of(model, x[rows]).double().numpy() for rows in chunks(n, 16)])


def quality(folder: Path, n_tune: int, compute: Callable[[], list[np.ndarray]]) -> dict[str, float]:
    """Return the accuracy, perplexity or R² of the mean of the members' final models on the test queries.

    Args:
        folder: folder of the setting's results.
        n_tune: number of queries before the test queries.
        compute: function that returns the outputs of each member for all queries, where none are stored.
    """
    outputs: dict[str, np.ndarray] = {}
    for path in sorted((folder / "features").glob("outputs-*.safetensors")):
        found = load_file(path)
        for member in sorted({key.partition("/")[0] for key in found}):
            last = max(int(key.split("/")[1].split(".")[0]) for key in found if key.startswith(f"{member}/"))
            outputs[member] = found[f"{member}/{last}.query"][n_tune:].astype(np.float64)
    y = load_file(folder / "data/query.safetensors")["y"][n_tune:]
    stacked = np.stack(list(outputs.values()) or [values[n_tune:] for values in compute()])
    if np.issubdtype(y.dtype, np.floating):
        mean = stacked.mean(0).reshape(y.shape)
        return {"r2": float(1 - ((y - mean) ** 2).sum() / ((y - y.mean(0)) ** 2).sum())}
    exp = np.exp(stacked - stacked.max(-1, keepdims=True))
    mean = (exp / exp.sum(-1, keepdims=True)).mean(0)
    counted = y != IGNORED
    right = {"accuracy": float((mean.argmax(-1) == y)[counted].mean())}
    if y.ndim == 1:
        return right
    own = np.take_along_axis(mean, np.where(counted, y, 0)[..., None], -1)[..., 0]
    return {**right, "perplexity": float(np.exp(-np.log(own[counted]).mean()))}


def page(recorded: list[dict[str, Any]], descriptions: dict[str, str]) -> str:
    """Return the page of recorded values, with the settings in the order of their names.

    Args:
        recorded: results of :func:`record`.
        descriptions: description of each setting, from its YAML.
    """
    rows = sorted(recorded, key=lambda entry: entry["setting"])
    if not rows:
        return FRAME + "No results are recorded yet.\n"
    columns = [
        "setting",
        "data, licence",
        "training examples",
        "accuracy (perplexity) or R²",
        "parameters",
        "members",
    ]
    columns += ["retrainings", "seconds", "MiB"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for entry in rows:
        card = read_card(entry["data"]) if entry["data"] else None
        data = f"{card.title}, {card.licence}" if card else "–"
        value = f"{entry.get('accuracy', entry.get('r2')):.3f}"
        value += f" ({entry['perplexity']:.2f})" if "perplexity" in entry else ""
        lines.append(
            f"| `{entry['setting']}` | {data} | {entry['n_train']:,} | {value} | {entry['parameters']:,} | "
            f"{entry['members']} | {entry['retrainings']:,} | {entry['seconds']:,} | {entry['peak_memory_mib']:,} |"
        )
    for entry in (entry for entry in rows if entry["lds"]):
        description = textwrap.fill(descriptions.get(entry["setting"], ""), 120, break_long_words=False)
        lines += ["", f"## {entry['setting']}", "", description, ""]
        lines += [
            f"Ceiling {_number(entry['ceiling'])}, additive ceiling {_number(entry['ceiling_additive'])}.",
            "",
        ]
        lines += ["| method | LDS | 95 % interval |", "|---|---|---|"]
        lines += [
            f"| `{method}` | {value:.3f} | {low:.3f} to {high:.3f} |"
            for method, value, low, high in entry["lds"][:BEST]
        ]
    return FRAME + "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "not known" if value is None or math.isnan(value) else f"{value:.3f}"


def stored(root: Path) -> str:
    """Return the page of the values that are stored in a checkout."""
    recorded = [json.loads(path.read_text()) for path in sorted((root / "docs/data/settings").glob("*.json"))]
    names = [entry["setting"] for entry in recorded]
    settings = load_benchmark(root, {"settings": names, "methods": ["random"]}).settings if names else {}
    return page(recorded, {name: setting.description for name, setting in settings.items()})


def main(arguments: list[str]) -> None:
    """Run ``record NAME…`` or ``write``."""
    if arguments[:1] == ["record"]:
        for name in arguments[1:]:
            if not list((ROOT / "results" / name / "metrics").glob("*.json")):
                sys.exit(f"results/{name} has no metrics; run snakemake --config 'settings=[{name}]' first")
            text = json.dumps(record(ROOT, name), indent=1) + "\n"
            path = ROOT / f"docs/data/settings/{name}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    elif arguments == ["write"]:
        (ROOT / "docs/settings.md").write_text(stored(ROOT), encoding="utf-8")
    else:
        sys.exit("usage: settings_page.py record NAME… | write")


if __name__ == "__main__":
    main(sys.argv[1:])
