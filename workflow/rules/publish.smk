# Runs in MLflow from the metrics files. No output: whoever asks for it wants the database to show what is here now.
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
        # A run narrowed by --config knows nothing of other methods and settings, so it says nothing of them.
        only=lambda wildcards, input: input.metrics if config else [],
    shell:
        "proponent publish {params.only:q} > {log:q} 2>&1"
