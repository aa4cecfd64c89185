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


# results/S/leaderboard/agreement.csv: the rank correlations between the scores of all methods of a setting.
use rule step as correlate with:
    input:
        key=key_of("results/{setting}/leaderboard/agreement.csv"),
        upstream=inputs_of("results/{setting}/leaderboard/agreement.csv"),
    output:
        "results/{setting}/leaderboard/agreement.csv",
    log:
        "logs/{setting}/correlate.log",
    resources:
        mem_mb=memory,
        runtime=minutes(30),
    params:
        step="correlate",
