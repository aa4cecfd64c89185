"""The command line: one subcommand per step, the same that a rule runs; a job's log begins with it."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path

try:
    import click
except ModuleNotFoundError:
    sys.exit("error: the command line needs the extra [workflow]: pip install 'proponent[workflow]'")

from proponent import __version__
from proponent.commands.archive_commands import pack, prune, unpack
from proponent.commands.inspection_commands import plan, provenance, status, verify
from proponent.commands.own_checkout import checkout
from proponent.commands.query_command import query_command
from proponent.commands.result_commands import clean, leaderboard, select
from proponent.commands.tracking_commands import publish, ui
from proponent.errors import line_for, one_line
from proponent.progress import end_bars
from proponent.steps.io.device import settle_device
from proponent.steps.io.failing import complete_record, recording_failure
from proponent.steps.io.job import Job
from proponent.steps.io.process import announce, fix_hash_seed, importing, prepare_libraries
from proponent.store.lease import leased

STEPS = {
    "data": "Load a setting's dataset, corrupt labels where asked, and store what is left of it.",
    "check": "Check a setting's model, data and methods before anything is trained.",
    "train": "Train a shard of ensemble members in lockstep.",
    "adopt_models": "Copy a shard of models that were trained elsewhere.",
    "retrain": "Retrain a shard of a design's subsets in lockstep.",
    "derive_masks": "Derive the masks of a metric that retrains from scores or data.",
    "retrain_masks": "Retrain a shard of derived masks in lockstep.",
    "patch_models": "Let trained members take an optimiser step on proponents.",
    "search_removal": "Search the smallest number of examples whose removal flips a query.",
    "train_script": "Train a shard of ensemble members with a script of your own.",
    "retrain_script": "Retrain a shard of a design's subsets with a script of your own.",
    "ground_truth": "Merge a design's shards.",
    "featurize": "Turn a shard of members into features.",
    "attribute": "Tune and run one attribution method.",
    "adopt": "Check the scores that a rule of your own made, and record them.",
    "shuffle": "Shuffle the weights of ensemble members, for the metric randomisation.",
    "shuffle_labels": "Shuffle the labels of the training examples, for the metric label-randomisation.",
    "repeat": "Run one attribution method for other models, whose scores metrics compare with its own.",
    "correlate": "Compare the scores of all methods with each other.",
    "evaluate": "Evaluate one method's scores against the ground truth.",
    "collect": "Make the leaderboard.",
    "summary": "Sum up a setting for DVC: metrics by method.",
    "figures": "Draw a setting's figures.",
    "overview": "Draw the figure of all settings.",
    "explain_gallery": "Explain the strongest examples of a setting by their features, and find clusters of examples.",
    "report_section": "Collect what the report shows of a setting.",
    "report": "Make the report, one page of all settings.",
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
        with recording_failure(key_file, job), leased(job.root / job.artefact, job.is_done) as lease:
            if lease is None:
                click.echo(f"{job.artefact} is up to date", err=True)
                return
            prepare_libraries(job.threads)
            job.check()
            settle_device(job)
            with importing():
                step = importlib.import_module(f"proponent.steps.{name}")
            step.run(job)
            manifest = job.finish(lease)
        click.echo(
            f"{job.artefact} made in {manifest.seconds:.1f} s, {manifest.peak_memory_mib:.0f} MiB", err=True
        )


for _name, _summary in STEPS.items():
    _add_step(_name, _summary)


@cli.command(hidden=True)
@click.argument("key_file", type=click.Path(path_type=Path))
@click.argument("code", type=int)
@click.argument("log", default="")
def failed(key_file: Path, code: int, log: str) -> None:
    """Record that the step of KEY_FILE ended with exit code CODE, and exit with it; its rule runs this."""
    complete_record(key_file, code, log)
    sys.exit(code)


for _command in (
    *(leaderboard, select, clean, query_command(checkout)),
    *(publish, ui),
    *(verify, plan, status, provenance),
    *(pack, unpack, prune),
):
    cli.add_command(_command)


def main() -> None:
    """Run the command line; an error ends it with one line and exit code 1, after the traceback if it is a bug."""
    sys.path.insert(0, str(Path.cwd()))
    if sys.argv[1:] and sys.argv[1].replace("-", "_") in STEPS:
        fix_hash_seed()
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    except Exception as error:
        end_bars()
        if line_for(error) is None:
            traceback.print_exc()
        click.echo(f"error: {one_line(error)}", err=True)
        sys.exit(1)
