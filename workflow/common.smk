# Keys, paths and helper functions: nothing else. All of them use PLAN, which is made here, once per run.
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
    """Return the key file of an artefact: the input that decides when the artefact must be made again."""
    return lambda wildcards: PLAN.key_file(artefact.format(**wildcards))


def inputs_of(artefact):
    """Return the artefacts from which an artefact is made."""
    return lambda wildcards: PLAN.inputs(artefact.format(**wildcards))


def methods_of(family):
    """Return a wildcard constraint that matches the configured methods of a family."""
    return PLAN.methods_of(family)


def minutes(estimate):
    """Return the run time to request: an estimate in minutes, doubled with every attempt."""
    return lambda wildcards, attempt: estimate * 2 ** (attempt - 1)


def memory(wildcards, attempt):
    """Return the memory to request, in MB: `memory_mib` plus the interpreter with torch, doubled with every attempt."""
    return (COMPUTE.memory_mib + 1000) * 2 ** (attempt - 1)


GPU = int(COMPUTE.device != "cpu")

EVALUATES_HERE = PLAN.evaluates_locally()
