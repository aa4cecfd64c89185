# Runs in MLflow, from the metrics files. The rule has no output, so it runs whenever it is asked for.
rule publish:
    input:
        metrics=PLAN.metrics_files(),
        targets=PLAN.targets(),
        galleries=PLAN.report_sections(),
    log:
        "logs/publish.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        # With --config, only the metrics of this run are published, and runs of other methods and settings stay.
        only=lambda wildcards, input: input.metrics if config else [],
    shell:
        "proponent publish {params.only:q} > {log:q} 2>&1"
