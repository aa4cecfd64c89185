# results/S/scores/: scores of attribution methods. This rule makes nothing itself: methods/<kind>.smk inherits it for the methods
# of a kind.
use rule step as attribute with:
    input:
        key=key_of("results/{setting}/scores/{method}.safetensors"),
        upstream=inputs_of("results/{setting}/scores/{method}.safetensors"),
        check=check_before("results/{setting}/scores/{method}.safetensors"),
    output:
        scores="results/{setting}/scores/{method}.safetensors",
    log:
        "logs/{setting}/attribute-{method}.log",
    wildcard_constraints:
        method="(?!)",
    # On a cluster, several attributions can share one job: as many as group-components in the profile says, 1 by default.
    group:
        "methods"
    resources:
        mem_mb=memory,
        runtime=minutes(120),
        gpu=GPU,
    params:
        step="attribute",


# The manifest of scores that a user's own rule made (family: external), which itself knows nothing of manifests.
use rule step as adopt with:
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
    params:
        step="adopt",
