# The template of every attribution rule: methods/<family>.smk uses it for the methods of one family. Makes nothing itself.
rule attribute:
    input:
        key=key_of("results/{setting}/scores/{method}.safetensors"),
        upstream=inputs_of("results/{setting}/scores/{method}.safetensors"),
    output:
        scores="results/{setting}/scores/{method}.safetensors",
    log:
        "logs/{setting}/attribute-{method}.log",
    benchmark:
        "results/{setting}/benchmarks/attribute-{method}.tsv"
    wildcard_constraints:
        method="(?!)",
    # On a cluster, so many of them share a job as the profile's group-components says.
    group:
        "methods"
    conda:
        ENVIRONMENT
    threads: COMPUTE.threads
    resources:
        mem_mb=memory,
        runtime=minutes(120),
        gpu=GPU,
    shell:
        "proponent attribute {input.key:q} > {log:q} 2>&1"


# The record of scores that a rule of the user's own made (family: external). The rule itself knows nothing of manifests.
rule adopt:
    input:
        key=key_of("results/{setting}/scores/{method}.safetensors"),
        scores="results/{setting}/scores/{method}.safetensors",
        upstream=inputs_of("results/{setting}/scores/{method}.safetensors"),
    output:
        "results/{setting}/scores/{method}.safetensors.manifest.json",
    log:
        "logs/{setting}/adopt-{method}.log",
    wildcard_constraints:
        method=methods_of("external"),
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=memory,
        runtime=minutes(10),
    shell:
        "proponent adopt {input.key:q} > {log:q} 2>&1"
