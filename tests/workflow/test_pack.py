"""`proponent pack` and `unpack`: one archive with reproducible bytes, whose contents are checked before they are used."""

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
    """Return the output of an `unpack` that must fail with one line and leave results/ unchanged."""
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


def test_an_unpacked_setting_is_current_in_a_fresh_checkout(finished_run, archive, fresh):
    done = fresh.run_step("unpack", str(archive))
    assert done.returncode == 0, done.stdout
    assert fresh.tensors() == finished_run.tensors()
    assert fresh.run_step("verify").returncode == 0
    assert fresh.planned() == {"collect": 1, "figures": 1, "overview": 1}, (
        "the archive does not contain artefacts that compare settings"
    )
    again = fresh.run_step("unpack", str(archive))
    assert "0 of them new" in again.stdout


def test_equal_results_give_equal_bytes(finished_run, archive, tmp_path):
    copy = finished_run.copy(tmp_path / "copy")
    for path in (copy.root / "results").rglob("*"):
        path.touch()
    assert copy.run_step("pack", "toy").returncode == 0
    assert (copy.root / "toy.tar").read_bytes() == archive.read_bytes()


def test_damaged_results_are_not_packed(checkout):
    path = checkout.root / FINAL
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    done = checkout.run_step("pack", "toy")
    assert done.returncode == 1
    assert f"{FINAL}: corrupt" in done.stdout and "nothing was packed" in done.stdout
    assert not (checkout.root / "toy.tar").exists()


def test_a_setting_without_results_cannot_be_packed(fresh):
    done = fresh.run_step("pack", "toy")
    assert done.returncode == 1
    assert "run snakemake" in done.stdout
    assert "toy" in fresh.run_step("pack", "toi").stdout


def test_a_flipped_byte_is_found_before_any_file_is_put_in_place(archive, fresh, tmp_path):
    def flip(entry, content):
        if entry.name == FINAL:
            content = content[:-1] + bytes([content[-1] ^ 1])
        yield entry, content

    assert f"{FINAL} differs from the index" in refused(fresh, altered(archive, tmp_path / "a.tar", flip))


@pytest.mark.parametrize(
    "name",
    ["../outside.txt", "/srv/outside.txt", "results/toy/../../outside", "results/toy/../other/x", "src/x.py"],
)
def test_an_entry_outside_of_the_setting_is_refused_even_if_it_is_in_the_index(
    archive, fresh, tmp_path, name
):
    def add(entry, content):
        if entry.name == "proponent-pack.json":
            index = json.loads(content)
            index["files"][name] = {"sha256": "0" * 64, "size": 0}
            content = json.dumps(index).encode()
        yield entry, content

    assert "is not a result of toy" in refused(fresh, altered(archive, tmp_path / "a.tar", add))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(archive, fresh, tmp_path, kind):
    def link(entry, content):
        if entry.name == FINAL:
            entry.type, entry.linkname = kind, "/etc/passwd"
        yield entry, content

    assert "is not a plain file" in refused(fresh, altered(archive, tmp_path / "a.tar", link))


def test_an_entry_that_is_not_in_the_index_is_refused(archive, fresh, tmp_path):
    def twice(entry, content):
        yield entry, content
        if entry.name == FINAL:
            yield entry, content

    assert "is not in its index" in refused(fresh, altered(archive, tmp_path / "a.tar", twice))


def test_a_missing_entry_a_truncated_archive_and_another_format_are_refused(archive, fresh, tmp_path):
    def without(entry, content):
        if entry.name != FINAL:
            yield entry, content

    assert f"{FINAL} is missing" in refused(fresh, altered(archive, tmp_path / "a.tar", without))
    (tmp_path / "cut.tar").write_bytes(archive.read_bytes()[:20_000])
    refused(fresh, tmp_path / "cut.tar")
    (tmp_path / "text.tar").write_text("not an archive")
    assert "not an archive" in refused(fresh, tmp_path / "text.tar")
    refused(fresh, tmp_path / "nowhere.tar")

    def other(entry, content):
        yield entry, content.replace(b'"format": 1', b'"format": 9')

    assert "format 9" in refused(fresh, altered(archive, tmp_path / "a.tar", other))


def test_existing_results_that_differ_are_kept_without_the_flag_replace(archive, checkout):
    path = checkout.root / FINAL
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert f"{FINAL} and 0 more files exist and differ" in refused(checkout, archive)
    done = checkout.run_step("unpack", str(archive), "--replace")
    assert done.returncode == 0, done.stdout
    assert checkout.run_step("verify", "results/toy").returncode == 0


def test_a_link_inside_of_results_does_not_lead_files_out_of_it(archive, fresh, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (fresh.root / "results/toy").mkdir(parents=True)
    (fresh.root / "results/toy/scores").symlink_to(outside)
    done = fresh.run_step("unpack", str(archive))
    assert done.returncode == 1
    assert "leads out of results/" in done.stdout
    assert not list(outside.iterdir())
    shutil.rmtree(fresh.root / "results/toy")
