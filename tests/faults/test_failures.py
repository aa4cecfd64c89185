"""A failure costs itself alone: it has a reason in log, status, tables, figures and MLflow, and the rest is made."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from proponent.cli import main
from proponent.config.benchmark import load_benchmark
from proponent.errors import UserError, one_line
from proponent.inspection.failures import Failures, find_failures
from proponent.inspection.partial_tables import PartialTables
from proponent.inspection.run_events import Attempt
from proponent.plan.artefact_paths import key_path
from proponent.plan.current import with_downstream
from proponent.plan.run_plan import Plan
from proponent.publish.leaderboard import COLUMNS, by_method, leaderboard, to_csv
from proponent.publish.leaderboard_tables import markdown, terminal
from proponent.publish.ranking import Ranking, without_scores
from proponent.steps.io import failing
from proponent.steps.io.failing import complete_record, recording_failure
from proponent.steps.summary import rank
from proponent.store.failure_record import Failure, failure_path, read_failure, write_failure
from proponent.store.job_log import log_tail
from proponent.store.lease import abandoned_by
from proponent.store.memory_kills import MemoryKills
from workflow.checkout import Checkout, make_checkout

ARTEFACT = "results/s/scores/m.safetensors"

# Records.


@dataclass
class FakeJob:
    """What the record of a failure needs of a job."""

    artefact: str = ARTEFACT
    key: str = "k"


@pytest.fixture
def key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path(key_path(ARTEFACT))
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"artefact": ARTEFACT, "key": "k"}))
    return path


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (UserError("m.yaml: lower 'k'"), "refused", "m.yaml: lower 'k'"),
        (ZeroDivisionError("division by zero"), "failed", "ZeroDivisionError: division by zero"),
        (ValueError("two\n  lines"), "failed", "ValueError: two lines"),
        (KeyError(), "failed", "KeyError"),
        (
            MemoryError(),
            "failed",
            "out of memory; lower compute.lockstep or compute.memory_mib in params.yaml",
        ),
        (OSError(12, "Cannot allocate memory"), "failed", one_line(MemoryError())),
        (
            ImportError("libfoo.so: cannot allocate memory in static TLS block"),
            "failed",
            one_line(MemoryError()),
        ),
        (OSError(28, "No space left on device", "x"), "failed", "x: No space left on device"),
        (SystemExit(0), "refused", f"{ARTEFACT}: the code called sys.exit(0); raise an error instead"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_one_refusal_no_leaderboard_the_step_records_its_error(key_file, error, kind, reason):
    with pytest.raises(Exception), recording_failure(key_file, FakeJob()):  # noqa: B017
        raise error
    assert read_failure(key_file, "k") == Failure(ARTEFACT, "k", kind, reason)
    assert read_failure(key_file, "another") is None, "a record of another configuration says nothing"
    with recording_failure(key_file, FakeJob()):
        pass
    assert not failure_path(key_file).exists(), "the next attempt begins without it"


def test_the_cause_of_a_refusal_is_in_the_log(key_file, capsys):
    """A method may refuse by a ValueError, which may also be a bug."""
    with pytest.raises(UserError), recording_failure(key_file, FakeJob()):
        try:
            raise ValueError("operands could not be broadcast")
        except ValueError as error:
            raise UserError("m.yaml: operands could not be broadcast") from error
    assert capsys.readouterr().err.startswith("Traceback (most recent call last):")


KILLED_STEP = """
import os, sys
from pathlib import Path
from proponent.store.lease import leased
with leased(Path(sys.argv[1]), lambda: False):
    os.kill(os.getpid(), 9)
"""


def test_jobs_times_memory_a_killed_job_is_told_from_a_failed_one(key_file, monkeypatch, capsys):
    """With a real process that is killed while it holds the lease; only the kernel's counters are invented."""
    done = subprocess.run([sys.executable, "-c", KILLED_STEP, ARTEFACT], check=False)
    assert done.returncode == -signal.SIGKILL
    holder = abandoned_by(Path(ARTEFACT))
    earlier = MemoryKills(*holder.memory_kills)
    expected = {
        earlier: "by hand, by a batch system, or for lack of memory",
        MemoryKills(earlier.cgroup, earlier.machine + 1): "probably for lack of memory",
        MemoryKills(earlier.cgroup + 1, earlier.machine + 1): "the kernel killed it for lack of memory",
    }
    for counted, words in expected.items():
        monkeypatch.setattr(failing, "count_memory_kills", lambda counted=counted: counted)
        failure_path(key_file).unlink(missing_ok=True)
        complete_record(key_file, 128 + signal.SIGKILL, "job.log")
        record = read_failure(key_file, "k")
        assert (record.kind, record.log) == ("killed", "job.log")
        assert record.reason.startswith("SIGKILL") and words in record.reason
        assert f"\nerror: {record.reason}\n" in capsys.readouterr().err, "the log states it as well"


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (128 + signal.SIGTERM, "killed", "SIGTERM, by hand or by the limits of a batch system"),
        (128 + signal.SIGSEGV, "killed", "SIGSEGV, a crash; its last line: std::bad_alloc"),
        (255, "killed", "signal 127"),
        (3, "failed", "ended with exit code 3 and without a reason; its last line: std::bad_alloc"),
    ],
)
def test_jobs_times_memory_every_end_of_a_process_has_a_reason(key_file, code, kind, words):
    Path("job.log").write_text("start\nstd::bad_alloc\n")
    complete_record(key_file, code, "job.log")
    record = read_failure(key_file, "k")
    assert record.kind == kind
    assert words in record.reason


def test_an_interrupted_job_has_not_failed_and_a_recorded_reason_is_kept(key_file):
    complete_record(key_file, 128 + signal.SIGINT, "job.log")
    assert not failure_path(key_file).exists()
    write_failure(key_file, Failure(ARTEFACT, "k", "refused", "why"))
    complete_record(key_file, 1, "job.log")
    assert read_failure(key_file, "k") == Failure(ARTEFACT, "k", "refused", "why", "job.log")


def test_a_bug_prints_its_traceback_and_then_one_line(monkeypatch, capsys):
    def fail(**_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("proponent.cli.cli", fail)
    monkeypatch.setattr("sys.path", [*sys.path])
    with pytest.raises(SystemExit) as left:
        main()
    printed = capsys.readouterr().err
    assert left.value.code == 1
    assert printed.startswith("Traceback (most recent call last):\n")
    assert printed.endswith("\nerror: ZeroDivisionError: division by zero\n")


# Reasons of what is missing.


@dataclass
class FakeNode:
    """What the search for reasons needs of a node."""

    path: str
    inputs: tuple[str, ...] = ()
    key: str = "k"
    after: tuple[str, ...] = ()
    spec: Any = None


@dataclass
class FakeGraph:
    """What the search for reasons needs of a graph."""

    root: Path
    nodes: dict[str, FakeNode] = field(default_factory=dict)


def chain(root: Path) -> FakeGraph:
    names = ["results/s/data", "results/s/scores", "results/s/metrics", "results/s/summary"]
    nodes = {name: FakeNode(name, tuple(names[at - 1 : at])) for at, name in enumerate(names)}
    nodes["results/s/train"] = FakeNode("results/s/train", after=("results/s/scores",))
    return FakeGraph(root, nodes)


def test_one_refusal_no_leaderboard_the_reason_is_passed_downstream(tmp_path):
    graph = chain(tmp_path)
    write_failure(tmp_path / key_path("results/s/scores"), Failure("results/s/scores", "k", "refused", "why"))
    write_failure(
        tmp_path / key_path("results/s/data"), Failure("results/s/data", "other", "failed", "stale")
    )
    failures = find_failures(graph, {"results/s/data"}, [])
    assert list(failures.own) == ["results/s/scores"]
    assert failures.why_missing("results/s/data") == ""
    assert failures.why_missing("results/s/scores") == "refused: why"
    for later in ("metrics", "summary", "train"):
        assert failures.why_missing(f"results/s/{later}") == "needs results/s/scores, which was refused: why"


@pytest.mark.parametrize(
    ("attempt", "expected"),
    [
        (
            Attempt("mine", ("results/s/scores",), "own.log", state="failed"),
            "failed: KeyError: 'x'; log: own.log",
        ),
        (
            Attempt("mine", ("results/s/scores",), None, state="failed"),
            "failed: rule mine ended without a message",
        ),
        (
            Attempt(
                "graddot",
                ("results/s/scores",),
                "none.log",
                state="failed",
                message="SLURM-job '7' failed, SLURM status is: 'OUT_OF_MEMORY'. ",
            ),
            "killed: it exceeded the memory that it asked for (Slurm: OUT_OF_MEMORY); log: none.log",
        ),
        (Attempt("mine", ("results/s/scores",), None, state="done"), ""),
    ],
    ids=["a rule of the user's own", "without a log", "killed by Slurm", "done"],
)
def test_a_job_without_a_record_has_a_reason_too(tmp_path, attempt, expected):
    (tmp_path / "own.log").write_text("Traceback (most recent call last):\n  File \"x\"\nKeyError: 'x'\n")
    failures = find_failures(chain(tmp_path), {"results/s/data"}, [attempt])
    assert failures.why_missing("results/s/scores") == expected


# What is made from the rest, without running it.


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    root = make_checkout(tmp_path_factory.mktemp("plan") / "checkout").root
    (root / "configs/settings/other.yaml").write_text((root / "configs/settings/toy.yaml").read_text())
    overrides = {"settings": ["toy", "other"], "methods": ["random", "similarity-dot"]}
    return Plan(load_benchmark(root, overrides))


def made_without(plan: Plan, monkeypatch: pytest.MonkeyPatch, *failed: str) -> dict[str, Any]:
    """Return the specifications of what is made from the rest, by artefact; everything else is current."""
    lost = set(with_downstream(plan.graph, failed))
    own = {path: Failure(path, plan.graph.nodes[path].key, "failed", "why") for path in failed}
    tables = PartialTables(plan, Failures(plan.graph, plan.graph.nodes.keys() - lost, own), set(lost))
    monkeypatch.setattr(tables, "_make", lambda path, log: tables.made.append(path))
    tables.make()
    return {path: tables.graph.nodes[path].spec for path in tables.made}


SUMMARY, FIGURES = "results/summaries/toy.json", "results/figures/lds-toy.svg"
LEADERBOARD, OVERVIEW = "results/leaderboard.csv", "results/figures/overview.svg"
SECTION, REPORT = "results/toy/report/section.json", "results/report/index.html"


@pytest.mark.parametrize(
    "failed", ["results/toy/scores/random.safetensors", "results/toy/metrics/random.json"]
)
def test_one_refusal_no_leaderboard_other_methods_and_settings_stay(plan, monkeypatch, failed):
    made = made_without(plan, monkeypatch, failed)
    expected = [SUMMARY, FIGURES, SECTION, LEADERBOARD, OVERVIEW, REPORT]
    assert list(made) == expected, "those of the other setting are current"
    assert (made[SUMMARY].methods, made[SUMMARY].failed) == (("similarity-dot",), {"random": "failed: why"})
    assert made[FIGURES].methods == made[SECTION].methods == ("similarity-dot",)


def test_one_refusal_no_leaderboard_a_setting_without_data_has_tables_and_figures(plan, monkeypatch):
    data = "results/toy/data/train.safetensors"
    made = made_without(plan, monkeypatch, data)
    why = f"needs {data}, which failed: why"
    assert made[SUMMARY].failed == {"random": why, "similarity-dot": why}
    assert (made[FIGURES].methods, made[FIGURES].failed) == ((), "")
    assert made[LEADERBOARD].failed == made[OVERVIEW].failed == made[REPORT].failed == {}


def test_a_failed_table_or_figure_costs_itself_alone(plan, monkeypatch):
    made = made_without(plan, monkeypatch, FIGURES)
    assert {path: spec.failed for path, spec in made.items()} == {FIGURES: "failed: why"}
    made = made_without(plan, monkeypatch, SUMMARY)
    assert made[FIGURES].failed == made[SECTION].failed == "failed: why"
    assert made[LEADERBOARD].failed == made[OVERVIEW].failed == {"toy": "failed: why"}
    made = made_without(plan, monkeypatch, OVERVIEW)
    assert {path: spec.failed for path, spec in made.items()} == {
        OVERVIEW: {"toy": "failed: why", "other": "failed: why"}
    }


# Tables.


def scored(method: str, value: float, **more: object) -> dict[str, Any]:
    entry = {
        "value": value,
        "ci_low": value,
        "ci_high": value,
        "replicates": [value - 0.01, value, value + 0.01],
    }
    return {"setting": "s", "method": method, "metrics": {"lds": entry, "loo": entry}, "cost": {}, **more}


@pytest.fixture
def ranking() -> Ranking:
    documents = [
        scored("good", 0.5, notes=["a projection to 512 dimensions", "and another"]),
        scored("bad", 0.1),
        without_scores("s", "broke", failed="failed: KeyError"),
        without_scores("s", "absent", left_out="needs labels"),
        without_scores("s", "also", failed="failed: KeyError"),
    ]
    return rank("s", documents)[1]


def test_one_refusal_no_leaderboard_rows_have_the_reason_and_no_value(ranking):
    text = to_csv(leaderboard(ranking.documents), COLUMNS)
    table = pd.read_csv(io.StringIO(text))
    assert list(table.columns)[-1] == "note"
    lds = table[table.metric == "lds"].set_index("method")
    assert set(lds.index) == {"good", "bad", "broke", "absent", "also"}, "all are among the rows of a metric"
    assert lds.note.to_dict() == {
        "good": "a projection to 512 dimensions; and another",
        "bad": pytest.approx(float("nan"), nan_ok=True),
        "broke": "failed: KeyError",
        "absent": "left out: needs labels",
        "also": "failed: KeyError",
    }
    assert lds.value.notna().to_dict() == {
        name: name in ("good", "bad") for name in ("also", "absent", "bad", "broke", "good")
    }
    nothing = leaderboard([without_scores("s", "broke", failed="why")])
    assert [(row["metric"], row["note"]) for row in nothing] == [("", "why")]


def test_tables_for_people_have_the_reasons_below_them(ranking):
    text = markdown([ranking])
    assert "- `absent`: left out: needs labels\n- `also`, `broke`: failed: KeyError\n" in text
    assert "- `good`: a projection to 512 dimensions; and another" in text
    console = Console(width=80, file=io.StringIO())
    console.print(terminal(ranking))
    printed = console.file.getvalue()
    assert "s/absent: left out: needs labels" in printed
    assert printed.index("good") < printed.index("bad") < printed.index("absent")


def test_a_setting_without_any_scores_has_its_reasons():
    document = without_scores("s", "m", failed="needs data, which failed: images.npz: not there")
    _, ranking = rank("s", [document])
    assert by_method([document]) == ([], [])
    assert "## s\n\n- `m`: needs data, which failed" in markdown([ranking])
    assert terminal(ranking) is not None


def test_the_message_below_a_traceback_is_the_error_of_a_log(tmp_path):
    log = tmp_path / "log"
    log.write_text("Traceback (most recent call last):\n  File\nValueError: x\nmore\n")
    assert log_tail(log) == ["ValueError: x"]
    log.write_text("Traceback (most recent call last):\n  File\nValueError: x\nerror: ValueError: x\n")
    assert log_tail(log) == ["error: ValueError: x"]


# A real run: one setting with methods that fail in three ways, and one whose data is refused.

METHODS = {
    "refuser": 'raise UserError("configs/methods/refuser.yaml: 60 rows are too many; lower rows")',
    "bug": "1 / 0",
    "killed": "os.kill(os.getpid(), 9)",
}
MODULE = '''"""A method that fails."""

import os

from proponent.errors import UserError
from proponent.methods.shared.array_needs import ArrayData

ARRAYS = "numpy"


def attribute(data: ArrayData):
    """Fail."""
    {body}
'''
RULE = 'use rule attribute as {name} with:\n    wildcard_constraints:\n        method=methods_of("{name}"),\n'
SETTING = """\
dataset: {factory: "toy.factories:blobs", args: {n: 30}}
model: {factory: "toy.factories:net", args: {width: 3}}
task: classification
recipe: {optimizer: sgd, lr: 0.2, epochs: 2, batch_size: 10}
ensemble: {members: 1, checkpoints: 0}
designs: {subsets: {count: 8, seeds: 2, fraction: 0.5}}
queries: {tune: 1, test: 2}
"""


@dataclass
class FailedRun:
    """A finished run with failures: its checkout, output and exit code."""

    checkout: Checkout
    printed: str
    code: int

    def table(self) -> pd.DataFrame:
        return pd.read_csv(self.checkout.root / "results/leaderboard.csv").set_index(["setting", "method"])


@pytest.fixture(scope="module")
def failed_run(tmp_path_factory: pytest.TempPathFactory) -> FailedRun:
    checkout = make_checkout(tmp_path_factory.mktemp("failed") / "checkout")
    root = checkout.root
    for name, body in METHODS.items():
        (root / f"configs/methods/{name}.yaml").write_text(f"family: {name}\n")
        (root / f"src/proponent/methods/baselines/{name}.py").write_text(MODULE.format(body=body))
        (root / f"workflow/rules/methods/{name}.smk").write_text(RULE.format(name=name))
    (root / "configs/settings/toy.yaml").write_text(SETTING)
    refused = SETTING.replace('toy.factories:blobs", args: {n: 30}', 'toy.nothing:load"')
    (root / "configs/settings/broken.yaml").write_text(refused)
    (root / "toy/nothing.py").write_text('def load():\n    """Fail."""\n    return None\n')
    methods = ", ".join(["random", "trak-10", *METHODS])
    (root / "params.yaml").write_text(
        f"settings: [toy, broken]\nmethods: [{methods}]\nmetrics: [lds]\ncompute: {{memory_mib: 500}}\n"
    )
    done = checkout.snakemake("publish", "results/report/index.html", check=False)
    return FailedRun(checkout, done.stdout, done.returncode)


@pytest.mark.slow
def test_one_refusal_no_leaderboard(failed_run):
    assert failed_run.code != 0
    table = failed_run.table()
    note = table.note.to_dict()
    assert table.value.notna().to_dict() == {entry: entry == ("toy", "random") for entry in note}
    assert note["toy", "refuser"] == (
        "refused: configs/methods/refuser.yaml with {}: "
        "configs/methods/refuser.yaml: 60 rows are too many; lower rows"
    )
    assert (
        note["toy", "bug"] == "failed: ZeroDivisionError: division by zero; log: logs/toy/attribute-bug.log"
    )
    assert note["toy", "killed"].startswith("killed: SIGKILL")
    assert note["toy", "trak-10"].startswith("left out: needs 10 ensemble members")
    assert note["broken", "random"].startswith(
        "needs results/broken/data/train.safetensors, which was refused: "
    )
    results = failed_run.checkout.root / "results"
    assert "- `bug`: failed: ZeroDivisionError" in (results / "leaderboard.md").read_text()
    figures = {path.name for path in (results / "figures").glob("*.svg")}
    assert figures == {
        "overview.svg",
        *(f"{name}-{s}.svg" for s in ("toy", "broken") for name in ("lds", "frontier", "loss", "proponents")),
    }
    assert not list(results.rglob("*.tmp"))


@pytest.mark.slow
def test_one_refusal_no_leaderboard_the_terminal_has_one_line_per_failure(failed_run):
    printed = failed_run.printed
    assert "Traceback" not in printed and "CalledProcessError" not in printed
    assert "Traceback" in (failed_run.checkout.root / "logs/toy/attribute-bug.log").read_text()
    assert "error: SIGKILL" in (failed_run.checkout.root / "logs/toy/attribute-killed.log").read_text()
    assert "left_out: {" in printed and "in configs/settings/toy.yaml continues without them" in printed
    assert "removing 'broken' from settings in params.yaml continues without it" in printed
    assert printed.count("Rank") == 1, "the table of the setting that has one"


@pytest.mark.slow
def test_one_refusal_no_leaderboard_status_says_that_the_same_failure_comes_back(failed_run):
    printed = failed_run.checkout.run_step("status").stdout
    assert "    killed: SIGKILL" in printed and "    failed: ZeroDivisionError" in printed
    assert "    refused: configs/methods/refuser.yaml" in printed
    assert "4 failed" in printed
    assert "left out\n  toy/trak-10  needs 10 ensemble members" in printed
    assert "nothing is running: `snakemake` only tries the failed jobs again" in printed
    assert "what was refused is refused again until its configuration, data or code changes" in printed


@pytest.mark.slow
def test_one_refusal_no_leaderboard_verify_and_the_next_run(failed_run):
    """The rest is whole, and the next run makes what failed and the tables, nothing else."""
    verified = failed_run.checkout.run_step("verify")
    assert verified.returncode == 0, verified.stdout
    assert "note: results/leaderboard.csv: made without what failed" in verified.stdout
    planned = failed_run.checkout.planned("--config", "settings=[toy]")
    assert planned == {
        **dict.fromkeys(METHODS, 1),
        **{"evaluate": 3, "summary": 1, "figures": 1, "collect": 1, "overview": 1},
    }


@pytest.mark.slow
def test_one_refusal_no_leaderboard_mlflow_has_a_run_with_the_reason(failed_run):
    from mlflow import MlflowClient

    assert "MLflow: 10 written" in failed_run.printed
    client = MlflowClient(f"sqlite:///{failed_run.checkout.root}/mlflow.db")
    experiments = [client.get_experiment_by_name(name).experiment_id for name in ("toy", "broken")]
    runs = {run.data.tags["method"]: run for run in client.search_runs(experiments[:1])}
    shown = {name: (run.info.status, run.data.tags.get("outcome", "")) for name, run in runs.items()}
    assert shown == {
        "random": ("FINISHED", ""),
        "refuser": ("FAILED", "refused"),
        "bug": ("FAILED", "failed"),
        "killed": ("KILLED", "killed"),
        "trak-10": ("FINISHED", "left out"),
    }
    assert {name for name, run in runs.items() if run.data.metrics} == {"random"}
    assert runs["bug"].data.tags["note"].startswith("failed: ZeroDivisionError")
    assert len(client.search_runs(experiments[1:])) == 5
    again = failed_run.checkout.run_step("publish").stdout
    assert again.strip() == "10 kept"


@pytest.mark.slow
def test_one_refusal_no_leaderboard_the_report_has_the_rest_and_the_reasons(failed_run):
    page = (failed_run.checkout.root / "results/report/index.html").read_text(encoding="utf-8")
    coverage = re.sub(
        r"<script.*?</script>", "", page.partition('<section id="coverage"')[2], flags=re.DOTALL
    )
    for text in (
        "failed: ZeroDivisionError: division by zero",
        "killed: SIGKILL",
        "needs 10 ensemble members",
    ):
        assert text in coverage
    broken = page.partition('data-setting="broken"')[2].partition("</section>")[0]
    assert "No method has a value on this setting; the reasons are under Coverage." in broken
    assert "which was refused: dataset factory" in coverage
    assert "random" in page.partition('data-setting="toy"')[2].partition("</section>")[0]


@pytest.mark.slow
def test_one_refusal_no_leaderboard_snakemakes_report_is_made_from_the_rest(failed_run):
    failed_run.checkout.snakemake("--report", "report.html")
    assert "ZeroDivisionError" in (failed_run.checkout.root / "results/leaderboard.csv").read_text()
    assert (failed_run.checkout.root / "report.html").stat().st_size > 100_000
