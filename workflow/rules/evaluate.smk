# One method on one setting: every metric that the setting's ground truth allows, with intervals and costs.
rule evaluate:
    input:
        key=key_of("results/{setting}/metrics/{method}.json"),
        upstream=inputs_of("results/{setting}/metrics/{method}.json"),
    output:
        "results/{setting}/metrics/{method}.json",
    log:
        "logs/{setting}/evaluate-{method}.log",
    benchmark:
        "results/{setting}/benchmarks/evaluate-{method}.tsv"
    localrule: EVALUATES_HERE
    conda:
        ENVIRONMENT
    threads: COMPUTE.threads
    resources:
        mem_mb=memory,
        runtime=minutes(30),
    shell:
        "proponent evaluate {input.key:q} > {log:q} 2>&1"
