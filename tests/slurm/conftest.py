"""One cluster for all tests, and a local run of the same setting for comparison."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm.cluster import PROGRAMS, Cluster, SlurmCheckout, make_toy
from workflow.checkout import Checkout


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}; `make test-slurm` installs Debian's packages, as root")
    if os.getuid() != 0:
        pytest.skip("needs root: Slurm's daemons start jobs as their users")
    own = Path("/etc/slurm/slurm.conf")
    if own.exists() and not own.is_symlink():
        pytest.skip("this machine has a Slurm of its own")
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        cluster.control("up")
        yield cluster
    finally:
        cluster.control("down")


@pytest.fixture(scope="session")
def finished_here(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Checkout:
    """The whole chain, run on this machine without the cluster."""
    checkout = make_toy(tmp_path_factory.mktemp("here") / "checkout")
    checkout.snakemake()
    return checkout


@pytest.fixture
def fresh(tmp_path: Path, cluster: Cluster) -> SlurmCheckout:
    """A checkout in which nothing has been run."""
    return SlurmCheckout(make_toy(tmp_path / "fresh").root, cluster)


@pytest.fixture
def untruthful(finished_here: Checkout, tmp_path: Path, cluster: Cluster) -> Iterator[SlurmCheckout]:
    """The finished run without the ground truth of the subsets: two shards are to be retrained, and merged."""
    checkout = SlurmCheckout(finished_here.copy(tmp_path / "checkout").root, cluster)
    checkout.without_truth()
    yield checkout
    checkout.stop()
