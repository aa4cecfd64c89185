"""Tables: the columns that the contract promises to programs, and the tables for people."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from proponent.formatting import duration
from proponent.publish.leaderboard import COLUMNS, by_method, join_csv, leaderboard, to_csv
from proponent.publish.leaderboard_tables import markdown, terminal
from proponent.publish.ranking import Ranking
from publish.conftest import ranked


def tidy(documents) -> str:
    return to_csv(leaderboard(documents), COLUMNS)


def test_the_csv_has_the_columns_of_the_contract_and_one_row_per_metric(documents):
    text = tidy(documents)
    assert text.splitlines()[0] == (
        "setting,method,metric,value,ci_low,ci_high,ceiling,attribution_seconds,total_seconds,peak_memory_mib,bytes,note"
    )
    table = pd.read_csv(io.StringIO(text))
    assert len(table) == sum(len(d["metrics"]) for d in documents)
    assert not table.duplicated(["setting", "method", "metric"]).any()
    row = table.set_index(["setting", "method", "metric"]).loc[("mnist-lr", "trak-10", "lds")]
    assert row["value"] == pytest.approx(0.88 * 0.951)
    assert row["ceiling"] == 0.951
    assert (row["attribution_seconds"], row["total_seconds"]) == (21.0, 161.0)


def test_the_csv_does_not_depend_on_the_order_of_the_files(documents):
    assert tidy(documents[::-1]) == tidy(documents)


def test_a_quantity_that_a_method_does_not_have_is_empty():
    document = {
        "setting": "s",
        "method": "m",
        "metrics": {"x": {"value": 1.0, "ci_low": 0.5, "ci_high": 1.5}},
        "cost": {},
    }
    assert tidy([document]).splitlines()[1] == "s,m,x,1,0.5,1.5,,,,,,"


def test_without_results_the_tables_have_a_header_only():
    assert tidy([]) == ",".join(COLUMNS) + "\n"
    assert "# Leaderboard" in markdown([])


def test_values_are_written_as_pandas_writes_them():
    """The format of the files of earlier versions: six significant digits, absent values empty."""
    rows = [
        {"method": "a", "x": 123456789, "y": None, "tied": True},
        {"method": "b", "x": 1e-9, "y": -0.12345678, "tied": False},
        {"method": "c,d", "x": float("nan"), "y": 2.0, "tied": True},
    ]
    expected = pd.DataFrame(rows).astype({"x": float, "y": float})
    assert to_csv(rows, ["method", "x", "y", "tied"]) == expected.to_csv(index=False, float_format="%.6g")


def test_joined_tables_have_one_header():
    rows = [{"method": "a", "x": 1}, {"method": "b", "x": 2}, {"method": "c", "x": 3}]
    parts = [to_csv(part, ["method", "x"]) for part in (rows[:2], [], rows[2:])]
    assert join_csv(parts) == to_csv(rows, ["method", "x"])


def test_values_by_method_begin_with_the_best_and_with_the_metrics_that_are_shown(documents):
    metrics, rows = by_method([d for d in documents if d["setting"] == "mnist-lr-noisy"])
    assert metrics == ["lds", "mislabel_auc", "loo", "mislabel_found_10"]
    values = [row["lds"] for row in rows]
    assert values == sorted(values, reverse=True)
    assert "mislabel_auc" not in next(row for row in rows if row["method"] == "gradcos")


def section(text: str, setting: str) -> list[list[str]]:
    """Return the cells of the table of a setting, header first."""
    (part,) = [part for part in text.split("\n## ") if part.startswith(f"{setting}\n")]
    lines = [line for line in part.splitlines() if line.startswith("|") and "---" not in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def ranks_of(rankings: list[Ranking], setting: str) -> list[int]:
    (ranking,) = [ranking for ranking in rankings if ranking.setting == setting]
    return list(ranking.ranks["lds"].values())


def test_markdown_lists_the_best_method_first_and_marks_shared_ranks(rankings):
    header, *rows = section(markdown(rankings), "mnist-lr")
    assert header == ["Rank", "Method", "LDS", "LDS / ceiling", "LOO", "Attribution", "Total time"]
    values = [float(row[2].split()[0]) for row in rows if "−" not in row[2].split()[0]]
    assert values == sorted(values, reverse=True)
    shared = [row[0] for row in rows].count("1=")
    assert shared == ranks_of(rankings, "mnist-lr").count(1) > 1
    assert rows[0][1] == "if-exact"
    assert rows[0][3] == "0.920"


def test_markdown_aligns_numbers_right_and_methods_left(rankings):
    lines = [line for line in markdown(rankings).splitlines() if line.startswith("|-")]
    assert len(lines) == len(rankings)
    for line in lines:
        rank, method, *values = line.strip("|").split("|")
        assert method.startswith(":")
        assert all(cell.endswith(":") for cell in (rank, *values))


def test_markdown_shows_mislabelling_only_where_labels_were_flipped(rankings):
    text = markdown(rankings)
    assert "Mislabel AUC" in section(text, "mnist-lr-noisy")[0]
    assert "Mislabel AUC" not in section(text, "mnist-lr")[0]
    gradcos = next(row for row in section(text, "mnist-lr-noisy") if row[1] == "gradcos")
    assert "–" in gradcos


def test_diverged_retrainings_and_the_ceiling_are_stated_above_the_table(documents):
    for document in documents:
        document["metrics"]["lds"]["n_diverged"] = 3
    text = markdown(ranked(documents))
    assert "ceiling 0.951 [0.939, 0.961]; 100 subsets × 2 seeds, 250 test queries; " in text
    assert "3 diverged retrainings left out" in text


def test_the_ceiling_of_a_sum_is_stated_where_it_was_measured(documents):
    assert "; of a sum" not in markdown(ranked(documents))
    for document in documents:
        document["metrics"]["lds"] |= {
            "ceiling_additive": 0.87,
            "ceiling_additive_low": 0.85,
            "ceiling_additive_high": 0.89,
        }
    assert "; of a sum of scores 0.870 [0.850, 0.890]; 100 subsets" in markdown(ranked(documents))


def test_a_setting_without_retrainings_is_ranked_by_the_metric_it_has():
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
    header, first, second = section(markdown(ranked(documents)), "s")
    assert header == ["Rank", "Method", "Mislabel AUC", "Attribution", "Total time"]
    assert (first[:2], second[:2]) == (["1", "b"], ["2", "a"])
    assert first[3:] == ["–", "–"]


def test_the_terminal_table_fits_in_eighty_columns(rankings):
    stream = io.StringIO()
    (ranking,) = [ranking for ranking in rankings if ranking.setting == "mnist-mlp"]
    Console(file=stream, width=80).print(terminal(ranking))
    text = stream.getvalue()
    assert "similarity-cosine" in text
    assert "…" not in text


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0123, "0.012 s"),
        (3.14, "3.1 s"),
        (9.96, "10 s"),
        (119.4, "119 s"),
        (200, "3 min 20 s"),
        (1500, "25 min"),
        (18720, "5.2 h"),
    ],
)
def test_durations_are_in_the_largest_fitting_unit(seconds, said):
    assert duration(seconds) == said
