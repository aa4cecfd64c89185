# results/S/scores/{members,shuffled_weights,shuffled_labels}/: scores of a method for other models, which the metrics `stability`,
# `randomisation` and `label-randomisation` compare with its own scores; and what they are made from.
use rule step as shuffle with:
    input:
        key=key_of("results/{setting}/ensemble/shuffled_weights/shard-{shard}.json"),
        upstream=inputs_of(
            "results/{setting}/ensemble/shuffled_weights/shard-{shard}.json"
        ),
    output:
        "results/{setting}/ensemble/shuffled_weights/shard-{shard}.json",
    log:
        "logs/{setting}/shuffle-{shard}.log",
    params:
        step="shuffle",


use rule step as shuffle_labels with:
    input:
        key=key_of("results/{setting}/data/shuffled_labels/train.safetensors"),
        upstream=inputs_of("results/{setting}/data/shuffled_labels/train.safetensors"),
    output:
        "results/{setting}/data/shuffled_labels/train.safetensors",
    log:
        "logs/{setting}/shuffle-labels.log",
    params:
        step="shuffle-labels",


use rule train as train_on_shuffled_labels with:
    input:
        key=key_of("results/{setting}/ensemble/shuffled_labels/shard-{shard}.json"),
        upstream=inputs_of(
            "results/{setting}/ensemble/shuffled_labels/shard-{shard}.json"
        ),
        check=check_before(
            "results/{setting}/ensemble/shuffled_labels/shard-{shard}.json"
        ),
    output:
        "results/{setting}/ensemble/shuffled_labels/shard-{shard}.json",
    log:
        "logs/{setting}/train-shuffled-labels-{shard}.log",


use rule featurize as featurize_changed with:
    input:
        key=key_of("results/{setting}/features/{what}/{kind}-{shard}.safetensors"),
        upstream=inputs_of(
            "results/{setting}/features/{what}/{kind}-{shard}.safetensors"
        ),
        check=check_before(
            "results/{setting}/features/{what}/{kind}-{shard}.safetensors"
        ),
    output:
        "results/{setting}/features/{what}/{kind}-{shard}.safetensors",
    log:
        "logs/{setting}/featurize-{what}-{kind}-{shard}.log",
    wildcard_constraints:
        what="shuffled_weights|shuffled_labels",


use rule step as repeat with:
    input:
        key=key_of("results/{setting}/scores/{what}/{method}.safetensors"),
        upstream=inputs_of("results/{setting}/scores/{what}/{method}.safetensors"),
        check=check_before("results/{setting}/scores/{what}/{method}.safetensors"),
    output:
        "results/{setting}/scores/{what}/{method}.safetensors",
    log:
        "logs/{setting}/repeat-{what}-{method}.log",
    wildcard_constraints:
        what="members|shuffled_weights|shuffled_labels",
    # As for the methods themselves, several of them can share one job on a cluster.
    group:
        "methods"
    resources:
        mem_mb=memory,
        runtime=minutes(120),
        gpu=GPU,
    params:
        step="repeat",
