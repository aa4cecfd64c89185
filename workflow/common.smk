# Keys, paths and helper functions: nothing else. All of them ask PLAN, which is made here, once a run.
import sys
from pathlib import Path

ROOT = Path(workflow.basedir)
sys.path[:0] = [str(ROOT / "src")]

from proponent.plan import start

PLAN = start(
    root=ROOT,
    overrides=config,
    is_controller=workflow.is_main_process,
    is_dry_run=workflow.output_settings.dryrun,
)
COMPUTE = PLAN.benchmark.config.compute
ENVIRONMENT = str(ROOT / "workflow/envs/proponent.yaml")
METHOD_RULES = sorted(
    str(path) for path in (ROOT / "workflow/rules/methods").glob("*.smk")
)


wildcard_constraints:
    setting=r"[\w.-]+",
    method=r"[\w.-]+",
    design=r"\w+",
    kind=r"[a-z]+",
    shard=r"\d+",


def key_of(artefact):
    """The key file of an artefact: the input that says when it must be made again."""
    return lambda wildcards: PLAN.key_file(artefact.format(**wildcards))


def inputs_of(artefact):
    """The artefacts that an artefact is made from."""
    return lambda wildcards: PLAN.inputs(artefact.format(**wildcards))


def methods_of(family):
    """A wildcard constraint that fits the configured methods of a family."""
    return PLAN.methods_of(family)


def minutes(estimate):
    """Run time to ask for: an estimate in minutes, doubled at every attempt."""
    return lambda wildcards, attempt: estimate * 2 ** (attempt - 1)


def memory(wildcards, attempt):
    """Memory to ask for, in MB: what a job may plan for and the interpreter with torch, doubled at every attempt."""
    return (COMPUTE.memory_mib + 1000) * 2 ** (attempt - 1)


GPU = int(COMPUTE.device != "cpu")

EVALUATES_HERE = PLAN.evaluates_locally()
