# The template of every attribution rule. The files methods/<kind>.smk use it, once per method module; it makes
# nothing itself. Their outputs are results/{setting}/scores/{method}.safetensors.
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
    # On a cluster, several methods share a job; group-components in the profile sets their number.
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
