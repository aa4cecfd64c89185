"""Memory and CPU time: jobs at a time, the memory of methods, and files that are too large to be read at every start."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from faults import method_memory
from proponent.config.digests import file_digest
from proponent.config.digests.file_digest import FileDigests
from proponent.config.digests.source_digest import SourceTree
from proponent.config.recipe_schema import RecipeConfig
from proponent.errors import UserError
from proponent.features.curvature.member_curvature import Curvature
from proponent.features.gradients.serialise import to_tensors
from proponent.machine_limits import MachineLimits, machine_limits
from proponent.memory_budget import MemoryBudget
from proponent.methods.influence import if_cg, if_exact
from proponent.methods.shared.problem_size import ProblemSize, size_of_network
from proponent.methods.shared.workspace import Workspace
from proponent.plan import local_jobs
from proponent.plan.graph import Graph
from proponent.self_check.problem_sizes import Sizes
from proponent.settings.split import Arrays
from proponent.settings.tasks import get_task
from proponent.steps.io import planned_memory
from proponent.steps.io.method_memory import over_budget, plan_memory, required_mib
from proponent.training.designs import Run
from proponent.training.replay import Replay

SOURCES = Path(__file__).parents[2] / "src"
MEMINFO = "MemTotal:       24684083 kB\nMemFree:        1000 kB\n"
VERSION_1 = {
    "proc/meminfo": MEMINFO,
    "proc/self/cgroup": "4:memory:/a/b\n1:cpu,cpuacct:/a\n0::/\n",
    "proc/self/mountinfo": "32 31 0:29 / /cg/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /cg/memory rw,relatime - cgroup cgroup rw,memory\n"
    "41 31 0:38 / /cg/unified rw,relatime - cgroup2 cgroup2 rw\n",
    "cg/memory/memory.limit_in_bytes": "9223372036854771712\n",
    "cg/memory/a/memory.limit_in_bytes": f"{3000 << 20}\n",
    "cg/memory/a/b/memory.limit_in_bytes": f"{9000 << 20}\n",
    "cg/cpu/a/cpu.cfs_quota_us": "150000\n",
    "cg/cpu/a/cpu.cfs_period_us": "100000\n",
}
VERSION_2 = {
    "proc/meminfo": MEMINFO,
    "proc/self/cgroup": "0::/user.slice/run.scope\n",
    "proc/self/mountinfo": "30 1 0:26 / /cg rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n",
    "cg/user.slice/memory.max": f"{3000 << 20}\n",
    "cg/user.slice/run.scope/memory.max": "max\n",
    "cg/user.slice/run.scope/cpu.max": "150000 100000\n",
}
IN_A_CONTAINER = {  # the mount shows this container's own group, under which name /proc still has the host's
    **VERSION_2,
    "proc/self/cgroup": "0::/docker/0123\n",
    "proc/self/mountinfo": "30 1 0:26 /docker/0123 /cg rw - cgroup2 cgroup2 rw\n",
    "cg/memory.max": f"{3000 << 20}\n",
    "cg/cpu.max": "150000 100000\n",
}


def write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


@pytest.mark.parametrize("files", [VERSION_1, VERSION_2, IN_A_CONTAINER], ids=["v1", "v2", "container"])
def test_jobs_times_memory_reads_limits_of_control_groups(tmp_path, monkeypatch, files):
    monkeypatch.setattr("proponent.machine_limits.usable_cores", lambda: 6)
    assert machine_limits(write(tmp_path, files)) == MachineLimits(3000.0, 1.5)


def test_jobs_times_memory_without_control_groups(tmp_path, monkeypatch):
    monkeypatch.setattr("proponent.machine_limits.usable_cores", lambda: 6)
    assert machine_limits(write(tmp_path, {"proc/meminfo": MEMINFO})) == MachineLimits(24684083 / 1024, 6.0)
    assert machine_limits(tmp_path / "nowhere").memory_mib > 100, "without /proc, the C library knows"


def real_group(controller: str, **limits: int) -> Path:
    """Return a new control group of version 1 with limits; skip where this machine does not let us make one."""
    folder = Path("/sys/fs/cgroup") / controller / f"proponent-test-{os.getpid()}"
    try:
        folder.mkdir()
        for name, value in limits.items():
            (folder / f"{controller}.{name}").write_text(str(value))
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    return folder


def test_jobs_times_memory_in_a_real_control_group():
    group = real_group("memory", limit_in_bytes=3000 << 20)
    code = "from proponent.machine_limits import machine_limits; print(machine_limits().memory_mib)"
    command = f"echo $$ > {group}/cgroup.procs; exec {sys.executable} -c '{code}'"
    try:
        done = subprocess.run(
            ["sh", "-c", command],
            env={"PYTHONPATH": str(SOURCES)},
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        group.rmdir()
    assert float(done.stdout) == 3000


class Snakemake:
    """The part of Snakemake's workflow that limits are given to."""

    def __init__(self, cores: int, nodes: int | None = None, **given: int) -> None:
        self.resource_settings = SimpleNamespace(cores=cores, nodes=nodes)
        self.global_resources: dict[str, int] = dict(given)

    def register_resource(self, name: str, value: int) -> None:
        self.global_resources[name] = value


@pytest.mark.parametrize(
    ("workflow", "arguments", "expected", "said"),
    [
        (Snakemake(6), [], {"mem_mb": 23605}, "5 jobs at a time"),
        (Snakemake(2), [], {"mem_mb": 23605}, ""),
        (Snakemake(6, mem_mb=100_000), [], {"mem_mb": 100_000}, ""),
        (Snakemake(16), [], {"mem_mb": 23605, "_cores": 8}, "8 of 16 cores"),
        (Snakemake(16), ["--cores", "all"], {"mem_mb": 23605, "_cores": 8}, "8 of 16 cores"),
        (Snakemake(12), ["--cores", "12"], {"mem_mb": 23605}, "5 jobs at a time"),
        (Snakemake(12, nodes=4), ["-j4"], {"mem_mb": 23605}, "5 jobs at a time"),
        (Snakemake(2, nodes=200), ["--executor", "slurm", "-j200"], {}, ""),
    ],
    ids=["memory", "cores", "stated", "quota", "all", "typed", "jobs", "cluster"],
)
def test_jobs_times_memory_limits_local_jobs(monkeypatch, capsys, workflow, arguments, expected, said):
    monkeypatch.setattr(sys, "argv", ["snakemake", "--workflow-profile", "none", *arguments])
    monkeypatch.setattr(local_jobs, "machine_limits", lambda: MachineLimits(24105.6, 8.5))
    monkeypatch.setattr(local_jobs, "usable_cores", lambda: 16)
    local_jobs.limit_local_jobs(workflow, memory_mib=3000)
    assert workflow.global_resources == expected
    assert said in capsys.readouterr().err


def test_jobs_times_memory_says_when_not_even_one_job_fits(monkeypatch, capsys):
    monkeypatch.setattr(local_jobs, "machine_limits", lambda: MachineLimits(2500.0, 8.0))
    local_jobs.limit_local_jobs(Snakemake(8), memory_mib=3000)
    assert "one job at a time: a job may need 4000 MB" in capsys.readouterr().err
    assert local_jobs.jobs_at_a_time(MachineLimits(2500.0, 8.0), threads=1, memory_mib=3000) == 1
    assert local_jobs.jobs_at_a_time(MachineLimits(24105.6, 8.5), threads=2, memory_mib=3000) == 4


SNAKEFILE = """
import proponent.plan.local_jobs as local_jobs
from proponent.machine_limits import MachineLimits
local_jobs.machine_limits = lambda: MachineLimits(8600, 4)
local_jobs.limit_local_jobs(workflow, 3000)
rule all:
    input: expand("{n}.txt", n=range(4))
rule one:
    output: "{n}.txt"
    resources: mem_mb=lambda wildcards, attempt: 4000 * attempt
    shell: "date +%s%N > {output}; sleep .3; date +%s%N >> {output}"
"""


@pytest.mark.slow
def test_jobs_times_memory_with_the_real_snakemake(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    command = [sys.executable, "-m", "snakemake", "--cores", "4", "--scheduler", "greedy"]
    environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    times = [tuple(map(int, (tmp_path / f"{n}.txt").read_text().split())) for n in range(4)]
    at_once = [sum(start <= other[0] < end for other in times) for start, end in times]
    assert max(at_once) == 2, "8,100 MB of memory is enough for two jobs of 4,000 MB"


def settled(path: Path, content: bytes) -> Path:
    """Return a file that was written long enough ago for its digest to be remembered."""
    path.write_bytes(content)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return path


@pytest.fixture
def read_files(monkeypatch) -> list[Path]:
    """Files that are read from now on, and every change counted as an old one."""
    read: list[Path] = []
    streamed = file_digest._streamed
    monkeypatch.setattr(file_digest, "_streamed", lambda path: read.append(path) or streamed(path))
    monkeypatch.setattr(file_digest, "SETTLED_SECONDS", -1000.0)
    monkeypatch.setattr(file_digest, "REMEMBERED_BYTES", 8)
    return read


def test_big_files_are_streamed(tmp_path):
    """A file of 64 MiB is digested in a process that may not have 32 MiB more of address space."""
    with (tmp_path / "big.bin").open("wb") as stream:
        stream.truncate(64 << 20)
    code = (
        "import resource, pathlib; from proponent.config.digests.file_digest import FileDigests; import proponent.errors;"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize();"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (32 << 20),) * 2);"
        "print(FileDigests().of(pathlib.Path('big.bin')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(SOURCES)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == hashlib.sha256(bytes(64 << 20)).hexdigest()


def test_big_files_are_read_once(tmp_path, read_files):
    path = settled(tmp_path / "weights.bin", b"0123456789")
    first = FileDigests()
    digest = first.of(path)
    again = FileDigests(dict(first.remembered))
    assert again.of(path) == digest == hashlib.sha256(b"0123456789").hexdigest()
    assert read_files == [path]
    settled(path, b"9876543210")  # other bytes of the same length, in place, with the time set back
    assert again.of(path) == hashlib.sha256(b"9876543210").hexdigest() != digest


def test_big_files_that_changed_a_moment_ago_are_not_remembered(tmp_path, read_files, monkeypatch):
    monkeypatch.setattr(file_digest, "SETTLED_SECONDS", 2.0)
    path = tmp_path / "weights.bin"
    path.write_bytes(b"0123456789")
    digests = FileDigests()
    digests.of(path)
    digests.of(path)
    assert not digests.remembered
    assert read_files == [path], "once per process"


def test_big_files_folder_is_digested_by_names_and_bytes(tmp_path, read_files):
    folder = tmp_path / "images"
    (folder / "a").mkdir(parents=True)
    (folder / "__pycache__").mkdir()
    settled(folder / "a/1.png", b"1")
    settled(folder / "2.png", b"2")
    digests = FileDigests()
    digest = digests.of(folder)
    read_files.clear()
    (folder / "__pycache__/x.pyc").write_bytes(b"x")
    assert FileDigests(dict(digests.remembered)).of(folder) == digest
    assert not read_files, "a folder that looks the same is not read again"
    (folder / "2.png").rename(folder / "3.png")
    renamed = digests.of(folder)
    settled(folder / "a/1.png", b"3")
    assert len({digest, renamed, digests.of(folder)}) == 3


def test_big_files_links_in_folders(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    settled(elsewhere / "1.png", b"1")
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "linked").symlink_to(elsewhere)
    digest = FileDigests().of(folder)
    settled(elsewhere / "1.png", b"2")
    assert FileDigests().of(folder) != digest, "what lies behind a link counts"
    (folder / "loop").symlink_to(tmp_path)
    with pytest.raises(UserError, match="loop: links to a folder above it"):
        FileDigests().of(folder)
    (folder / "loop").unlink()
    (folder / "gone").symlink_to("nowhere")
    with pytest.raises(UserError, match="gone: cannot be read: No such file"):
        FileDigests().of(folder)


def test_big_files_memory_that_is_malformed_is_ignored(tmp_path):
    (tmp_path / ".snakemake").mkdir()
    for content in ("", "[]", '{"a": 1}', '{"a": ["b"]}'):
        (tmp_path / file_digest.MEMORY).write_text(content)
        assert FileDigests.read(tmp_path) == FileDigests()


def test_big_files_are_remembered_from_run_to_run_and_in_jobs(tmp_path, read_files):
    """The plan writes what it read; another plan and a job find it."""
    path = settled(tmp_path / "weights.bin", b"0123456789")
    graph = Graph(tmp_path, SourceTree((SOURCES,)))
    digests = graph.digests_of(["weights.bin"])
    graph.remember_digests()
    assert Graph(tmp_path, SourceTree((SOURCES,))).digests_of(["weights.bin"]) == digests
    assert FileDigests.read(tmp_path).of(path) == digests["weights.bin"]
    assert read_files == [path]


BLOCKED = [
    "influence.if_cg",
    "influence.if_lissa",
    "influence.ekfac",
    "unrolling.source",
    "unrolling.source_adam",
    "unrolling.magic",
    "unrolling.dvemb",
    "gradient_similarity.less",
]
"""Methods that form one vector of all parameters, or more, per query."""


def measured(memory_mib: int, *methods: str) -> list[dict[str, Any]]:
    """Return what methods needed on a network of 60,000 parameters with 80 examples and 160 queries."""
    script = Path(__file__).parent / "method_memory.py"
    command = [sys.executable, str(script), str(memory_mib), "240", "80", "160", *methods]
    environment = {**os.environ, "PYTHONPATH": str(SOURCES), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_memory_of_krylov_and_of_all_methods_with_vectors_per_query_is_bounded():
    """Without blocks of queries, these methods take 474 (if_cg), 231 and 358 MiB."""
    for found in measured(300, "influence.if_cg", "unrolling.source", "unrolling.magic"):
        assert "refused" not in found, found
        assert found["needed"] <= 300, found


def test_memory_of_exact_influence_counts_the_root_of_the_ggn():
    """In example space it keeps factors of each example for each output: far more than the matrix, for a wide network."""
    problem = method_memory.Problem(width=300, n_train=30, n_query=4)
    model = problem.needs("network", method_memory.UNLIMITED_MIB, method_memory.SGD).at(1.0)
    tensors, _ = to_tensors(model.ggn_root())
    kept = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors.values()
    }
    size = size_of_network(model)
    assert size.n_parameters > 30 * size.n_outputs
    counted = if_exact.memory(size, 1) - if_exact.memory(replace(size, root_row=0), 1)
    assert counted == pytest.approx(sum(kept.values()) / 2**20, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("method", BLOCKED)
def test_memory_of_krylov_blocks_of_queries_have_the_same_scores(monkeypatch, method):
    problem = method_memory.Problem(width=8, n_train=40, n_query=7)
    expected = problem.scores(method, method_memory.UNLIMITED_MIB)
    monkeypatch.setattr(MemoryBudget, "largest", lambda self, need, most, what: min(most, 3))
    found = problem.scores(method, method_memory.UNLIMITED_MIB)
    tolerance = (
        2e-3 if method == "influence.if_cg" else 1e-5
    )  # conjugate gradients stop at a residual of 1e-3
    assert (found - expected).norm() <= tolerance * expected.norm()


def test_memory_of_krylov_is_refused_with_the_number_where_one_query_does_not_fit():
    network = SimpleNamespace(at=lambda _: model)
    linear = nn.Linear(400, 300)
    x, y = torch.randn(8, 400), torch.arange(8)
    options = {"weight_decay": 0.0, "duration": 1.0, "memory_mib": 1, "budget": MemoryBudget(8)}
    model = Curvature(linear, get_task("classification"), x, y, x, y, **options)
    with pytest.raises(
        UserError, match=r"if_cg needs (\d+) MiB of memory and compute.memory_mib is 8: raise it to \1"
    ):
        if_cg.attribute(network, Workspace())
    with pytest.raises(UserError, match="the gradients of 16 examples and queries need"):
        Curvature(linear, get_task("classification"), x, y, x, y, **{**options, "budget": MemoryBudget(0.01)})


def test_memory_of_a_replay_is_refused_before_it_starts():
    data = Arrays(torch.randn(8, 40), torch.arange(8), torch.randn(2, 40), torch.arange(2))
    recipe = RecipeConfig(lr=0.1, steps=10_000, batch_size=4)
    with pytest.raises(UserError, match=r"a replay of 10000 steps with 400 parameters needs 1 MiB"):
        Replay(
            lambda _: nn.Linear(40, 10, bias=False),
            get_task("classification"),
            recipe,
            Run(0, 0),
            data,
            memory_mib=0,
        )


@given(st.integers(1, 300), st.floats(0.1, 50), st.floats(0, 40), st.floats(0, 300))
def test_memory_budget_takes_the_largest_number_that_fits(most, each, fixed, total):
    budget = MemoryBudget(total)
    if fixed + each > total:
        with pytest.raises(UserError, match="m needs"):
            budget.largest(lambda count: fixed + each * count, most, "m")
        return
    count = budget.largest(lambda count: fixed + each * count, most, "m")
    assert fixed + each * count <= total
    assert count == most or fixed + each * (count + 1) > total


SIZE = ProblemSize(n_train=50_000, n_query=1000, shapes=((600, 500), (600,)), steps=1000, slots=3, batch=64)
SPEC = SimpleNamespace(method="m", network=None, replay=None, memory_mib=1000, function="attribute")


@pytest.mark.parametrize(
    "path", sorted((SOURCES / "proponent/methods").glob("*/*.py")), ids=lambda path: path.stem
)
def test_memory_of_every_method_has_a_formula_that_grows_with_the_data(path):
    name = f"proponent.methods.{path.parent.name}.{path.stem}"
    if path.stem == "__init__" or path.parent.name == "shared":
        return
    module = importlib.import_module(name)
    spec = SimpleNamespace(**vars(SPEC), candidates=({},))
    small = required_mib(spec, module, replace(SIZE, n_train=500), queries=1)
    assert (
        0
        <= small
        <= required_mib(spec, module, SIZE, queries=1)
        <= required_mib(spec, module, SIZE, queries=1000)
    )


def test_memory_of_a_method_on_stored_features_is_refused_by_its_formula():
    spec = SimpleNamespace(
        **vars(SPEC), candidates=({"damping": 1.0}, {"damping": 2.0}), module="proponent.methods.trak.trak"
    )
    planned = plan_memory(spec, ProblemSize(50_000, 100))
    assert planned.least_mib > 10_000
    reason = over_budget(planned, 20_000)
    assert reason.startswith("needs 20000 MiB of memory and compute.memory_mib is 1000: raise it to 20000")
    assert over_budget(plan_memory(spec, ProblemSize(5_000, 100)), 0) is None


def test_memory_of_krylov_is_known_to_the_plan(tmp_path):
    spec = SimpleNamespace(
        **vars(SPEC), setting="lab", candidates=({},), module="proponent.methods.influence.if_cg"
    )
    spec.network = SimpleNamespace(momentum=0.9)

    def planned(memory_mib: int) -> float:
        spec.memory_mib = memory_mib
        return planned_memory.job_mib(tmp_path, spec) - planned_memory.LIBRARIES_MIB

    assert planned(1000) == 1000, "at most, as long as nothing is known"
    folder = tmp_path / "results/lab/data"
    folder.mkdir(parents=True)
    for side, rows in (("train", 500), ("query", 250)):
        save_file({"x": torch.zeros(rows, 6), "y": torch.zeros(rows)}, folder / f"{side}.safetensors")
    shapes = ((540, 6), (540,), (540, 540), (540,), (3, 540), (3,))
    sizes = Sizes(shapes, itemsize=4, n_outputs=3, factored=2169, last=543, root_row=2175, replay_mib=1.0)
    folder.with_name("check.json").write_text(json.dumps({"sizes": asdict(sizes)}))
    assert planned(1000) == 1000, "as many queries as fit"
    assert 7000 < planned(100_000) < 9000, "26 vectors of 297,000 parameters for 250 queries"
    assert 100 < planned(100) < 500, "what one query needs"
