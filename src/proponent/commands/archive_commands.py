"""Commands that move and remove results: pack, unpack, prune."""

from __future__ import annotations

from pathlib import Path

import click

from proponent.commands.own_checkout import checkout, planned
from proponent.formatting import size


@click.command()
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
    graph = planned({"settings": [setting]}).graph
    packed = write_archive(graph, setting, archive)
    click.echo(f"{archive}: {packed.files} files, {size(packed.bytes)}")


@click.command()
@click.argument("archive", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Replace results that are there already and differ.")
def unpack(archive: Path, replace: bool) -> None:
    """Put the results in ARCHIVE, which `proponent pack` wrote, in place.

    Every file is compared with the archive's index before the first is put in place.
    """
    from proponent.inspection.pack import unpack as put_in_place
    from proponent.plan.controller import hold_checkout

    root = checkout()
    hold_checkout(root)
    done = put_in_place(root, archive, replace)
    unpacked = f"{done.files} files, {size(done.bytes)}, {done.new} of them new"
    click.echo(
        f"results/{done.setting}: {unpacked}; `proponent verify results/{done.setting}` checks the chain"
    )


@click.command()
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

    root = checkout()
    hold_checkout(root)
    files = unneeded(planned().graph, folders)
    for path in files:
        click.echo(path.relative_to(root))
    if dry_run:
        total = sum(path.stat().st_size for path in files)
        click.echo(f"would remove {len(files)} files, {size(total)}", err=True)
    else:
        click.echo(f"removed {len(files)} files, {size(remove(root, files))}", err=True)
