# results/S/metrics/: every metric that the ground truth of a setting allows, for one method, with intervals and costs.
use rule step as evaluate with:
    input:
        key=key_of("results/{setting}/metrics/{method}.json"),
        upstream=inputs_of("results/{setting}/metrics/{method}.json"),
    output:
        "results/{setting}/metrics/{method}.json",
    log:
        "logs/{setting}/evaluate-{method}.log",
    localrule: PLAN.evaluates_locally()
    resources:
        mem_mb=memory,
        runtime=minutes(30),
    params:
        step="evaluate",
