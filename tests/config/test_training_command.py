"""Commands of training scripts are split once, and their placeholders are replaced argument by argument."""

from __future__ import annotations

import pytest

from proponent.config.training_command import file_outside, files_of, fill, split_command

VALUES = {
    "seed": 7,
    "indices": "/w/indices.txt",
    "out": "/w/o ut",
    "data": "/d",
    "threads": 1,
    "device": "cpu",
}


def test_a_value_stays_one_argument_whatever_it_contains():
    arguments = split_command("train.sh --seed={seed} '{indices}' {out} 'a b;$HOME'")
    filled = fill(arguments, {**VALUES, "indices": "x; rm -rf {seed} $(y)"})
    assert filled == ["train.sh", "--seed=7", "x; rm -rf {seed} $(y)", "/w/o ut", "a b;$HOME"]


def test_doubled_braces_are_braces():
    arguments = split_command("run {seed} {indices} {out} '{{\"threads\": {threads}}}'")
    assert fill(arguments, VALUES)[-1] == '{"threads": 1}'


def test_spaces_between_arguments_do_not_matter():
    assert split_command("a  {seed}\n {indices} '{out}'") == split_command("a {seed} {indices} {out}")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("", "command is empty"),
        ("a 'b {seed} {indices} {out}", "close the quotation"),
        ("a {seed} {indizes} {out}", "unknown placeholder '{indizes}'; did you mean 'indices'?"),
        ("a {seed} {out}", "lacks the placeholder '{indices}'"),
        ("a {indices} {out}", "lacks the placeholder '{seed}'"),
        ("a {seed:04d} {indices} {out}", "braces must hold one of seed, indices"),
        ("a {} {seed} {indices} {out}", "braces must hold one of"),
        ("a {seed.real} {seed} {indices} {out}", "braces must hold one of"),
        ("a {seed {indices} {out}", "write {{ and }} for braces"),
        ("a {seed} {indices} {out} > log.txt", "command has '>', and no shell reads it"),
        ("cd lab && a {seed} {indices} {out}", "command has '&&', and no shell reads it"),
    ],
)
def test_a_mistake_is_named(command, said):
    with pytest.raises(ValueError) as caught:
        split_command(command)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_files_of_the_checkout_are_found_in_a_command(tmp_path):
    (tmp_path / "lab").mkdir()
    for name in ("lab/train.py", "lab/net.yaml"):
        (tmp_path / name).write_text("")
    command = ["python", "./lab/train.py", "--config=lab/net.yaml", "lab", "{out}", "/etc/hostname", "../x"]
    assert files_of(command, tmp_path) == ["lab/train.py", "lab/net.yaml"]
    assert file_outside(command, tmp_path) == "/etc/hostname"
    assert file_outside(["/bin/sh", "lab/train.py"], tmp_path) is None


def test_an_interpreter_of_an_environment_is_left_out(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to("/bin/sh")
    (tmp_path / "train.sh").write_text("")
    assert files_of(["bin/python", "train.sh"], tmp_path) == ["train.sh"]
    assert files_of(["./train.sh", "{seed}"], tmp_path) == ["train.sh"]
