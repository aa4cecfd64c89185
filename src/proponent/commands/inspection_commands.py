"""Commands that report on runs and results: verify, plan, status, provenance."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from proponent.commands.own_checkout import checkout, planned
from proponent.formatting import size

if TYPE_CHECKING:
    from proponent.config.specifications.method_specs import AttributeSpec
    from proponent.memory_budget import PlannedMemory


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
def verify(paths: tuple[Path, ...]) -> None:
    """Check results against their manifests, byte for byte.

    Also whether each was made by the current configuration and source, and everything that it was made from. PATHS are
    files or folders, all of results/ by default. Exits with 1 unless all is whole.
    """
    from proponent.inspection.verify import absent, other_remedies, report_lines
    from proponent.inspection.verify import verify as check_results

    root = checkout()
    found = planned()
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


@click.command()
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
    root = checkout()

    def memory_of(spec: AttributeSpec) -> float | None:
        # Imported only where a method has not been measured: it needs torch.
        return importlib.import_module("proponent.steps.io.planned_memory").job_mib(root, spec)

    def planned_of(spec: AttributeSpec) -> PlannedMemory | None:
        return importlib.import_module("proponent.steps.io.planned_memory").planned_memory(root, spec)

    show_plan(root, config, profile, Console(highlight=False, width=width), memory_of, planned_of)


@click.command()
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
    found = planned(Flags(entries=config).values())
    show_status(found, Console(highlight=False, width=width))


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
def provenance(path: Path) -> None:
    """Report how a result was made, and the reasons for which snakemake would make it again.

    PATH is any file of results/, including one that does not exist yet. The report names the step, time, commit, device,
    cost, inputs, configuration, seeds and versions.
    """
    from proponent.inspection.provenance import artefact_of, provenance_lines

    graph = planned().graph
    click.echo("\n".join(provenance_lines(graph, artefact_of(graph, path))))
