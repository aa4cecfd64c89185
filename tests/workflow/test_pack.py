"""`proponent pack` and `unpack`: one archive, the same bytes each time, and nothing from it is trusted unseen."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path

import pytest

from workflow.checkout import Checkout

pytestmark = pytest.mark.slow

FINAL = "results/toy/ensemble/member-001/final.safetensors"


@pytest.fixture(scope="module")
def archive(finished_run: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy setting, packed."""
    path = tmp_path_factory.mktemp("packed") / "toy.tar"
    done = finished_run.run_step("pack", "toy", "--output", str(path))
    assert done.returncode == 0, done.stdout
    return path


def refused(checkout: Checkout, archive: Path, *flags: str) -> str:
    """Unpack, in vain: one line, and not a file of it in results/."""
    before = checkout.bytes_of("toy/**/*")
    done = checkout.run_step("unpack", str(archive), *flags)
    assert done.returncode == 1, done.stdout
    assert len([line for line in done.stdout.splitlines() if line.startswith("error: ")]) == 1
    assert "Traceback" not in done.stdout
    assert checkout.bytes_of("toy/**/*") == before
    assert not list((checkout.root / "results").glob(".unpack*"))
    return done.stdout


def altered(archive: Path, to: Path, change) -> Path:
    """Write the archive anew; `change` maps an entry and its bytes to those that replace them, or to None."""
    with tarfile.open(archive) as source, tarfile.open(to, "w") as target:
        for entry in source:
            for new, content in change(entry, source.extractfile(entry).read()):
                new.size = len(content) if new.isreg() else 0
                target.addfile(new, io.BytesIO(content) if new.isreg() else None)
    return to


def test_after_unpacking_in_a_fresh_checkout_nothing_of_the_setting_is_made_again(
    finished_run, archive, fresh
):
    done = fresh.run_step("unpack", str(archive))
    assert done.returncode == 0, done.stdout
    assert fresh.tensors() == finished_run.tensors()
    assert fresh.run_step("verify").returncode == 0
    assert fresh.planned() == {"collect": 1, "figures": 1, "overview": 1}, (
        "what compares settings is not in it"
    )
    again = fresh.run_step("unpack", str(archive))
    assert "0 of them new" in again.stdout


def test_the_same_results_give_the_same_bytes(finished_run, archive, tmp_path):
    copy = finished_run.copy(tmp_path / "copy")
    for path in (copy.root / "results").rglob("*"):
        path.touch()
    assert copy.run_step("pack", "toy").returncode == 0
    assert (copy.root / "toy.tar").read_bytes() == archive.read_bytes()


def test_what_is_not_whole_is_not_packed(checkout):
    path = checkout.root / FINAL
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    done = checkout.run_step("pack", "toy")
    assert done.returncode == 1
    assert f"{FINAL}: corrupt" in done.stdout and "nothing was packed" in done.stdout
    assert not (checkout.root / "toy.tar").exists()


def test_what_is_not_made_yet_cannot_be_packed(fresh):
    done = fresh.run_step("pack", "toy")
    assert done.returncode == 1
    assert "run snakemake" in done.stdout
    assert "toy" in fresh.run_step("pack", "toi").stdout


def test_a_flipped_byte_is_found_before_anything_is_put_in_place(archive, fresh, tmp_path):
    def flip(entry, content):
        if entry.name == FINAL:
            content = content[:-1] + bytes([content[-1] ^ 1])
        yield entry, content

    assert f"{FINAL} is not what the index says" in refused(fresh, altered(archive, tmp_path / "a.tar", flip))


@pytest.mark.parametrize(
    "name", ["../outside.txt", "/srv/outside.txt", "results/toy/../../outside", "src/x.py"]
)
def test_an_entry_that_leads_elsewhere_is_refused_also_if_the_index_names_it(archive, fresh, tmp_path, name):
    def add(entry, content):
        if entry.name == "proponent-pack.json":
            index = json.loads(content)
            index["files"][name] = {"sha256": "0" * 64, "size": 0}
            content = json.dumps(index).encode()
        yield entry, content

    assert "is no result of toy" in refused(fresh, altered(archive, tmp_path / "a.tar", add))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(archive, fresh, tmp_path, kind):
    def link(entry, content):
        if entry.name == FINAL:
            entry.type, entry.linkname = kind, "/etc/passwd"
        yield entry, content

    assert "is no plain file" in refused(fresh, altered(archive, tmp_path / "a.tar", link))


def test_an_entry_that_the_index_does_not_name_is_refused(archive, fresh, tmp_path):
    def twice(entry, content):
        yield entry, content
        if entry.name == FINAL:
            yield entry, content

    assert "is not in its index" in refused(fresh, altered(archive, tmp_path / "a.tar", twice))


def test_a_missing_entry_a_cut_and_another_format(archive, fresh, tmp_path):
    def without(entry, content):
        if entry.name != FINAL:
            yield entry, content

    assert f"{FINAL} is missing" in refused(fresh, altered(archive, tmp_path / "a.tar", without))
    (tmp_path / "cut.tar").write_bytes(archive.read_bytes()[:20_000])
    refused(fresh, tmp_path / "cut.tar")
    (tmp_path / "text.tar").write_text("no archive at all")
    assert "not an archive" in refused(fresh, tmp_path / "text.tar")
    refused(fresh, tmp_path / "nowhere.tar")

    def other(entry, content):
        yield entry, content.replace(b'"format": 1', b'"format": 9')

    assert "format 9" in refused(fresh, altered(archive, tmp_path / "a.tar", other))


def test_what_is_there_and_differs_is_kept_unless_replacing_is_asked_for(archive, checkout):
    path = checkout.root / FINAL
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert f"{FINAL} is there already and differs" in refused(checkout, archive)
    done = checkout.run_step("unpack", str(archive), "--replace")
    assert done.returncode == 0, done.stdout
    assert checkout.run_step("verify", "results/toy").returncode == 0


def test_a_link_inside_of_results_leads_nothing_out(archive, fresh, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (fresh.root / "results/toy").mkdir(parents=True)
    (fresh.root / "results/toy/scores").symlink_to(outside)
    done = fresh.run_step("unpack", str(archive))
    assert done.returncode == 1
    assert "leads out of results/" in done.stdout
    assert not list(outside.iterdir())
    shutil.rmtree(fresh.root / "results/toy")
