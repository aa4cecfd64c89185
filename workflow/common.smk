# Keys, paths and helper functions: nothing else. All of them ask PLAN, which is made here, once per run.
import sys
from pathlib import Path

ROOT = Path(workflow.basedir)
sys.path[:0] = [str(ROOT / "src")]

from proponent.checkout_location import stop_if_unusable

# Before the other imports, which a module in the root breaks if it has the name of an installed one.
stop_if_unusable(ROOT)

from proponent.config.flags import Flags
from proponent.fork_server.start import fork_local_jobs
from proponent.inspection.failed_run import finish_failed_run
from proponent.plan import start
from proponent.plan.charges import TUNED_ON
from proponent.plan.exit_timers import cancel_timers_at_exit
from proponent.plan.local_jobs import job_memory_mb, limit_local_jobs
from proponent.plan.own_rules import settle_own_rules

PLAN = start(
    root=ROOT,
    flags=Flags(
        files=workflow.config_settings.configfiles,
        entries=workflow.config_settings.config_args,
        parsed=config,
    ),
    is_controller=workflow.is_main_process,
    is_dry_run=workflow.output_settings.dryrun,
)
cancel_timers_at_exit()
COMPUTE = PLAN.benchmark.config.compute
if workflow.is_main_process and not workflow.output_settings.dryrun:
    limit_local_jobs(workflow, COMPUTE.memory_mib)
ENVIRONMENT = str(ROOT / "workflow/envs/proponent.yaml")
METHOD_RULES = sorted(
    str(path) for path in (ROOT / "workflow/rules/methods").glob("*.smk")
)


wildcard_constraints:
    setting=r"[\w.-]+",
    method=r"[\w.-]+",
    design=r"[\w.-]+",
    metric=r"[\w.-]+",
    kind=r"[a-z]+",
    shard=r"\d+",


def key_of(artefact):
    """The key file of an artefact: the input that decides whether it must be made again."""
    return lambda wildcards: PLAN.key_file(artefact.format(**wildcards))


def inputs_of(artefact):
    """The artefacts that an artefact is made from."""
    return lambda wildcards: PLAN.inputs(artefact.format(**wildcards))


def check_before(artefact):
    """The check of the setting, where the artefact must be made. A current artefact does not wait for it: otherwise a new
    check would make it again, and with `ancient` Snakemake overlooks stale artefacts downstream of a stale one.
    """
    return lambda wildcards: PLAN.check_before(artefact.format(**wildcards))


def methods_of(family):
    """A wildcard constraint that fits the configured methods of a family."""
    return PLAN.methods_of(family)


def settings_by(way):
    """A wildcard constraint that fits the configured settings whose models are trained in one way: recipe, command or files."""
    return PLAN.settings_by(way)


def settings_in_order(wildcards):
    """Priority of a job: settings are finished in the order of params.yaml, so that the first leaderboard is soon complete."""
    settings = list(PLAN.benchmark.settings)
    return (
        2 * (len(settings) - settings.index(wildcards.setting))
        if "setting" in wildcards.keys()
        else 0
    )


def awaited_first(wildcards):
    """Priority of a job that methods wait for: before other retrainings, so that at the end no method runs alone."""
    return settings_in_order(wildcards) + 1


def tuning_first(wildcards):
    """Priority of retrainings: methods wait for those that choose hyper-parameters."""
    return (awaited_first if wildcards.design == TUNED_ON else settings_in_order)(
        wildcards
    )


def minutes(estimate):
    """Run time to ask for: an estimate in minutes, doubled at every attempt."""
    return lambda wildcards, attempt: estimate * 2 ** (attempt - 1)


def memory(wildcards, attempt):
    """Memory to ask for, in MB: compute.memory_mib and 1000 MB for the interpreter with torch, doubled at every attempt."""
    return job_memory_mb(COMPUTE.memory_mib) * 2 ** (attempt - 1)


GPU = int(COMPUTE.device != "cpu")
