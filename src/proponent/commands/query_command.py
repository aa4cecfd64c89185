"""The command ``proponent query``; what it needs of torch is imported when it runs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

_ALGORITHMS = ("integrated-gradients", "input-x-gradient", "shapley", "lrp")


def query_command(root: Callable[[], Path]) -> click.Command:
    """Return the command.

    Args:
        root: function that returns the checkout.
    """

    @click.command(name="query")
    @click.option("--setting", "-s", required=True, metavar="NAME", help="A setting that was run.")
    @click.option("--method", "-m", metavar="NAME", help="By default the best one that can score new inputs.")
    @click.option("--query", "-q", type=click.IntRange(min=0), metavar="N", help="A query of the run.")
    @click.option("--image", type=click.Path(path_type=Path), help="An image as the query; it is resized.")
    @click.option("--text", help="A text as the query.")
    @click.option(
        "--file", type=click.Path(path_type=Path), help="Rows of a CSV file as queries; labels in a column y."
    )
    @click.option(
        "--tensor", type=click.Path(path_type=Path), help="Tensors of a safetensors file as queries."
    )
    @click.option(
        "--label", help="Class of new inputs, by name or number; by default the one that the model predicts."
    )
    @click.option(
        "--top", "-k", type=click.IntRange(min=1), default=10, show_default=True, help="Examples per list."
    )
    @click.option("--html", type=click.Path(path_type=Path), help="Also write a page to this file.")
    @click.option(
        "--features",
        type=click.Choice(_ALGORITHMS),
        help="Heat maps of the strongest proponents on the page.",
    )
    def query(
        setting: str,
        method: str | None,
        query: int | None,
        label: str | None,
        top: int,
        html: Path | None,
        features: str | None,
        **inputs: Any,
    ) -> None:
        """Show which training examples made the model predict what it does for a query.

        Prints the strongest proponents and opponents, the nearest neighbours in the representations of the model, and random
        examples of the class. The query is one of the run (--query), or a new input (--image, --text, --file, --tensor).
        """
        from rich.console import Console

        console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
        importlib.import_module("proponent.shown_query").show_query(
            root(),
            setting,
            method,
            query=query,
            inputs={name: value for name, value in inputs.items() if value is not None},
            label=label,
            top=top,
            html=html,
            features=features,
            console=console,
        )

    return query
