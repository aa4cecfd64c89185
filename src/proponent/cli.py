"""The command line: one subcommand per step, the same that a rule runs; a job's log begins with it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import click

from proponent import __version__
from proponent.errors import UserError
from proponent.steps.job import Job, announce, fix_threads

STEPS = {
    "data": "Load a setting's dataset, corrupt labels where asked, and store what is left of it.",
    "train": "Train a shard of ensemble members in lockstep.",
    "retrain": "Retrain a shard of a design's subsets in lockstep.",
    "ground_truth": "Merge a design's shards.",
    "featurize": "Turn a shard of members into features.",
    "attribute": "Tune and run one attribution method.",
    "evaluate": "Evaluate one method's scores against the ground truth.",
    "collect": "Make the leaderboard.",
    "summary": "Sum up a setting for DVC: metrics by method.",
    "figures": "Draw a setting's figures.",
    "overview": "Draw the figure of all settings.",
}


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
def cli() -> None:
    """Benchmark of training data attribution: which training examples made a model behave like this?

    Every step takes one KEY_FILE (results/SETTING/keys/…json, written when snakemake plans a run) and makes the one
    artefact that it describes. Run `snakemake` for the whole chain.
    """


def _add_step(name: str, summary: str) -> None:
    @cli.command(name=name.replace("_", "-"), help=summary, short_help=summary)
    @click.argument("key_file", type=click.Path(path_type=Path))
    def command(key_file: Path) -> None:
        announce(name.replace("_", "-"), key_file)
        job = Job.load(key_file, name)
        if job.is_done():
            click.echo(f"{job.artefact} is up to date", err=True)
            return
        fix_threads(job.threads)
        job.check()
        importlib.import_module(f"proponent.steps.{name}").run(job)
        manifest = job.finish()
        click.echo(
            f"{job.artefact} made in {manifest.seconds:.1f} s, {manifest.peak_memory_mib:.0f} MiB", err=True
        )


for _name, _summary in STEPS.items():
    _add_step(_name, _summary)


@cli.command()
def leaderboard() -> None:
    """Print the leaderboard that was made last."""
    importlib.import_module("proponent.steps.collect").show(Path.cwd())


@cli.command()
@click.argument("metrics", nargs=-1, required=True)
def publish(metrics: tuple[str, ...]) -> None:
    """Make MLflow show METRICS (results/SETTING/metrics/METHOD.json), a run each, and no other method of their settings.

    The database is mlflow.db in the checkout, or what MLFLOW_TRACKING_URI names.
    """
    done = importlib.import_module("proponent.steps.publish").run(Path.cwd(), metrics)
    click.echo(", ".join(f"{count} {what}" for what, count in done.items()))


@cli.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
def verify(paths: tuple[Path, ...]) -> None:
    """Check results against their manifests, byte for byte.

    Also whether each was made by the current configuration and source, and everything that it was made from. PATHS are
    files or folders, all of results/ by default. Exits with 1 unless all is whole.
    """
    from proponent.config.benchmark import load_benchmark
    from proponent.workflow.plan import Plan
    from proponent.workflow.verify import verify as check_results

    root = Path.cwd()
    graph = Plan(load_benchmark(root, {})).graph
    verdict = check_results(root, {path: node.key for path, node in graph.nodes.items()}, paths)
    for artefact, lines in verdict.faults.items():
        for line in lines:
            click.echo(line, err=True)
        if verdict.tainted[artefact]:
            click.echo(f"  made from it: {', '.join(verdict.tainted[artefact])}", err=True)
    for orphan in verdict.orphans:
        click.echo(f"note: {orphan}: no current configuration makes it", err=True)
    size = f"{verdict.artefacts} artefacts, {verdict.files} files, {verdict.bytes / 2**20:.0f} MiB"
    if verdict.faults:
        click.echo(f"{len(verdict.faults)} of {size} are at fault", err=True)
        sys.exit(1)
    click.echo(f"whole: {size}")


@cli.command()
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path))
@click.option("--dry-run", "-n", is_flag=True, help="Only list what would be removed.")
def prune(folders: tuple[Path, ...], dry_run: bool) -> None:
    """Remove results that no current configuration makes.

    A method, setting or design that params.yaml no longer names leaves its files behind; this removes them, with their
    manifests and key files. FOLDERS are below results/, all of it by default. Files that no manifest names stay.
    """
    from proponent.config.benchmark import load_benchmark
    from proponent.workflow.controller import hold_checkout
    from proponent.workflow.plan import Plan
    from proponent.workflow.prune import remove, unneeded

    root = Path.cwd()
    hold_checkout(root)
    files = unneeded(Plan(load_benchmark(root, {})).graph, folders)
    for path in files:
        click.echo(path.relative_to(root))
    if dry_run:
        size = sum(path.stat().st_size for path in files)
        click.echo(f"would remove {len(files)} files, {size / 2**20:.1f} MiB", err=True)
    else:
        click.echo(f"removed {len(files)} files, {remove(root, files) / 2**20:.1f} MiB", err=True)


def main() -> None:
    """Run the command line; a mistake that the user can mend is one line and exit code 1."""
    sys.path.insert(0, str(Path.cwd()))
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    except UserError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    except MemoryError:
        click.echo(
            "error: out of memory; lower compute.lockstep or compute.memory_mib in params.yaml", err=True
        )
        sys.exit(1)
    except OSError as error:
        click.echo(f"error: {error.filename or 'disk'}: {error.strerror or error}", err=True)
        sys.exit(1)
