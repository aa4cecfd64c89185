# results/S/check.json: the check of a setting's model on its data, and of what its methods need. Everything that trains or uses
# the model waits for it, but is not made again because of it; see check_before in common.smk.
use rule step as check with:
    input:
        key=key_of("results/{setting}/check.json"),
        upstream=inputs_of("results/{setting}/check.json"),
    output:
        "results/{setting}/check.json",
    log:
        "logs/{setting}/check.log",
    resources:
        mem_mb=memory,
        runtime=minutes(30),
        gpu=GPU,
    params:
        step="check",
