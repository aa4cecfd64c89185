# results/S/ensemble/: a shard of ensemble members, trained in lockstep. The output lists the weights and checkpoints of the
# shard, which are in member-XXX/ next to it.
use rule step as train with:
    input:
        key=key_of("results/{setting}/ensemble/shard-{shard}.json"),
        upstream=inputs_of("results/{setting}/ensemble/shard-{shard}.json"),
        check=check_before("results/{setting}/ensemble/shard-{shard}.json"),
    output:
        "results/{setting}/ensemble/shard-{shard}.json",
    log:
        "logs/{setting}/train-{shard}.log",
    wildcard_constraints:
        setting=settings_by("recipe"),
    priority: awaited_first
    resources:
        mem_mb=memory,
        runtime=minutes(120),
        gpu=GPU,
    params:
        step="train",


# The same for models that were trained elsewhere (ensemble.files): copies under the names of the setting's model.
use rule step as adopt_models with:
    input:
        key=key_of("results/{setting}/ensemble/shard-{shard}.json"),
        upstream=inputs_of("results/{setting}/ensemble/shard-{shard}.json"),
    output:
        "results/{setting}/ensemble/shard-{shard}.json",
    log:
        "logs/{setting}/adopt_models-{shard}.log",
    wildcard_constraints:
        setting=settings_by("files"),
    params:
        step="adopt-models",


# The same by a training script of the user's own (training.command), one process per member.
use rule train as train_script with:
    wildcard_constraints:
        setting=settings_by("command"),
    params:
        step="train-script",
