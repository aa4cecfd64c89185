"""A finished results folder in milliseconds: every artefact of a plan with invented bytes, true keys and manifests.

What settling, verification and DVC conclude depends on paths, times, digests and manifests alone, not on the numbers.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from proponent.config.benchmark import load_benchmark
from proponent.config.digests.keys import plain
from proponent.config.specifications.method_specs import AdoptSpec
from proponent.plan.artefact_paths import key_path
from proponent.plan.graph import Graph, Node
from proponent.plan.run_plan import FIGURES, Plan
from proponent.plan.settle import settle
from proponent.store.file_times import SECOND, time_as_input, time_as_output
from proponent.store.files import sha256
from proponent.store.manifest import SUFFIX, Manifest, Part, find_manifest, write_manifest

SCORES = "results/toy/scores/mine.safetensors"
METHOD = "family: external\ndescription: Scores of a rule of the user's own.\nneeds: [data]\nsources: [toy/mine.py]\n"
RULE = """rule mine:
    input:
        train="results/{setting}/data/train.safetensors",
        query="results/{setting}/data/query.safetensors",
    output:
        "results/{setting}/scores/mine.safetensors",
        "results/{setting}/benchmarks/mine.txt",
    benchmark:
        "results/{setting}/benchmarks/attribute-mine.tsv"
    shell:
        "python toy/mine.py {input.train} {input.query} {output}"
"""


def add_external_method(root: Path) -> None:
    """Add a method that a rule of the user's own runs to a checkout."""
    (root / "configs/methods/mine.yaml").write_text(METHOD)
    (root / "toy/mine.py").write_text("")
    (root / "workflow/rules/methods/mine.smk").write_text(RULE)
    params = root / "params.yaml"
    params.write_text(params.read_text().replace("[random, graddot, trak]", "[random, graddot, mine]"))


def further_files(node: Node) -> list[str]:
    """Return the files of an artefact in addition to the one that names it, as far as its step always makes them."""
    folder = f"results/{getattr(node.spec, 'setting', '')}"
    return {
        "data": [f"{folder}/data/query.safetensors"],
        "train": [f"{folder}/ensemble/member-{member:03d}/final.safetensors" for member in (0, 1)],
        "summary": [
            f"{node.path.removesuffix('.json')}.csv",
            f"{folder}/leaderboard/ranking.json",
            f"{folder}/leaderboard/comparisons.csv",
        ],
        "figures": [f"results/figures/{name}-toy.svg" for name in FIGURES[1:]],
        "collect": ["results/comparisons.csv", "results/leaderboard.md"],
    }.get(node.step, [])


@dataclass
class Tree:
    """A results folder and the graph that describes it."""

    graph: Graph
    time: int
    """Time of the next file to be written, in nanoseconds."""
    contents: dict[str, str] = field(default_factory=dict)
    """Content of files that is given, by path."""

    @property
    def root(self) -> Path:
        return self.graph.root

    def make(self, path: str, salt: str = "") -> None:
        """Write an artefact as a job would; another salt gives other bytes of the same size."""
        node = self.graph.nodes[path]
        parts = [self._write(name, salt) for name in [path, *further_files(node)]]
        found = {name: find_manifest(self.root / name) for name in node.inputs}
        manifest = Manifest(
            path,
            node.key,
            parts[0].sha256,
            parts[0].size,
            inputs=node.input_keys,
            input_digests={name: made.content_digest for name, made in found.items() if made},
            step=node.step,
            spec=plain(node.spec),
            sources=node.sources,
            files=node.files,
            versions=node.versions,
            parts=parts[1:],
            details={"salt": salt},
        )
        write_manifest(self.root, manifest)
        if isinstance(node.spec, AdoptSpec):
            for name in ("attribute-mine.tsv", "mine.txt"):
                self._write(f"results/toy/benchmarks/{name}", salt)
        for part in parts:
            self._stamp(f"{part.path}{SUFFIX}")

    def make_all(self) -> None:
        """Write all artefacts, inputs first."""
        for path in self.graph.nodes:
            self.make(path)

    def remake(self, path: str, salt: str) -> None:
        """Write an artefact and everything that is made from it again, with other bytes of the same sizes."""
        downstream = self.downstream(path)
        for name in self.graph.nodes:
            if name in downstream:
                self.make(name, salt)

    def _write(self, name: str, salt: str) -> Part:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink() or (path.exists() and path.stat().st_nlink > 1):
            path.unlink()  # a link to DVC's cache
        path.write_text(self.contents.get(name, f"{name} {salt:8}\n"))
        self._stamp(name)
        return Part(name, sha256(path), path.stat().st_size)

    def _stamp(self, name: str) -> None:
        os.utime(self.root / name, ns=(self.time, self.time))
        self.time += SECOND // 100

    def settle(self) -> set[str]:
        """Settle, and return the artefacts that are not current."""
        return self.graph.nodes.keys() - settle(self.graph)

    def asked(self) -> set[str]:
        """Return the artefacts that Snakemake would make, by its rule: an input is newer than the oldest output."""
        found: set[str] = set()
        for path, node in self.graph.nodes.items():
            rules = [([path, *further_files(node)], [key_path(path), *node.upstream])]
            if isinstance(node.spec, AdoptSpec):
                data = "results/toy/data/train.safetensors"
                rules = [
                    ([path], [data]),
                    ([f"{path}{SUFFIX}"], [key_path(path), path, *node.upstream]),
                ]
            if any(self._is_outdated(*rule) for rule in rules) or not found.isdisjoint(node.inputs):
                found.add(path)
        return found

    def _is_outdated(self, outputs: list[str], inputs: list[str]) -> bool:
        made = [time_as_output(self.root / name) for name in outputs if (self.root / name).exists()]
        read = [time_as_input(self.root / name) for name in inputs if (self.root / name).exists()]
        return not made or max(read, default=0) > min(made)

    def downstream(self, path: str) -> set[str]:
        """Return an artefact and everything that is made from it."""
        found = {path}
        for name, node in self.graph.nodes.items():
            if not found.isdisjoint(node.inputs):
                found.add(name)
        return found

    def files(self) -> dict[str, int]:
        """Return the whole second of the time of every file below results/."""
        return {
            path.relative_to(self.root).as_posix(): time_as_output(path) // SECOND
            for path in sorted((self.root / "results").rglob("*"))
            if path.is_file() and path.name != ".times"
        }


def planned_tree(root: Path, time: int) -> Tree:
    """Return the tree of a checkout; nothing is written."""
    return Tree(Plan(load_benchmark(root, {})).graph, time)


def moved_tree(tree: Tree, root: Path) -> Tree:
    """Return the same tree for a copy of the results folder below another root."""
    return Tree(replace(tree.graph, root=root), tree.time)
