"""Resources, groups and benchmark files that the rules declare, read from Snakemake itself.

Snakemake has no public interface to a rule's resources and group before a DAG with an executor exists, so this module,
alone in the project, reads private attributes: ``WorkflowApi._workflow``, ``Rule._group`` and ``Workflow._localrules``.
``proponent plan`` and its tests fail visibly if a release renames them; pyproject.toml pins the major version.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proponent.errors import UserError
from proponent.inspection.forecast import Resources
from proponent.inspection.reported_jobs import family_of
from proponent.plan.graph import Node
from proponent.plan.run_plan import Plan


@dataclass
class Workflow:
    """The contents of a Snakefile: the plan that it made, and its rules."""

    plan: Plan
    _rules: dict[str, Any]
    """Snakemake's rule objects, by name."""

    def rule_of(self, node: Node) -> str:
        """Return the name of the rule that makes an artefact.

        Raises:
            UserError: no rule makes it.
        """
        name = family_of(node) if node.step == "attribute" else node.step
        if name in self._rules and self._rules[name].is_producer(node.path):
            return name
        for rule in self._rules.values():
            if rule.is_producer(node.path):
                return str(rule.name)
        raise UserError(f"{node.path}: no rule makes it; add one in workflow/rules/methods/")

    def resources(self, node: Node) -> Resources:
        """Return the resources that a job's rule declares for its first attempt."""
        rule = self._rules[self.rule_of(node)]
        wildcards = self._wildcards(node)
        declared = rule.expand_resources(wildcards, list(node.inputs), 1)
        return Resources(
            threads=int(declared["_cores"]),
            mem_mb=int(declared.get("mem_mb", 0)),
            runtime=int(declared.get("runtime", 0)),
            gpu=int(declared.get("gpu", 0)),
            local=rule._group is None and rule.name in rule.workflow._localrules,
            group=rule._group,  # The property rule.group is None unless an executor was chosen.
        )

    def benchmark_of(self, node: Node) -> str | None:
        """Return the path of Snakemake's own measurement of a job, or None if its rule has none."""
        rule = self._rules[self.rule_of(node)]
        return None if rule.benchmark is None else str(rule.benchmark.apply_wildcards(self._wildcards(node)))

    def _wildcards(self, node: Node) -> Any:
        from snakemake.iocontainers import Wildcards

        return Wildcards(fromdict=self._rules[self.rule_of(node)].get_wildcards(node.path))


def read_workflow(root: Path, config: Sequence[str] = ()) -> Workflow:
    """Read the Snakefile as ``snakemake -n --config …`` does, without starting a job.

    Args:
        root: the checkout.
        config: items ``name=value``, as for ``--config``.

    Raises:
        UserError: there is no Snakefile, or Snakemake cannot read it.
    """
    if not (root / "Snakefile").exists():
        raise UserError("no Snakefile in this folder; run this from the root of a proponent checkout")
    from snakemake.api import SnakemakeApi
    from snakemake.exceptions import WorkflowError
    from snakemake.settings.enums import Quietness
    from snakemake.settings.types import ConfigSettings, OutputSettings, ResourceSettings

    output = OutputSettings(dryrun=True, quiet={Quietness.ALL}, enable_file_logging=False)
    with SnakemakeApi(output) as api:
        parsed = api.workflow(
            resource_settings=ResourceSettings(cores=sys.maxsize),
            config_settings=ConfigSettings(config_args=list(config)),
            snakefile=root / "Snakefile",
            workdir=root,
        )
        try:
            workflow = parsed._workflow
        except WorkflowError as error:
            raise UserError(f"Snakefile: {' '.join(str(error).split())}") from error
        return Workflow(workflow.globals["PLAN"], {rule.name: rule for rule in workflow.rules})
