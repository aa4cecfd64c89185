r"""The number of models to train: TRAK on a few members, against methods that learn from thousands of retrainings.

    R=results/digits-mlp
    snakemake --configfile benchmarks/few_models.yaml -- $R/ground_truth/{subsets,tune,fit,permutations}.safetensors \
        $R/features/gradients-00{0,1,2,3,4}.safetensors
    python benchmarks/few_models.py                     # writes few-models.json, and prints the table
    python benchmarks/few_models.py --draw docs/images/few-models.svg

Each method is run on growing numbers of members or retrainings, tuned on the tune queries and masks, and reported on the
test queries and the masks that evaluate, with the interval of the leaderboard. Datamodels around TRAK, which need an
eigendecomposition for each query, stop at 1,000 retrainings.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from proponent.attribution.member_mean import MemberMean
from proponent.methods.learned import datamodels, datamodels_prior, datamodels_ridge
from proponent.methods.shared.workspace import Workspace
from proponent.methods.trak import trak
from proponent.methods.valuation import mean_difference, shapley
from proponent.metrics import lds
from proponent.metrics.metric_inputs import MetricInputs, Retrainings
from proponent.publish.figures.style import (
    BLUE,
    GREEN,
    GREY,
    SKY,
    VERMILION,
    heading,
    new_figure,
    plain,
    render,
    styled,
)
from proponent.steps.io.job import Job, prepare_libraries
from proponent.steps.io.method_inputs import member_inputs
from proponent.steps.io.setting_inputs import load_data
from proponent.steps.io.shared_needs import Permutations, read
from proponent.steps.io.shared_needs import Retrainings as Learned
from proponent.store.tensors import load_tensors

SETTING = "digits-mlp"
RESULT = Path("few-models.json")
GRID = [
    {"checkpoint": checkpoint, "weighting": weighting, "damping": damping}
    for checkpoint in (1.0, 0.25)
    for weighting in ("none", "sqrt")
    for damping in (1.0, 3.0, 10.0)
]
MEMBERS = (1, 2, 5, 10, 20, 50)
RETRAININGS = (100, 200, 500, 1000, 2000, 5000)
PRIOR_RETRAININGS = (100, 200, 500, 1000)
PRIOR_MEMBERS = (1, 10)
ORANGE = "#E69F00"
PENALTIES = ("query", "shared")


class World:
    """Artefacts of one run, and the evaluation of scores on them."""

    def __init__(self) -> None:
        self.job = Job.load(
            Path(f"results/{SETTING}/keys/scores/datamodels-prior.safetensors.json"), "attribute"
        )
        orders = Job.load(Path(f"results/{SETTING}/keys/scores/data-shapley.safetensors.json"), "attribute")
        self.data = load_data(self.job)
        self.n_tune = self.job.spec.queries.tune
        self.learned = read(self.job, "retrainings", slice(None))
        self.orders = read(orders, "permutations", slice(None))
        evaluation = Job.load(Path(f"results/{SETTING}/keys/metrics/datamodels-prior.json.json"), "evaluate")
        self.truth = {
            design: load_tensors(job.read(job.inputs.ground_truth[design]))
            for design, job in (("tune", self.job), ("subsets", evaluation))
        }

    def first(self, count: int) -> Learned:
        """Return the first ``count`` retrainings."""
        return Learned(self.learned.masks[:count], self.learned.targets[:count])

    def judge(self, scores: Tensor, design: str, rows: slice, resamples: int = 1) -> dict[str, float | None]:
        """Return the LDS of some queries' scores over the retrainings of a design."""
        found = self.truth[design]
        truth = Retrainings(found["masks"].numpy(), found["targets"][:, :, rows].double().numpy())
        inputs = MetricInputs(scores[rows].double().numpy(), ground_truth={"subsets": truth})
        estimate = lds.evaluate(inputs, resamples=resamples)["lds"]
        ends = {name: estimate.extras[name] for name in ("ceiling", "ceiling_low", "ceiling_high")}
        return {"lds": estimate.value, "ci_low": estimate.ci_low, "ci_high": estimate.ci_high, **ends}

    def report(self, name: str, models: int, candidates: list[tuple[str, Tensor]], seconds: float) -> dict:
        """Return the row of the candidate that is best on the tune queries and masks."""
        tune, test = slice(0, self.n_tune), slice(self.n_tune, None)
        reached = [self.judge(scores, "tune", tune)["lds"] for _, scores in candidates]
        chosen, scores = candidates[int(np.argmax(reached))]
        row = {"method": name, "models": models, **self.judge(scores, "subsets", test, 1000)}
        row |= {"chosen": chosen, "seconds": round(seconds, 1)}
        interval = f"{row['lds']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]"
        print(f"| {name} | {models} | {interval} | {chosen} | {seconds:.0f} |", flush=True)
        return row


def gradient_rows(world: World) -> Iterator[dict]:
    """Yield rows of TRAK on the first members, and of datamodels around it, from one pass over all members."""
    means = [MemberMean() for _ in GRID]
    seconds = 0.0
    for member, inputs in enumerate(member_inputs(world.job, world.data, slice(None), max(MEMBERS))):
        started = time.perf_counter()
        for start in range(0, len(GRID), 3):
            grid = GRID[start : start + 3]
            workspace = Workspace([params["damping"] for params in grid])
            for mean, params in zip(means[start : start + 3], grid, strict=True):
                mean.add(trak.attribute(inputs["gradients"], workspace, **params))
        seconds += time.perf_counter() - started
        if member + 1 in MEMBERS:
            scored = [(str(params), mean.scores()) for mean, params in zip(means, GRID, strict=True)]
            row = world.report("trak", member + 1, scored, seconds)
            yield row
            if member + 1 in PRIOR_MEMBERS:
                yield from prior_rows(world, member + 1, row["chosen"], dict(scored)[row["chosen"]])


def prior_rows(world: World, members: int, chosen: str, prior: Tensor) -> Iterator[dict]:
    """Yield rows of datamodels around the TRAK scores of some members, which count as trained models too."""
    for count in PRIOR_RETRAININGS:
        started = time.perf_counter()
        scores = datamodels_prior.finish(prior, world.first(count))
        name = "datamodels-prior" if members == 1 else f"datamodels-prior-{members}"
        yield world.report(name, count + members, [(chosen, scores)], time.perf_counter() - started)


def learned_rows(world: World) -> Iterator[dict]:
    """Yield rows of the methods that learn from retrainings alone, on the first of them."""
    for count in RETRAININGS:
        some = world.first(count)
        started = time.perf_counter()
        found = mean_difference.attribute(some)
        yield world.report("empirical-influence", count, [("{}", found)], time.perf_counter() - started)
        for name, module in {"datamodels-ridge": datamodels_ridge, "datamodels": datamodels}.items():
            started = time.perf_counter()
            workspace = Workspace()
            scored = [
                (str({"penalty": penalty}), module.attribute(some, workspace, penalty=penalty))
                for penalty in PENALTIES
            ]
            yield world.report(name, count, scored, time.perf_counter() - started)
        prefixes = world.orders.masks.shape[1]
        orders = Permutations(
            world.orders.masks[: count // prefixes], world.orders.targets[: count // prefixes]
        )
        started = time.perf_counter()
        yield world.report(
            "data-shapley", count, [("", shapley.attribute(orders))], time.perf_counter() - started
        )


@styled
def draw(rows: list[dict]) -> bytes:
    """Return the figure."""
    looks = {
        "trak": ("TRAK on members", BLUE, "o"),
        "datamodels-prior": ("datamodels around TRAK of 1 member", VERMILION, "D"),
        "datamodels-prior-10": ("datamodels around TRAK of 10 members", ORANGE, "d"),
        "datamodels": ("datamodels, LASSO", GREEN, "s"),
        "datamodels-ridge": ("datamodels, ridge", SKY, "^"),
        "empirical-influence": ("empirical influence = Banzhaf", GREY, "v"),
        "data-shapley": ("data Shapley, blocks of a tenth", GREY, "x"),
    }
    figure = new_figure(4.4)
    heading(
        figure,
        "A few models with gradients, or thousands without",
        f"LDS on {SETTING} against the number of models that were trained; 95 % intervals over subsets and queries.",
    )
    axes = figure.add_axes((0.08, 0.12, 0.9, 0.72))
    for name, (label, colour, marker) in looks.items():
        mine = [row for row in rows if row["method"] == name]
        x = [row["models"] for row in mine]
        y = np.array([row["lds"] for row in mine])
        low, high = (np.array([row[end] for row in mine]) for end in ("ci_low", "ci_high"))
        axes.errorbar(
            x, y, (y - low, high - y), label=label, color=colour, marker=marker, markersize=5, linewidth=1.3
        )
    axes.axhline(rows[0]["ceiling"], color=GREY, linewidth=1, linestyle="--")
    axes.text(1, rows[0]["ceiling"] + 0.01, "ceiling", color=GREY, size=9)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("models trained")
    axes.set_ylabel("LDS")
    axes.set_ylim(0, None)
    plain(axes)
    axes.legend(frameon=False, fontsize=8.5, loc="lower left", bbox_to_anchor=(0.02, 0.02))
    return render(figure, "svg", "LDS against the number of models trained")


def main() -> None:
    """Compute the table, or draw the figure of an earlier run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--draw", type=Path, help="path of the figure to draw from few-models.json, instead of computing it"
    )
    arguments = parser.parse_args()
    if arguments.draw:
        arguments.draw.write_bytes(draw(json.loads(RESULT.read_text())))
        return
    prepare_libraries(1)
    world = World()
    print(
        "| method | models trained | LDS | chosen on the tune queries | s |\n| --- | ---: | ---: | --- | ---: |"
    )
    rows = list(gradient_rows(world))
    rows += learned_rows(world)
    RESULT.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
