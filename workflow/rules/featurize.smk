# results/S/features/: inputs of attribution methods, computed from a shard of ensemble members: gradients, outputs or
# representations at the checkpoints.
use rule step as featurize with:
    input:
        key=key_of("results/{setting}/features/{kind}-{shard}.safetensors"),
        upstream=inputs_of("results/{setting}/features/{kind}-{shard}.safetensors"),
        check=check_before("results/{setting}/features/{kind}-{shard}.safetensors"),
    output:
        "results/{setting}/features/{kind}-{shard}.safetensors",
    log:
        "logs/{setting}/featurize-{kind}-{shard}.log",
    priority: awaited_first
    resources:
        mem_mb=memory,
        runtime=minutes(60),
        gpu=GPU,
    params:
        step="featurize",
