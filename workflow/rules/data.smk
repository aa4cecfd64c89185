# A setting's dataset as tensors: train and query rows, and the mask of corrupted labels where there is one.
rule data:
    input:
        key=key_of("results/{setting}/data/train.safetensors"),
        upstream=inputs_of("results/{setting}/data/train.safetensors"),
    output:
        train="results/{setting}/data/train.safetensors",
        query="results/{setting}/data/query.safetensors",
    log:
        "logs/{setting}/data.log",
    benchmark:
        "results/{setting}/benchmarks/data.tsv"
    conda:
        ENVIRONMENT
    threads: COMPUTE.threads
    resources:
        mem_mb=memory,
        runtime=minutes(10),
    shell:
        "proponent data {input.key:q} > {log:q} 2>&1"
