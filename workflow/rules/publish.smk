# Runs in MLflow, from the metrics files. The rule has no output, so it runs whenever it is requested and updates the
# database.
rule publish:
    input:
        metrics=PLAN.metrics_files(),
        targets=PLAN.targets(),
    log:
        "logs/publish.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        # A run that is restricted by --config does not know the other methods and settings, so it leaves their runs
        # unchanged.
        only=lambda wildcards, input: input.metrics if config else [],
    shell:
        "proponent publish {params.only:q} > {log:q} 2>&1"
