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
    shell:
        "proponent publish {input.metrics:q} > {log:q} 2>&1"
