"""The wheel alone is enough for scores from Python: without the checkout, and without what the DAG needs."""

from __future__ import annotations

import subprocess
import sys
import sysconfig

import pytest

from docs.guides import clone

WORKFLOW = ("click", "dvc", "matplotlib", "mlflow", "mlxtend", "rich", "snakemake", "transformers")
SCRIPT = """
import proponent
import torch

x = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
y = (x[:, 0] > 0).long()
model = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
for method in ("graddot", "trak", "if-cg", "ekfac", "dualda", "rps", "knn-shapley", "datainf"):
    scores = proponent.Attributor(method, model, (x, y)).attribute((x[:3], y[:3]))
    assert scores.shape == (3, 60) and scores.isfinite().all() and scores.dtype == torch.float32, method
(found,) = proponent.Explainer(proponent.Attributor("dualda", model, (x, y))).explain((x[:1], y[:1]), 3)
assert len(found.neighbours) == 3 and found.predicted in (0, 1)
assert len(proponent.methods()) > 40
assert proponent.metrics.mislabel(scores, y == 0)["mislabel_auc"].value >= 0
print("scored by", proponent.__file__)
"""
BLOCKED = f"""
import sys


class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {WORKFLOW}:
            raise ModuleNotFoundError(f"No module named '{{name}}'", name=name)


sys.meta_path.insert(0, Blocked())
"""


@pytest.mark.slow
def test_ten_lines_in_an_empty_folder(tmp_path):
    """The third-party packages are those of this environment, except those of the extras, which cannot be imported."""
    wheels = tmp_path / "wheels"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--wheel-dir", wheels, clone(tmp_path / "checkout")], check=True
    )
    (wheel,) = wheels.glob("proponent-*.whl")
    site = tmp_path / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", site, wheel], check=True)
    (site / "sitecustomize.py").write_text(BLOCKED)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/script.py").write_text(SCRIPT)
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "script.py"],
        cwd=tmp_path / "empty",
        env={"PYTHONPATH": f"{site}:{sysconfig.get_path('purelib')}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert str(site) in found.stdout
    command = [sys.executable, "-c", "from proponent.cli import main; main()"]
    refused = subprocess.run(
        command, env={"PYTHONPATH": str(site)}, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert refused.stderr.strip().splitlines() == [
        "error: the command line needs the extra [workflow]: pip install 'proponent[workflow]'"
    ]
