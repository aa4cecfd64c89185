# results/S/ground_truth/: the model of a setting retrained on subsets of the data. One job retrains a shard of a design's
# subsets in lockstep, and another merges the shards of the design.
use rule step as retrain with:
    input:
        key=key_of("results/{setting}/ground_truth/shards/{design}-{shard}.safetensors"),
        upstream=inputs_of(
            "results/{setting}/ground_truth/shards/{design}-{shard}.safetensors"
        ),
        check=check_before(
            "results/{setting}/ground_truth/shards/{design}-{shard}.safetensors"
        ),
    output:
        "results/{setting}/ground_truth/shards/{design}-{shard}.safetensors",
    log:
        "logs/{setting}/retrain-{design}-{shard}.log",
    wildcard_constraints:
        setting=settings_by("recipe"),
    priority: tuning_first
    resources:
        mem_mb=memory,
        runtime=minutes(240),
        gpu=GPU,
    params:
        step="retrain",


# The same by a training script of the user's own (training.command), one process per model.
use rule retrain as retrain_script with:
    wildcard_constraints:
        setting=settings_by("command"),
    params:
        step="retrain-script",


use rule step as ground_truth with:
    input:
        key=key_of("results/{setting}/ground_truth/{design}.safetensors"),
        upstream=inputs_of("results/{setting}/ground_truth/{design}.safetensors"),
    output:
        "results/{setting}/ground_truth/{design}.safetensors",
    log:
        "logs/{setting}/ground_truth-{design}.log",
    localrule: True
    params:
        step="ground-truth",


# results/S/ground_truth/derived/: masks that a metric derives from a method's scores or from the data, and the retrainings on them.
use rule step as derive_masks with:
    input:
        key=key_of(
            "results/{setting}/ground_truth/derived/{metric}/masks/{method}.safetensors"
        ),
        upstream=inputs_of(
            "results/{setting}/ground_truth/derived/{metric}/masks/{method}.safetensors"
        ),
    output:
        "results/{setting}/ground_truth/derived/{metric}/masks/{method}.safetensors",
    log:
        "logs/{setting}/derive_masks-{metric}-{method}.log",
    localrule: True
    params:
        step="derive-masks",


use rule step as retrain_masks with:
    input:
        key=key_of(
            "results/{setting}/ground_truth/derived/{metric}/shards/{method}-{shard}.safetensors"
        ),
        upstream=inputs_of(
            "results/{setting}/ground_truth/derived/{metric}/shards/{method}-{shard}.safetensors"
        ),
        check=check_before(
            "results/{setting}/ground_truth/derived/{metric}/shards/{method}-{shard}.safetensors"
        ),
    output:
        "results/{setting}/ground_truth/derived/{metric}/shards/{method}-{shard}.safetensors",
    log:
        "logs/{setting}/retrain_masks-{metric}-{method}-{shard}.log",
    resources:
        mem_mb=memory,
        runtime=minutes(240),
        gpu=GPU,
    params:
        step="retrain-masks",


# One optimiser step of trained members on the strongest proponents of queries, or on the examples of controls.
use rule step as patch_models with:
    input:
        key=key_of(
            "results/{setting}/ground_truth/derived/{metric}/patches/{method}.safetensors"
        ),
        upstream=inputs_of(
            "results/{setting}/ground_truth/derived/{metric}/patches/{method}.safetensors"
        ),
        check=check_before(
            "results/{setting}/ground_truth/derived/{metric}/patches/{method}.safetensors"
        ),
    output:
        "results/{setting}/ground_truth/derived/{metric}/patches/{method}.safetensors",
    log:
        "logs/{setting}/patch_models-{metric}-{method}.log",
    resources:
        mem_mb=memory,
        runtime=minutes(60),
        gpu=GPU,
    params:
        step="patch-models",


# Bisection for the smallest number of examples whose removal changes a prediction.
use rule retrain_masks as search_removal with:
    input:
        key=key_of(
            "results/{setting}/ground_truth/derived/{metric}/searches/{method}-{shard}.safetensors"
        ),
        upstream=inputs_of(
            "results/{setting}/ground_truth/derived/{metric}/searches/{method}-{shard}.safetensors"
        ),
        check=check_before(
            "results/{setting}/ground_truth/derived/{metric}/searches/{method}-{shard}.safetensors"
        ),
    output:
        "results/{setting}/ground_truth/derived/{metric}/searches/{method}-{shard}.safetensors",
    log:
        "logs/{setting}/search_removal-{metric}-{method}-{shard}.log",
    params:
        step="search-removal",
