# What methods need from the members of a shard: gradients, outputs or representations along training.
rule featurize:
    input:
        key=key_of("results/{setting}/features/{kind}-{shard}.safetensors"),
        upstream=inputs_of("results/{setting}/features/{kind}-{shard}.safetensors"),
    output:
        "results/{setting}/features/{kind}-{shard}.safetensors",
    log:
        "logs/{setting}/featurize-{kind}-{shard}.log",
    benchmark:
        "results/{setting}/benchmarks/featurize-{kind}-{shard}.tsv"
    conda:
        ENVIRONMENT
    threads: COMPUTE.threads
    resources:
        mem_mb=memory,
        runtime=minutes(60),
        gpu=GPU,
    shell:
        "proponent featurize {input.key:q} > {log:q} 2>&1"
