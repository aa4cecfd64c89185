"""The check of the prose finds what it should, and only that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from style.banned import (
    ROOT,
    check,
    files,
    find_constructions,
    find_in_docstrings,
    find_in_test_names,
    find_wide_lines,
)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("a file beside it", "next to"),
        ("the step calls it once a member", "per"),
        ("one integer an example", "per"),
        ("32 numbers a layer", "per"),
        ("with a block a layer", "per"),
        ("the Hessian of its loss by its outputs", "with respect to"),
        ("the scheduler's to mend", "fix"),
        ("can scores foretell retraining", "predict"),
        ("until the kernel lets go of it", "release"),
        ("that comes to nothing", "amount to"),
        ("say what it came to", "the result"),
        ("files lie below results/", "is stored"),
        ("a group is no sum of scores", "is not a"),
        ("labels that are no classes", "is not a"),
        ("its manifest is not one", "name the thing"),
        ("what there is none of", "name the things"),
        ("which method can one trust?", "you"),
        ("where one stands", "you"),
        ("over so many members", "this many"),
        ("what {module} says of groups", "describe"),
        ("was promised a GPU", "configured"),
        ("a tensor of no dimension is a figure for the manifest", "number"),
        ("the gradient at each moment", "checkpoint"),
    ],
)
def test_each_construction_is_found(text, advice) -> None:
    assert advice in " ".join(finding.advice for finding in find_constructions(text))


@pytest.mark.parametrize(
    "text",
    [
        "there is no such file, and there are no others",
        "the result is no longer needed, and is no larger than before",
        "one member of an ensemble, one row of a matrix",
        "such a setting, half a second, a setting",
        "the eigenvalues lie between 0 and 1",
        "the first and second moments of Adam",
        "a figure of the leaderboard is drawn",
        "one row per example",
        "the Hessian with respect to the parameters",
        "the time that it takes",
        "returns one gradient for each example",
        "let the user choose",
        "gap = 1 - onehot  # an example has one class",
        "restart-times: 2\n# Slurm requeues a job after a failure",
    ],
)
def test_plain_english_passes(text) -> None:
    assert list(find_constructions(text)) == []


def test_a_construction_is_found_across_lines_of_a_comment_and_its_line_is_told() -> None:
    (finding,) = find_constructions("x = 1\n# the labels are\n# no classes of the task\n")
    assert finding.line == 2
    assert finding.text == "are # no classes"


def test_a_module_docstring_without_a_subject_is_found() -> None:
    (finding,) = find_in_docstrings('"""What a job needs."""\n')
    assert "noun phrase" in finding.advice
    assert list(find_in_docstrings('"""Inputs required by a job."""\n')) == []


SOURCE = '''"""Functions."""


def project(seed, rows):
    """Return the projection; of: is not an argument.

    Args:
        seed: of the projection.
        rows: gradients, one row per example (n, p).

    Raises:
        UserError: which row is wrong.
    """
'''


def test_an_argument_whose_description_continues_its_name_is_found() -> None:
    (finding,) = find_in_docstrings(SOURCE)
    assert (finding.line, finding.text) == (8, "seed: of the projection.")


def test_names_of_tests_are_read_as_sentences_and_their_bodies_are_not() -> None:
    source = 'def test_a_text_is_no_number():\n    """A file beside it."""\n\n\ndef beside():\n    pass\n'
    (finding,) = find_in_test_names(source)
    assert finding.line == 1
    assert "is no number" in finding.text


def test_wide_lines_of_prose_are_found_and_tables_code_and_links_are_not() -> None:
    wide = "word " * 30
    exempt = f"| {wide} |\n```\n{wide}\n```\n{wide} [link](https://example.org)\n"
    assert list(find_wide_lines(exempt)) == []
    (finding,) = find_wide_lines(f"{exempt}{wide}\n")
    assert finding.line == 6


def test_the_check_covers_sources_rules_configuration_documentation_and_tests() -> None:
    covered = {str(path.relative_to(ROOT)) for path in files([])}
    assert {
        "src/proponent/cli.py",
        "Snakefile",
        "workflow/common.smk",
        "configs/methods/trak.yaml",
        "params.yaml",
        "dvc.yaml",
        "profiles/slurm/config.yaml",
        "docs/methods.md",
        "README.md",
        "tests/style/test_banned.py",
    } <= covered


def test_the_command_prints_file_line_text_and_advice_and_fails(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("One.\n\nA file beside it.\n")
    command = [sys.executable, str(ROOT / "tests/style/banned.py"), str(tmp_path / "page.md")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == f"{tmp_path}/page.md:3: beside: next to, in addition to, or compared with\n"
    (tmp_path / "page.md").write_text("A file next to it.\n")
    assert subprocess.run(command, capture_output=True).returncode == 0


def test_a_file_of_python_is_checked_whole(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text('"""How it works."""\n\nx = 1  # beside y\n')
    assert [finding.line for finding in check(tmp_path / "module.py")] == [1, 3]
