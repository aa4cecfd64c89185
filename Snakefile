# The benchmark's DAG: data -> ensemble -> ground truth and features -> scores -> metrics -> leaderboard and figures.
# What to run is in params.yaml; --config settings=[…] methods=[…] narrows it. See README.md.
from snakemake.utils import min_version

min_version("9.0")


include: "workflow/common.smk"


onstart:
    if workflow.is_main_process:
        fork_local_jobs(workflow, COMPUTE)


onerror:
    # Cluster jobs read this file too, and must not make tables.
    if workflow.is_main_process:
        finish_failed_run(PLAN, workflow, logger)


rule all:
    input:
        PLAN.targets(),


include: "workflow/rules/step.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/check.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/retrain.smk"
include: "workflow/rules/featurize.smk"
include: "workflow/rules/attribute.smk"
include: "workflow/rules/repeat.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/collect.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/publish.smk"


for family in METHOD_RULES:

    include: family


# Now that the rules are known.
settle_own_rules(PLAN, workflow.rules)
