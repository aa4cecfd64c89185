"""The logger plugin, fed with records as Snakemake makes them."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry
from snakemake_interface_logger_plugins.tests import MockOutputSettings, TestLogHandlerBase

from snakemake_logger_plugin_proponent import LogHandler

SCORES = "results/toy/scores/trak.safetensors"


class TestInterface(TestLogHandlerBase):
    """Snakemake's own tests of the interface."""

    __test__ = True

    @pytest.fixture(autouse=True)
    def elsewhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)

    def get_log_handler_cls(self) -> type[LogHandler]:
        return LogHandler

    def get_log_handler_settings(self) -> Any:
        return None


@pytest.fixture
def handler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LogHandler:
    monkeypatch.chdir(tmp_path)
    settings = MockOutputSettings()
    settings.printshellcmds = False
    settings.quiet = set()
    made = LogHandler(settings, None)
    made.setFormatter(logging.Formatter())
    return made


def send(
    handler: LogHandler, event: LogEvent | None, message: str = "", level: int = logging.INFO, **fields: Any
) -> None:
    record = logging.LogRecord("snakemake.logging", level, "", 0, message, (), None)
    record.__dict__.update(fields if event is None else {"event": event, **fields})
    handler.emit(record)


def start(handler: LogHandler, jobid: int, rule: str, output: str) -> None:
    fields = {
        "input": ["results/toy/data/train.safetensors"],
        "output": [output],
        "log": [f"logs/{rule}.log"],
    }
    send(handler, LogEvent.JOB_INFO, jobid=jobid, rule_name=rule, wildcards={"setting": "toy"}, **fields)


def fail(handler: LogHandler, jobid: int, rule: str, output: str, log: list[str]) -> None:
    fields = {"rule_name": rule, "rule_msg": None, "output": [output], "log": log}
    send(handler, LogEvent.JOB_ERROR, level=logging.ERROR, jobid=jobid, **fields)


def events(folder: Path) -> list[dict[str, Any]]:
    (path,) = (folder / ".snakemake/proponent").glob("*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_snakemake_finds_the_plugin() -> None:
    assert "proponent" in LoggerPluginRegistry().get_registered_plugins()


def test_a_job_is_recorded_from_start_to_end(handler: LogHandler, tmp_path: Path) -> None:
    send(handler, LogEvent.RESOURCES_INFO, cores=2)
    send(handler, LogEvent.RUN_INFO, stats={"trak": 1, "total": 1})
    start(handler, 4, "trak", SCORES)
    send(handler, LogEvent.JOB_FINISHED, job_id=4)
    handler.close()
    run, started, finished, ended = events(tmp_path)
    assert (run["event"], run["cores"], run["total_jobs"], run["rules"]) == ("run", 2, 1, {"trak": 1})
    job = {
        "jobid": 4,
        "rule": "trak",
        "wildcards": {"setting": "toy"},
        "output": [SCORES],
        "log": ["logs/trak.log"],
    }
    assert started == {"event": "started", "time": started["time"], **job}
    assert finished == {"event": "finished", "time": finished["time"], **job, "done": 1, "total": 1}
    assert ended["event"] == "ended"


def test_jobs_of_a_group_share_the_number_that_slurm_gave_to_the_group(
    handler: LogHandler, tmp_path: Path
) -> None:
    send(handler, LogEvent.RUN_INFO, stats={"trak": 1, "graddot": 1, "single": 1, "total": 3})
    jobs = [SimpleNamespace(jobid=4), SimpleNamespace(jobid=5)]
    send(handler, LogEvent.GROUP_INFO, group_id="1f-2e", jobs=jobs)
    for number, rule in ((4, "trak"), (5, "graddot"), (6, "single")):
        start(handler, number, rule, f"results/{rule}")
    send(handler, None, "Job 1f-2e has been submitted with SLURM jobid 77 (log: a.log).")
    send(handler, None, "Job 6 has been submitted with SLURM jobid 78 (log: b.log).")
    found = [(e["jobid"], e["external_jobid"]) for e in events(tmp_path) if e["event"] == "submitted"]
    assert found == [(4, "77"), (5, "77"), (6, "78")]


def test_an_error_names_rule_output_and_log_and_quotes_the_log(
    handler: LogHandler, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "job.log").write_text("first line\n" * 50 + "10%\r20%\r30%\nno such luck\n")
    (tmp_path / "step.log").write_text("Traceback (most recent call last):\n  in f\nerror: a reason\n")
    send(handler, LogEvent.RUN_INFO, stats={"trak": 1, "total": 1})
    start(handler, 4, "trak", SCORES)
    fail(handler, 4, "trak", SCORES, ["job.log", "step.log", "missing.log"])
    printed = capsys.readouterr().err
    assert f"Error in rule trak: {SCORES} was not made" in printed
    assert (
        "    log: job.log\n        first line\n" in printed
        and "        30%\n        no such luck\n" in printed
    )
    assert "    log: step.log\n        error: a reason\n    log" in printed, (
        "only the line that states the error"
    )
    assert printed.count("first line") == 18, "the last twenty lines"
    assert "missing.log\n        (cannot be read: No such file or directory)" in printed
    assert events(tmp_path)[-1]["event"] == "error"
    assert events(tmp_path)[-1]["log"] == ["job.log", "step.log", "missing.log"]


def test_no_log_is_quoted_without_show_failed_logs(
    handler: LogHandler, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "job.log").write_text("error: no such luck\n")
    handler.common_settings.show_failed_logs = False
    fail(handler, 4, "trak", SCORES, ["job.log"])
    printed = capsys.readouterr().err
    assert "job.log" in printed and "no such luck" not in printed


def test_warnings_are_shown_and_what_every_run_prints_is_not(
    handler: LogHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    send(handler, None, "Building DAG of jobs...")
    send(handler, None, "Trying to restart job 4.")
    send(handler, None, "Removing output files of failed job", level=logging.WARNING)
    assert capsys.readouterr().err == "Trying to restart job 4.\nRemoving output files of failed job\n"


@pytest.mark.parametrize("option", ["dryrun", "verbose", "printshellcmds", "debug_dag", "quiet"])
def test_snakemakes_own_text_is_left_to_snakemake(
    handler: LogHandler, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    setattr(handler.common_settings, option, {"rules"} if option == "quiet" else True)
    assert not handler.writes_to_stream
    send(handler, LogEvent.RUN_INFO, stats={"trak": 1, "total": 1})
    start(handler, 4, "trak", SCORES)
    fail(handler, 4, "trak", SCORES, [])
    assert capsys.readouterr() == ("", "")
    assert (tmp_path / ".snakemake").exists() == (option != "dryrun"), (
        "only a dry run makes nothing to record"
    )


def test_a_table_that_cannot_be_shown_does_not_stop_the_run(
    handler: LogHandler, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    send(handler, LogEvent.RUN_INFO, stats={"summary": 1, "total": 1})
    start(handler, 4, "summary", "results/summaries/toy.json")
    send(handler, LogEvent.JOB_FINISHED, job_id=4)
    printed = capsys.readouterr().err
    assert (
        "the leaderboard of toy cannot be shown: results/toy/leaderboard/ranking.json: not made yet"
        in printed
    )
    assert "1 of 1 steps (100%) done" in printed
