"""What a run shows on a terminal and in a pipe, what it records, and in which order it makes settings."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import time
from typing import Any

import pytest

from workflow.checkout import Checkout

pytestmark = pytest.mark.slow
METRICS = "results/toy/metrics/trak.json"


def events_of(checkout: Checkout) -> list[dict[str, Any]]:
    """Return the events of the latest run."""
    latest = max((checkout.root / ".snakemake/proponent").glob("*.jsonl"))
    return [json.loads(line) for line in latest.read_text().splitlines()]


def on_a_terminal(checkout: Checkout, *arguments: str) -> str:
    """Run Snakemake on a pseudo-terminal of 100 columns, and return everything that it wrote there."""
    ours, theirs = pty.openpty()
    environment = {**checkout.environment(), "COLUMNS": "100", "TERM": "xterm"}
    run = subprocess.Popen(
        checkout.command(*arguments),
        cwd=checkout.root,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    written = b""
    while chunk := read(ours):
        written += chunk
    os.close(ours)
    assert run.wait(timeout=300) == 0, written.decode()
    return written.decode()


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # how Linux reports that the other end was closed
        return b""


def test_every_job_of_a_run_is_recorded(finished_run: Checkout) -> None:
    run, *jobs, ended = events_of(finished_run)
    assert (run["event"], run["cores"], ended["event"]) == ("run", 2, "ended")
    started = [event["jobid"] for event in jobs if event["event"] == "started"]
    finished = [event["jobid"] for event in jobs if event["event"] == "finished"]
    assert sorted(started) == sorted(finished)
    assert len(set(started)) == len(started) == run["total_jobs"] == sum(run["rules"].values())
    assert [event["done"] for event in jobs if event["event"] == "finished"] == list(
        range(1, len(finished) + 1)
    )
    (trak,) = (event for event in jobs if (event["rule"], event["event"]) == ("trak", "finished"))
    assert trak["wildcards"] == {"setting": "toy", "method": "trak"}
    assert trak["output"] == ["results/toy/scores/trak.safetensors"]
    assert [(finished_run.root / path).exists() for path in trak["log"]] == [True]


def test_what_methods_wait_for_starts_before_the_other_retrainings(finished_run: Checkout) -> None:
    logs = [
        event["log"][0] for event in events_of(finished_run) if event["event"] == "started" and event["log"]
    ]
    others = min(logs.index(log) for log in logs if "/retrain-" in log and "/retrain-tune-" not in log)
    assert logs.index("logs/toy/train-000.log") < others
    assert logs.index("logs/toy/retrain-tune-0000.log") < others


def test_the_complete_text_of_snakemake_is_in_its_log(finished_run: Checkout) -> None:
    (log,) = (finished_run.root / ".snakemake/log").glob("*.snakemake.log")
    text = log.read_text()
    assert "rule trak:" in text and "reason: Missing output files" in text


def test_a_terminal_shows_one_progress_line_and_the_table_of_each_finished_setting(
    checkout: Checkout,
) -> None:
    (checkout.root / METRICS).unlink()
    printed = on_a_terminal(checkout, METRICS, "results/summaries/toy.json")
    assert "0 of 2 done, 1 running" in printed
    assert "1 of 2 done" in printed and "about" in printed, "the earlier run knows the rule's duration"
    assert "\x1b[2K" in printed, "the line is redrawn in place"
    table = printed[printed.index("Rank") :]
    assert all(method in table for method in ("trak", "graddot", "random"))
    assert printed.count("Rank") == 1
    assert "rule evaluate" not in printed and "Finished jobid" not in printed
    assert printed.rindex("\x1b[?25h") > printed.rindex("\x1b[?25l"), "the cursor is visible again"


def test_quickstart_shows_the_table_of_the_first_setting_even_if_nothing_was_to_be_done(
    checkout: Checkout,
) -> None:
    started = time.monotonic()
    printed = checkout.run(*checkout.command("quickstart")).stdout
    assert time.monotonic() - started < 50, "no timer of the scheduler delays the end by its minute"
    assert printed.count("Rank") == 1
    assert all(method in printed for method in ("trak", "graddot", "random"))
    assert "steps (100%) done" in printed


def test_a_dry_run_prints_snakemakes_own_text_and_records_nothing(fresh: Checkout) -> None:
    printed = fresh.snakemake("-n").stdout
    assert "rule trak:" in printed and "reason: Missing output files" in printed
    assert fresh.planned()["evaluate"] == 3
    assert not (fresh.root / ".snakemake/proponent").exists()


def test_settings_are_finished_in_the_order_of_params_yaml(fresh: Checkout) -> None:
    """With jobs that only make empty files, so that the order alone matters."""
    setting = (fresh.root / "configs/settings/toy.yaml").read_text()
    names = ["last", "toy", "before"]
    for name in names:
        (fresh.root / f"configs/settings/{name}.yaml").write_text(setting)
    fresh.edit("params.yaml", "settings: [toy]", f"settings: [{', '.join(names)}]")
    step = (
        "(proponent {params.step} {input.key:q} || proponent failed {input.key:q} $? {log:q}) > {log:q} 2>&1"
    )
    fresh.edit("workflow/rules/step.smk", step, "touch {output:q}")
    fresh.snakemake()
    summaries = [
        event["wildcards"]["setting"]
        for event in events_of(fresh)
        if event["event"] == "finished" and event["rule"] == "summary"
    ]
    assert summaries == names
