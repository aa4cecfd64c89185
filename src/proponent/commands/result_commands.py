"""Commands that show and use finished results: leaderboard, select, clean."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import click

from proponent.commands.own_checkout import checkout


@click.command()
@click.option("--setting", metavar="NAME", help="Print the leaderboard of this setting only.")
def leaderboard(setting: str | None) -> None:
    """Print the leaderboard of every setting that is finished."""
    importlib.import_module("proponent.steps.collect").show(checkout(), setting)


@click.command()
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
    "--figure", type=click.Path(path_type=Path), help="Draw the curves of accuracy to this file, SVG or PNG."
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

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    chosen = Selection(setting, method, keep, queries, balanced)
    run(checkout(), chosen, output or Path(f"{setting}-{method}.csv"), console, figure)


@click.command()
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

    root = checkout()
    found = find_suspects(root, setting, method, top)
    table, page = write_files(root, found, top)
    because = f" ({found.because})" if found.because else ""
    click.echo(f"{len(found.entries)} examples by {found.ordered_by} of {found.method}{because}")
    click.echo(f"{table.relative_to(root)}  {page.relative_to(root)}")
    click.echo("\n".join(lines_on_gain(root, setting, found.method)))
