# Ground truth: the model retrained on subsets of the data, a shard a job, and the shards of a design merged.
rule retrain:
    input:
        key=key_of("results/{setting}/ground_truth/shards/{design}-{shard}.safetensors"),
        upstream=inputs_of(
            "results/{setting}/ground_truth/shards/{design}-{shard}.safetensors"
        ),
    output:
        "results/{setting}/ground_truth/shards/{design}-{shard}.safetensors",
    log:
        "logs/{setting}/retrain-{design}-{shard}.log",
    benchmark:
        "results/{setting}/benchmarks/retrain-{design}-{shard}.tsv"
    conda:
        ENVIRONMENT
    threads: COMPUTE.threads
    resources:
        mem_mb=memory,
        runtime=minutes(240),
        gpu=GPU,
    shell:
        "proponent retrain {input.key:q} > {log:q} 2>&1"


rule ground_truth:
    input:
        key=key_of("results/{setting}/ground_truth/{design}.safetensors"),
        upstream=inputs_of("results/{setting}/ground_truth/{design}.safetensors"),
    output:
        "results/{setting}/ground_truth/{design}.safetensors",
    log:
        "logs/{setting}/ground_truth-{design}.log",
    benchmark:
        "results/{setting}/benchmarks/ground_truth-{design}.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: COMPUTE.threads
    resources:
        mem_mb=memory,
        runtime=minutes(10),
    shell:
        "proponent ground-truth {input.key:q} > {log:q} 2>&1"
