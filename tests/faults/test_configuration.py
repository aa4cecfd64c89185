"""Faults of the configuration: the same value by all ways, and names that can be paths."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from proponent.config.benchmark import Benchmark, load_benchmark
from proponent.config.flags import Flags
from proponent.errors import UserError

MODULE = """
def attribute(data, *, damping: float = 1.0, rank: int = 1, kind: str = "a", other=None): ...
def data(**args): ...
"""
SETTING = {
    "dataset": {"factory": "mine:data"},
    "model": {"factory": "mine:data"},
    "recipe": {"lr": 0.1, "epochs": 3},
}
PARAMS = "settings: [one]\nmethods: [mine]\nmetrics: []\n"
NUMBERS = {
    "1e-3": 1e-3,
    "1e5": 1e5,
    "1": 1.0,
    "012": 12.0,
    ".5": 0.5,
    "0.3": 0.3,
}
TEXTS = ("on", "off", "yes", "2024_06", "1:30", "2024-06-01", "1_000.5", "0b1", "n", "12a", "=", "'0.5'")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for kind in ("settings", "methods", "designs", "metrics"):
        (tmp_path / "configs" / kind).mkdir(parents=True)
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "mine.py").write_text(MODULE)
    (tmp_path / "configs/methods/mine.yaml").write_text("family: mine:attribute\n")
    (tmp_path / "src").symlink_to(Path(__file__).parents[2] / "src")
    add_setting(tmp_path, "one")
    return tmp_path


def add_setting(root: Path, name: str) -> None:
    (root / f"configs/settings/{name}.yaml").write_text(yaml.safe_dump(SETTING))


def by_params(root: Path, text: str) -> Benchmark:
    (root / "params.yaml").write_text(f"{PARAMS}overrides: {text}\n")
    return load_benchmark(root)


def by_config_file(root: Path, text: str) -> Benchmark:
    (root / "more.yaml").write_text(f"overrides: {text}\n")
    return load_benchmark(root, Flags(files=[root / "more.yaml"]).values())


def by_config(root: Path, text: str) -> Benchmark:
    return load_benchmark(root, Flags(entries=[f"overrides={text}"]).values())


def by_method_file(root: Path, text: str) -> Benchmark:
    value = text.removeprefix("{methods: {mine: ").removesuffix("}}")
    (root / "configs/methods/mine.yaml").write_text(f"family: mine:attribute\n{value[1:-1]}\n")
    return load_benchmark(root)


WAYS = [by_params, by_config_file, by_config, by_method_file]


@pytest.mark.parametrize("way", WAYS)
def test_values_by_flag_are_the_same_numbers(root, way) -> None:
    listed = ", ".join(NUMBERS)
    values = f"{{tune: {{grid: {{damping: [{listed}], other: [{listed}]}}}}}}"
    tune = way(root, f"{{methods: {{mine: {values}}}}}").methods["mine"].config.tune
    expected = list(NUMBERS.values())
    assert tune.grid == {"damping": expected, "other": expected}
    assert {type(value) for value in tune.grid["damping"]} == {float}


@pytest.mark.parametrize("way", WAYS)
def test_values_by_flag_are_the_same_text(root, way) -> None:
    listed = ", ".join(TEXTS)
    values = f"{{tune: {{grid: {{kind: [{listed}], other: [{listed}]}}}}}}"
    tune = way(root, f"{{methods: {{mine: {values}}}}}").methods["mine"].config.tune
    expected = [text.strip("'") for text in TEXTS]
    assert tune.grid == {"kind": expected, "other": expected}


@pytest.mark.parametrize("text", ["1e-3", "1e-5", "12", "0.25", "true"])
def test_values_by_flag_of_dvc_are_those_of_params_yaml(root, text) -> None:
    (root / "params.yaml").write_text(f"{PARAMS}overrides: {{methods: {{mine: {{params: {{other: 2}}}}}}}}\n")
    apply_overrides(root / "params.yaml", [f"overrides.methods.mine.params.other={text}"])
    written = load_benchmark(root).methods["mine"].config.params["other"]
    assert (
        written
        == by_config(root, f"{{methods: {{mine: {{params: {{other: {text}}}}}}}}}")
        .methods["mine"]
        .config.params["other"]
    )
    assert not isinstance(written, str)


def test_values_by_flag_that_are_whole_are_taken_for_counts_and_fractions(root) -> None:
    overrides = "{settings: {one: {recipe: {lr: 1, epochs: 1e1}}}, methods: {mine: {params: {rank: 1e1}}}}"
    benchmark = by_config(root, overrides)
    assert repr(benchmark.settings["one"].recipe.lr) == "1.0"
    assert repr(benchmark.settings["one"].recipe.epochs) == "10"
    assert repr(benchmark.methods["mine"].config.params["rank"]) == "10"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("{params: {kind: 1e3}}", None),
        ("{params: {kind: true}}", "params.kind: true is a boolean; put it in quotes"),
        ("{params: {damping: '0.5'}}", "'params.damping' must be float, not '0.5'"),
        ("{params: {other: .nan}}", "params.other: nan is not a finite number"),
        ("{params: {other: [1, -.inf]}}", "params.other[1]: -inf is not a finite number"),
        ("{params: {other: '${oc.env:HOME}'}}", "params.other: '${oc.env:HOME}' is not interpolated"),
        (
            "{tune: {grid: {other: [{a: '${methods}'}]}}}",
            "tune.grid.other[0].a: '${methods}' is not interpolated",
        ),
    ],
)
def test_values_by_flag_that_cannot_be_in_a_key_are_one_line(root, way, values, said) -> None:
    if said is None:  # the text of a number, for an argument that is text
        benchmark = way(root, f"{{methods: {{mine: {values}}}}}")
        assert benchmark.methods["mine"].config.params["kind"] in ("1e3", "1000.0")
        return
    with pytest.raises(UserError) as caught:
        way(root, f"{{methods: {{mine: {values}}}}}")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("where", [", args: {root: '${oc.env:HOME}'}}", "}\ntask: ${task}"])
def test_values_by_flag_interpolations_in_settings_are_refused(root, where) -> None:
    (root / "configs/settings/one.yaml").write_text(
        f"model: {{factory: 'mine:data'}}\nrecipe: {{epochs: 1}}\ndataset: {{factory: 'mine:data'{where}\n"
    )
    with pytest.raises(UserError, match=r"configs/settings/one\.yaml: .*\$\{.*is not interpolated"):
        load_benchmark(root)


@pytest.mark.parametrize("name", ["2024_06", "on", "1e3", "012", "0o17", "1.0", "'null'", "x.y-z"])
@pytest.mark.parametrize("given", ["[{}]", "{}"])
def test_values_by_flag_find_settings_by_the_names_of_their_files(root, name, given) -> None:
    add_setting(root, name.strip("'"))
    found = load_benchmark(root, Flags(entries=[f"settings={given.format(name)}"]).values())
    assert list(found.settings) == [name.strip("'")]
    (root / "params.yaml").write_text(f"settings: [{name}]\nmethods: []\nmetrics: []\n")
    assert list(load_benchmark(root).settings) == [name.strip("'")]


@pytest.mark.parametrize(
    ("name", "said"), [("true", "true is a boolean"), ("null", "null stands for no value")]
)
def test_values_by_flag_without_text_are_one_line(root, name, said) -> None:
    with pytest.raises(UserError, match=rf"--config: settings\[0\]: {said}; put it in quotes"):
        load_benchmark(root, Flags(entries=[f"settings=[{name}]"]).values())


def test_values_by_flag_later_ones_win_over_earlier_ones(root) -> None:
    (root / "a.yaml").write_text("compute: {threads: 2, lockstep: 7}\n")
    (root / "b.json").write_text('{\n\t"compute": {"threads": 3}}')
    flags = Flags(files=[root / "a.yaml", root / "b.json"], entries=["compute={threads: 4}"])
    assert flags.values() == {"compute": {"threads": 4, "lockstep": 7}}
    assert Flags(parsed={"settings": ["one"]}).values() == {"settings": ["one"]}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"entries": ["compute={threads: 1, threads: 2}"]}, "--config compute: not valid YAML"),
        ({"entries": ["compute={"]}, "--config compute: not valid YAML"),
        ({"entries": ["compute"]}, "--config: 'compute' must read name=value"),
        ({"entries": ["a.b=1"]}, "--config: 'a.b=1' must read name=value"),
        (
            {"entries": ["overrides={methods: {mnie: {members: 2}}}"]},
            "overrides.methods names 'mnie'.*'mine'",
        ),
        ({"entries": ["overrides={methods: [mine]}"]}, "'overrides.methods' must hold names with values"),
        ({"files": ["none.yaml"]}, "none.yaml: cannot be read"),
        ({"files": ["list.yaml"]}, "list.yaml: must hold 'key: value' pairs"),
        ({"files": ["template.yaml"]}, r"template.yaml: templates \(__use_yte__\) are not supported"),
    ],
)
def test_values_by_flag_mistakes_are_one_line(root, flags, said) -> None:
    (root / "list.yaml").write_text("[1]\n")
    (root / "template.yaml").write_text("__use_yte__: true\n")
    files = [root / name for name in flags.get("files", ())]
    with pytest.raises(UserError, match=said) as caught:
        load_benchmark(root, Flags(files, flags.get("entries", ())).values())
    assert "\n" not in str(caught.value)


BAD = [
    "my set",
    "a/b",
    "..",
    ".x",
    "-x",
    "größe",
    "a:b",
    "a*",
    "",
    "x.json",
    "x.safetensors",
    "x.json.manifest",
    "x.",
    "NUL",
]


@pytest.mark.parametrize("kind", ["settings", "methods", "metrics", "designs"])
@pytest.mark.parametrize("name", BAD)
def test_snakefile_from_elsewhere_names_that_cannot_be_paths_are_refused(root, kind, name) -> None:
    if kind == "designs":
        text = yaml.safe_dump({**SETTING, "designs": {name: {}}})
        (root / "configs/settings/one.yaml").write_text(text)
    else:
        (root / "params.yaml").write_text(yaml.safe_dump({**yaml.safe_load(PARAMS), kind: [name]}))
    with pytest.raises(UserError, match=f"cannot be the name of a {kind[:-1]}: ") as caught:
        load_benchmark(root)
    start = "configs/settings/one.yaml: designs: " if kind == "designs" else f"params.yaml: {kind}: "
    assert str(caught.value).startswith(start)
    assert not (root / "results").exists()


@pytest.mark.parametrize(
    "name", ["keys", "Keys", "figures", "summaries", "report", "logs", "mlruns", "leaderboard"]
)
def test_snakefile_from_elsewhere_settings_that_other_files_hide_are_refused(root, name) -> None:
    add_setting(root, name)
    with pytest.raises(UserError, match=rf"--config: settings: '{name}' cannot be the name .* reserved"):
        load_benchmark(root, Flags(entries=[f"settings={name}"]).values())


def test_snakefile_from_elsewhere_names_that_one_file_system_takes_for_the_same_are_refused(root) -> None:
    for name in ("trak", "TRAK"):
        (root / f"configs/methods/{name}.yaml").write_text("family: mine:attribute\n")
    with pytest.raises(UserError, match=r"'TRAK' .* differs from 'trak' in upper and lower case only"):
        load_benchmark(root, {"methods": ["trak", "TRAK"]})
