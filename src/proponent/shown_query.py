"""``proponent query``: what explains the prediction for one query of a run, or for a new input."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from proponent.config.load import nearest
from proponent.errors import UserError
from proponent.explainer import Explainer
from proponent.explanations.explanation_tables import Explanation, PairExplanation
from proponent.explanations.feature_attribution import Algorithm
from proponent.finished_results import CACHE, Results
from proponent.publish.query_page import render_page
from proponent.query_view import QueryView
from proponent.steps.io.rankings import read_ranking
from proponent.store.files import replacing


def show_query(
    root: Path,
    setting: str,
    method: str | None,
    *,
    query: int | None,
    inputs: Mapping[str, Any],
    label: str | None,
    top: int,
    html: Path | None,
    features: Algorithm | None,
    console: Console,
) -> None:
    """Print the explanation of a query, and write its page.

    Args:
        root: the checkout.
        setting: name of the setting.
        method: name of the method; None for the best one of the leaderboard that can score new inputs.
        query: number of a query of the run; None for new inputs.
        inputs: one of ``image``, ``text``, ``file`` and ``tensor`` (:meth:`.Results.inputs`); empty for a query of the run.
        label: label of new inputs, a name of a class or a number; None for their own, or the predicted one.
        top: examples per list.
        html: file of the page; None for no page.
        features: algorithm for heat maps of the strongest proponents on the page; None for no heat maps.
        console: console that the tables are printed on.

    Raises:
        UserError: there are no such results, or the inputs do not fit.
    """
    if (query is None) == (not inputs):
        raise UserError("give one of --query, --image, --text, --file and --tensor")
    if features is not None and html is None:
        raise UserError("--features draws heat maps on the page; give --html FILE as well")
    results = Results(root / "results" / setting)
    name = method or best_method(root, results)
    explainer = _explainer(results, name, needed=query is None or features is not None)
    began = time.perf_counter()
    if explainer is None:
        asked = results.queries(int(query or 0))
        explained = [results.explain(name, int(query or 0), top)]
    else:
        asked = _queries(results, explainer, query, inputs, label)
        explained = explainer.explain(asked, top)
    seconds = time.perf_counter() - began
    names = [f"query {query}"] if query is not None else _names(inputs, len(explained))
    x = results.query_rows()[[int(query or 0)]] if explainer is None else explainer.models.rows(asked)[0]
    view = QueryView(results, name, x, names)
    images = root / CACHE / setting / "images"
    for explanation in explained:
        console.print(view.table(explanation, images))
        for fact in view.facts(explanation):
            console.print(fact)
    console.print(f"scored and explained in {seconds:.2f} s")
    if html is not None:
        pages = [
            view.page(explanation, _pairs(explainer, asked, explanation, features))
            for explanation in explained
        ]
        with replacing(html) as temporary:
            temporary.write_text(render_page(pages), encoding="utf-8")
        console.print(f"written: {html}")


def _explainer(results: Results, method: str, *, needed: bool) -> Explainer | None:
    """Return the explainer of a method; None where its scores are stored only, and this is enough.

    Raises:
        UserError: the method cannot score new inputs, and has to.
    """
    try:
        return Explainer(results.attributor(method))
    except UserError:
        if needed or method not in results.methods:
            raise
        return None


def best_method(root: Path, results: Results) -> str:
    """Return the best method of the leaderboard that can score new inputs.

    Raises:
        UserError: there is no leaderboard, or it has no such method.
    """
    for document in read_ranking(root, results.setting).ordered():
        if document["method"] in results.methods:
            try:
                results.attributor(document["method"])
            except UserError:
                continue
            return str(document["method"])
    raise UserError(
        f"setting {results.setting}: no method of the leaderboard can score new inputs; give --method"
    )


def _queries(
    results: Results, explainer: Explainer, query: int | None, inputs: Mapping[str, Any], label: str | None
) -> tuple[Any, Any]:
    if query is not None:
        return results.queries(query)
    x, y = results.inputs(**inputs)
    if label is not None:
        return explainer.labelled(x, _class_number(results, label))
    return (x, y) if y is not None else explainer.labelled(x)


def _class_number(results: Results, label: str) -> int:
    """Return the number of a class from its name or number."""
    names = results.class_names or []
    if label in names:
        return names.index(label)
    if label.isdecimal():
        return int(label)
    raise UserError(f"--label: there is no class '{label}'{nearest(label, names)}")


def _names(inputs: Mapping[str, Any], count: int) -> list[str]:
    ((kind, value),) = inputs.items()
    name = "the text" if kind == "text" else Path(value).name
    return [name] if count == 1 else [f"{name}, row {row}" for row in range(count)]


def _pairs(
    explainer: Explainer | None, asked: Any, explanation: Explanation, features: Algorithm | None
) -> dict[int, PairExplanation]:
    """Return the contributions of features for the strongest proponents."""
    if features is None or explainer is None:
        return {}
    return {
        example: explainer.features(asked, example, features, row=explanation.query)
        for example in explanation.proponents.indices.tolist()
    }
