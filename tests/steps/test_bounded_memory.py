"""The chain from data to scores on a data set five times as large as ``compute.memory_mib``, under a hard limit.

One process makes everything for a small data set first, which loads all libraries, and then for the large one with a limit
of what it holds, the budget and the batches. The limit is ``RLIMIT_DATA``, which counts the heap and private maps, so that
the map of the stored data is allowed for; a copy of the data in memory, as bytes even, would be beyond it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
BUDGET_MIB = 45
ROW = 3 * 128 * 128
SMALL, LARGE = 100, 5 * BUDGET_MIB * 2**20 // ROW
BATCH = 8
BATCH_MIB = 4 * BATCH * ROW * 4 * 4 // 2**20
"""Four models' batches in floating point, with as many temporaries as the preprocessing makes."""

PROGRAM = f"""\
import gc, os, re, resource, sys
from pathlib import Path

from proponent.steps.io.process import prepare_libraries

prepare_libraries(1)

import numpy as np
import torch

from proponent.store.tensors import load_tensors
from steps.planned_jobs import make, one_setting

FACTORIES = '''
import numpy as np
import torch
from torch.nn import functional as F

from proponent.settings import Split


def images(n):
    x = np.memmap("images.bin", np.uint8, "r", shape=(n, 3, 128, 128))
    return Split(train=(x, x[:, 0, 0, 0] % 3), query=(x[:20], x[:20, 0, 0, 0] % 3))


def small():
    return lambda x: F.avg_pool2d(x.float() / 255, 32)


def model():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
'''
SETTING = '''
dataset: {{factory: "NAME_factories:images", args: {{n: ROWS}}, files: [images.bin]}}
model: {{factory: "NAME_factories:model"}}
preprocess: {{factory: "NAME_factories:small"}}
recipe: {{lr: 0.1, steps: 5, batch_size: {BATCH}}}
ensemble: {{members: 1, checkpoints: 0}}
designs: {{subsets: {{count: 2, seeds: 1}}, tune: {{count: 4, seeds: 1}}}}
queries: {{tune: 10, test: 10}}
'''
STEPS = ("data", "check", "train", "retrain", "ground_truth", "featurize", "attribute")


def data_mib():
    return int(re.search(r"VmData:\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1)) // 1024


def chain(name, rows):
    root = Path(name).absolute()
    root.mkdir()
    with (root / "images.bin").open("wb") as stream:
        generator = np.random.default_rng(0)
        for _ in range(rows):
            stream.write(generator.bytes({ROW}))
    setting = SETTING.replace("NAME", name).replace("ROWS", str(rows))
    params = "methods: [random, graddot]\\ncompute: {{memory_mib: {BUDGET_MIB}}}\\n"
    with one_setting(root, name, setting, FACTORIES, params) as plan:
        made = make(root, plan(), *STEPS)
    return root, made


chain("little", {SMALL})
gc.collect()
size = {LARGE} * {ROW} // 2**20
limit = data_mib() + size + {BUDGET_MIB} + {BATCH_MIB}
resource.setrlimit(resource.RLIMIT_DATA, (limit << 20, limit << 20))
root, made = chain("much", {LARGE})
print("made", len(made))
x = load_tensors(root / "results/much/data/train.safetensors")["x"]
print("stored", x.dtype, len(x))
scores = load_tensors(root / "results/much/scores/graddot.safetensors")["scores"]
print("scores", *scores.shape, bool(scores.std() > 0))
try:
    x.clone()
except RuntimeError as error:
    print("copy refused" if "allocate" in str(error) else error)
"""


@pytest.mark.slow
def test_no_step_holds_the_data(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY / 'src'}:{REPOSITORY / 'tests'}"},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "made 12",
        f"stored torch.uint8 {LARGE}",
        f"scores 20 {LARGE} True",
        "copy refused",
    ]
