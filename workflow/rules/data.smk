# results/S/data/: the dataset of a setting as tensors, for training and for queries, and the mask of corrupted labels if any.
use rule step as data with:
    input:
        key=key_of("results/{setting}/data/train.safetensors"),
        upstream=inputs_of("results/{setting}/data/train.safetensors"),
    output:
        train="results/{setting}/data/train.safetensors",
        query="results/{setting}/data/query.safetensors",
    log:
        "logs/{setting}/data.log",
    params:
        step="data",
