# The benchmark's DAG: data -> ensemble -> ground truth and features -> scores -> metrics -> leaderboard and figures.
# What to run is in params.yaml; --config settings=[…] methods=[…] narrows it. See README.md.
from snakemake.utils import min_version

min_version("9.0")

# On this machine, jobs start without a limit per second. With Snakemake's default (100 per second), each round of the scheduler
# starts a timer that starts another round one second later, so rounds multiply while jobs wait for a core: XXX
# No value on the command line or in a profile turns the limit off. A cluster keeps that of its profile.
if workflow.scheduling_settings and workflow.resource_settings.nodes is None:
    workflow.scheduling_settings.max_jobs_per_timespan = None


include: "workflow/common.smk"


rule all:
    input:
        PLAN.targets(),


include: "workflow/rules/step.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/retrain.smk"
include: "workflow/rules/featurize.smk"
include: "workflow/rules/attribute.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/collect.smk"
include: "workflow/rules/publish.smk"


for family in METHOD_RULES:

    include: family
