# A shard of ensemble members, trained in lockstep; their weights and checkpoints lie beside, in member-XXX/.
rule train:
    input:
        key=key_of("results/{setting}/ensemble/shard-{shard}.json"),
        upstream=inputs_of("results/{setting}/ensemble/shard-{shard}.json"),
    output:
        "results/{setting}/ensemble/shard-{shard}.json",
    log:
        "logs/{setting}/train-{shard}.log",
    benchmark:
        "results/{setting}/benchmarks/train-{shard}.tsv"
    conda:
        ENVIRONMENT
    threads: COMPUTE.threads
    resources:
        mem_mb=memory,
        runtime=minutes(120),
        gpu=GPU,
    shell:
        "proponent train {input.key:q} > {log:q} 2>&1"
