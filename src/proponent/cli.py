"""The command line: one subcommand per step, the same that a rule runs; a job's log begins with it."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    import click
except ModuleNotFoundError:
    sys.exit("error: the command line needs the extra [workflow]: pip install 'proponent[workflow]'")

from proponent import __version__
from proponent.checkout_location import check_location
from proponent.errors import UserError, line_for, one_line
from proponent.formatting import size
from proponent.progress import end_bars
from proponent.query_command import query_command
from proponent.steps.io.device import settle_device
from proponent.steps.io.failing import complete_record, recording_failure
from proponent.steps.io.job import Job
from proponent.steps.io.process import announce, fix_hash_seed, prepare_libraries
from proponent.store.lease import leased

if TYPE_CHECKING:
    from proponent.config.specifications.step_specs import AttributeSpec
    from proponent.memory_budget import PlannedMemory
    from proponent.plan.run_plan import Plan

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
            importlib.import_module(f"proponent.steps.{name}").run(job)
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


def _root() -> Path:
    """Return the current directory, which must be a checkout."""
    root = Path.cwd()
    if not (root / "params.yaml").exists():
        raise UserError(f"no params.yaml in {root}: run this from the root of a proponent checkout")
    check_location(root)
    return root


cli.add_command(query_command(_root))


def _plan(overrides: Mapping[str, Any] | None = None) -> Plan:
    """Return the plan for the checkout, as ``params.yaml`` and ``overrides`` ask for it."""
    from proponent.config.benchmark import load_benchmark
    from proponent.plan.run_plan import Plan

    return Plan(load_benchmark(_root(), overrides or {}))


@cli.command()
@click.option("--setting", metavar="NAME", help="Print the leaderboard of this setting only.")
def leaderboard(setting: str | None) -> None:
    """Print the leaderboard of every setting that is finished."""
    importlib.import_module("proponent.steps.collect").show(_root(), setting)


@cli.command()
@click.option("--setting", required=True, metavar="NAME", help="A setting with results.")
@click.option("--method", required=True, metavar="NAME", help="The method whose scores choose.")
@click.option("--keep", required=True, type=float, help="Share of the training set to keep.")
@click.option(
    "--queries",
    default="tune",
    show_default=True,
    help="Target queries: tune, test, all, or numbers such as 3,17,20-29.",
)
@click.option("--balanced", is_flag=True, help="Keep the same share of every class.")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="File to write; SETTING-METHOD.csv by default."
)
@click.option(
    "--figure", type=click.Path(path_type=Path), help="Draw the curves of accuracy to this SVG file."
)
def select(
    setting: str,
    method: str,
    keep: float,
    queries: str,
    balanced: bool,
    output: Path | None,
    figure: Path | None,
) -> None:
    """Choose the training examples to keep for a set of target queries.

    Writes them as CSV, the most valuable first, and prints the accuracy of models that were trained on such choices, next to
    random ones and to baselines.

    Example: proponent select --setting digits-lr --method trak --keep 0.3
    """
    from rich.console import Console

    from proponent.steps.select_examples import Selection, run

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    chosen = Selection(setting, method, keep, queries, balanced)
    run(_root(), chosen, output or Path(f"{setting}-{method}.csv"), console, figure)


@cli.command()
@click.argument("metrics", nargs=-1)
def publish(metrics: tuple[str, ...]) -> None:
    """Make MLflow show what params.yaml names, and nothing else.

    With METRICS (results/SETTING/metrics/METHOD.json), only these runs are written or replaced. The database is mlflow.db in
    the checkout, or what MLFLOW_TRACKING_URI names.
    """
    root = _root()
    done = importlib.import_module("proponent.steps.publish").run(
        root, metrics or _settled_metrics(), complete=not metrics
    )
    click.echo(", ".join(f"{count} {what}" for what, count in done.items()))


def _settled_metrics() -> list[str]:
    """Return the metrics file of every method on every setting, after checking that each is current or has a reason."""
    from proponent.inspection.failures import find_failures
    from proponent.plan.current import current_artefacts

    plan = _plan()
    failures = find_failures(plan.graph, current_artefacts(plan.graph))
    for path in plan.metrics_files():
        if path not in failures.current and not failures.why_missing(path):
            raise UserError(f"{path}: not there, or not what params.yaml now asks for; run snakemake publish")
    return plan.metrics_files()


@cli.command()
@click.option("--port", default=5000, show_default=True, help="Of 127.0.0.1.")
def ui(port: int) -> None:
    """Serve MLflow's UI for this machine alone, over the database that publish writes."""
    from proponent.publish.ui import serve
    from proponent.steps.publish import tracking_uri

    serve(tracking_uri(_root()), port)


@cli.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
def verify(paths: tuple[Path, ...]) -> None:
    """Check results against their manifests, byte for byte.

    Also whether each was made by the current configuration and source, and everything that it was made from. PATHS are
    files or folders, all of results/ by default. Exits with 1 unless all is whole.
    """
    from proponent.inspection.verify import absent, other_remedies, report_lines
    from proponent.inspection.verify import verify as check_results

    root = _root()
    found = _plan()
    verdict = check_results(root, {path: node.key for path, node in found.graph.nodes.items()}, paths)
    not_here = [] if paths else absent(found, verdict)
    remedies = other_remedies(found.graph, found.targets(), verdict.faults)
    for line in report_lines(verdict, not_here, remedies):
        click.echo(line, err=True)
    checked = f"{verdict.artefacts} artefacts, {verdict.files} files, {size(verdict.bytes)}"
    if verdict.faults:
        click.echo(f"{len(verdict.faults)} of {checked} are at fault", err=True)
        sys.exit(1)
    click.echo(f"whole: {checked}")


@cli.command()
@click.argument("config", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--profile", help="A folder of profiles/: also say where jobs go, and in how many submissions.")
def plan(config: tuple[str, ...], profile: str | None) -> None:
    """Say what snakemake would start, and what it will cost, before it does.

    Jobs, CPU and GPU time, bytes on disk and memory by rule, from the measured costs of earlier jobs where there are any.
    NAME=VALUE narrows the run as after `snakemake --config`.
    """
    from rich.console import Console

    from proponent.inspection.cost_table import show_plan

    width = None if sys.stdout.isatty() else 120
    root = _root()

    def memory_of(spec: AttributeSpec) -> float | None:
        # Imported only where a method has not been measured: it needs torch.
        return importlib.import_module("proponent.steps.io.planned_memory").job_mib(root, spec)

    def planned_of(spec: AttributeSpec) -> PlannedMemory | None:
        return importlib.import_module("proponent.steps.io.planned_memory").planned_memory(root, spec)

    show_plan(root, config, profile, Console(highlight=False, width=width), memory_of, planned_of)


@cli.command()
@click.argument("config", nargs=-1, metavar="[NAME=VALUE]...")
def status(config: tuple[str, ...]) -> None:
    """Report finished, running and failed jobs, the reasons of failures, and the time left.

    Reads manifests, the events of the last snakemake in this checkout, and Slurm's queue if there is one. No file is
    changed, so it can run at any time. NAME=VALUE narrows the report as for `snakemake --config`.
    """
    from rich.console import Console

    from proponent.config.flags import Flags
    from proponent.inspection.status import show_status

    width = None if sys.stdout.isatty() else 120
    found = _plan(Flags(entries=config).values())
    show_status(found, Console(highlight=False, width=width))


@cli.command()
@click.argument("path", type=click.Path(path_type=Path))
def provenance(path: Path) -> None:
    """Report how a result was made, and the reasons for which snakemake would make it again.

    PATH is any file of results/, including one that does not exist yet. The report names the step, time, commit, device,
    cost, inputs, configuration, seeds and versions.
    """
    from proponent.inspection.provenance import artefact_of, provenance_lines

    graph = _plan().graph
    click.echo("\n".join(provenance_lines(graph, artefact_of(graph, path))))


@cli.command()
@click.option("--setting", metavar="NAME", required=True, help="A setting with finished results.")
@click.option(
    "--method", metavar="NAME", help="The method that orders the examples; the best one by default."
)
@click.option(
    "--top", metavar="N", default=50, show_default=True, help="Examples with all evidence on the page."
)
def clean(setting: str, method: str | None, top: int) -> None:
    """List training examples whose labels are suspicious, with evidence.

    Writes results/NAME/cleaning/METHOD.csv, with all examples in order, and METHOD.html, with the first N: the label,
    what the models say, the strongest proponents and opponents, equal inputs with another label, and the queries that the
    example harms. Without --method, the method is the one that found most flipped labels on the setting or its twin
    NAME-noisy. Where the metric cleaning-gain is evaluated, the accuracy after training without the first examples is
    printed as well.

    Example: proponent clean --setting digits-lr-noisy --method trak --top 100
    """
    from proponent.cleaning import find_suspects, lines_on_gain
    from proponent.cleaning_files import write_files

    root = _root()
    found = find_suspects(root, setting, method, top)
    table, page = write_files(root, found, top)
    because = f" ({found.because})" if found.because else ""
    click.echo(f"{len(found.entries)} examples by {found.ordered_by} of {found.method}{because}")
    click.echo(f"{table.relative_to(root)}  {page.relative_to(root)}")
    click.echo("\n".join(lines_on_gain(root, setting, found.method)))


@cli.command()
@click.argument("setting")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="File to write; SETTING.tar by default."
)
def pack(setting: str, output: Path | None) -> None:
    """Write all results of SETTING to one archive, after verifying them.

    For people without your DVC remote: `proponent unpack` gives them data, models, features, ground truth, scores and
    metrics, so that a new method is evaluated without training anything.
    """
    from proponent.inspection.pack import pack as write_archive

    archive = output or Path(f"{setting}.tar")
    graph = _plan({"settings": [setting]}).graph
    packed = write_archive(graph, setting, archive)
    click.echo(f"{archive}: {packed.files} files, {size(packed.bytes)}")


@cli.command()
@click.argument("archive", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Replace results that are there already and differ.")
def unpack(archive: Path, replace: bool) -> None:
    """Put the results in ARCHIVE, which `proponent pack` wrote, in place.

    Every file is compared with the archive's index before the first is put in place.
    """
    from proponent.inspection.pack import unpack as put_in_place
    from proponent.plan.controller import hold_checkout

    root = _root()
    hold_checkout(root)
    done = put_in_place(root, archive, replace)
    unpacked = f"{done.files} files, {size(done.bytes)}, {done.new} of them new"
    click.echo(
        f"results/{done.setting}: {unpacked}; `proponent verify results/{done.setting}` checks the chain"
    )


@cli.command()
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path))
@click.option("--dry-run", "-n", is_flag=True, help="Only list what would be removed.")
def prune(folders: tuple[Path, ...], dry_run: bool) -> None:
    """Remove results that no current configuration makes.

    A method, setting or design that params.yaml no longer names leaves its files behind; this removes them, with their
    manifests and key files; also what a killed job left half-written, an hour later. FOLDERS are below results/, all of it
    by default. Other files that no manifest names stay.
    """
    from proponent.inspection.prune import remove, unneeded
    from proponent.plan.controller import hold_checkout

    root = _root()
    hold_checkout(root)
    files = unneeded(_plan().graph, folders)
    for path in files:
        click.echo(path.relative_to(root))
    if dry_run:
        total = sum(path.stat().st_size for path in files)
        click.echo(f"would remove {len(files)} files, {size(total)}", err=True)
    else:
        click.echo(f"removed {len(files)} files, {size(remove(root, files))}", err=True)


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
