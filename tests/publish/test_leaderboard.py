"""The tables: what the contract promises to programs, and what people read."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from proponent.metrics.compare import compare_all
from proponent.publish.leaderboard import (
    COLUMNS,
    COMPARISON_COLUMNS,
    comparisons,
    duration,
    leaderboard,
    markdown,
    terminal,
    to_csv,
)


def test_the_csv_has_the_columns_of_the_contract_and_one_row_a_metric(documents):
    text = to_csv(leaderboard(documents))
    assert text.splitlines()[0] == (
        "setting,method,metric,value,ci_low,ci_high,ceiling,attribution_seconds,total_seconds,peak_memory_mib,bytes"
    )
    table = pd.read_csv(io.StringIO(text))
    assert len(table) == sum(len(d["metrics"]) for d in documents)
    assert not table.duplicated(["setting", "method", "metric"]).any()
    row = table.set_index(["setting", "method", "metric"]).loc[("mnist-lr", "trak-10", "lds")]
    assert row["value"] == pytest.approx(0.88 * 0.951)
    assert row["ceiling"] == 0.951
    assert (row["attribution_seconds"], row["total_seconds"]) == (21.0, 161.0)


def test_the_csv_does_not_depend_on_the_order_of_the_files(documents):
    assert to_csv(leaderboard(documents[::-1])) == to_csv(leaderboard(documents))


def test_what_a_method_does_not_have_is_empty():
    document = {
        "setting": "s",
        "method": "m",
        "metrics": {"x": {"value": 1.0, "ci_low": 0.5, "ci_high": 1.5}},
        "cost": {},
    }
    assert to_csv(leaderboard([document])).splitlines()[1] == "s,m,x,1,0.5,1.5,,,,,"


def test_nothing_evaluated_is_an_empty_table_with_its_columns():
    assert tuple(leaderboard([]).columns) == COLUMNS
    assert tuple(comparisons([]).columns) == COMPARISON_COLUMNS
    assert "# Leaderboard" in markdown([], {})


def test_comparisons_hold_every_pair_once(documents):
    rows, _ = compare_all(documents)
    table = comparisons(rows)
    assert tuple(table.columns) == COMPARISON_COLUMNS
    pairs = table[(table["setting"] == "mnist-lr") & (table["metric"] == "lds")]
    assert len(pairs) == 14 * 13 / 2
    assert (pairs["difference"] >= 0).all()
    assert len({frozenset(pair) for pair in zip(pairs["method_a"], pairs["method_b"], strict=True)}) == len(
        pairs
    )


def section(text: str, setting: str) -> list[list[str]]:
    """Return the cells of a setting's table, header first."""
    (part,) = [part for part in text.split("\n## ") if part.startswith(f"{setting}\n")]
    lines = [line for line in part.splitlines() if line.startswith("|") and "---" not in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_markdown_lists_the_best_method_first_and_marks_shared_ranks(documents):
    _, ranks = compare_all(documents)
    header, *rows = section(markdown(documents, ranks), "mnist-lr")
    assert header == ["Rank", "Method", "LDS", "LDS / ceiling", "LOO", "Attribution", "Total time"]
    values = [float(row[2].split()[0]) for row in rows if "−" not in row[2].split()[0]]
    assert values == sorted(values, reverse=True)
    shared = [row[0] for row in rows].count("1=")
    assert shared == list(ranks["mnist-lr"]["lds"].values()).count(1) > 1
    assert rows[0][1] == "if-exact"
    assert rows[0][3] == "0.920"


def test_markdown_shows_mislabelling_only_where_labels_were_flipped(documents):
    _, ranks = compare_all(documents)
    text = markdown(documents, ranks)
    assert "Mislabel AUC" in section(text, "mnist-lr-noisy")[0]
    assert "Mislabel AUC" not in section(text, "mnist-lr")[0]
    gradcos = next(row for row in section(text, "mnist-lr-noisy") if row[1] == "gradcos")
    assert "–" in gradcos


def test_diverged_retrainings_and_the_ceiling_are_said_above_the_table(documents):
    for document in documents:
        document["metrics"]["lds"]["n_diverged"] = 3
    _, ranks = compare_all(documents)
    text = markdown(documents, ranks)
    assert "ceiling 0.951 [0.939, 0.961]; 100 subsets × 2 seeds, 250 test queries; " in text
    assert "3 diverged retrainings left out" in text


def test_the_ceiling_of_a_sum_is_said_where_there_is_one(documents):
    _, ranks = compare_all(documents)
    assert "; of a sum" not in markdown(documents, ranks)
    for document in documents:
        document["metrics"]["lds"] |= {
            "ceiling_additive": 0.87,
            "ceiling_additive_low": 0.85,
            "ceiling_additive_high": 0.89,
        }
    assert "; of a sum of scores 0.870 [0.850, 0.890]; 100 subsets" in markdown(documents, ranks)


def test_a_setting_without_retrainings_is_ranked_by_what_it_has():
    rng = np.random.default_rng(0)
    documents = [
        {
            "setting": "s",
            "method": method,
            "metrics": {
                "mislabel_auc": {
                    "value": v,
                    "ci_low": v,
                    "ci_high": v,
                    "replicates": v + 0.01 * rng.random(50),
                }
            },
            "cost": {},
        }
        for method, v in (("a", 0.6), ("b", 0.9))
    ]
    _, ranks = compare_all(documents)
    header, first, second = section(markdown(documents, ranks), "s")
    assert header == ["Rank", "Method", "Mislabel AUC", "Attribution", "Total time"]
    assert (first[:2], second[:2]) == (["1", "b"], ["2", "a"])
    assert first[3:] == ["–", "–"]


def test_the_terminal_table_fits_in_eighty_columns(documents):
    _, ranks = compare_all(documents)
    stream = io.StringIO()
    console = Console(file=stream, width=80)
    for table in terminal([d for d in documents if d["setting"] == "mnist-mlp"], ranks):
        console.print(table)
    text = stream.getvalue()
    assert "similarity-cosine" in text
    assert "…" not in text


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0.0123, "0.012 s"),
        (3.14, "3.1 s"),
        (9.96, "10 s"),
        (119.4, "119 s"),
        (200, "3 min 20 s"),
        (1500, "25 min"),
        (18720, "5.2 h"),
    ],
)
def test_durations_are_said_as_people_do(seconds, said):
    assert duration(seconds) == said
