# The leaderboard and the figures, from the metrics of all methods.
rule collect:
    input:
        key=key_of("results/leaderboard.csv"),
        upstream=inputs_of("results/leaderboard.csv"),
    output:
        leaderboard=report(
            "results/leaderboard.csv",
            caption="../report/leaderboard.rst",
            category="Leaderboard",
        ),
        comparisons=report(
            "results/comparisons.csv",
            caption="../report/comparisons.rst",
            category="Leaderboard",
        ),
        table="results/leaderboard.md",
    log:
        "logs/collect.log",
    benchmark:
        "results/benchmarks/collect.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: COMPUTE.threads
    resources:
        mem_mb=memory,
        runtime=minutes(10),
    shell:
        "proponent collect {input.key:q} > {log:q} 2>&1"


# A setting's metrics by method: what DVC shows and compares between revisions.
rule summary:
    input:
        key=key_of("results/summaries/{setting}.json"),
        upstream=inputs_of("results/summaries/{setting}.json"),
    output:
        "results/summaries/{setting}.json",
        "results/summaries/{setting}.csv",
    log:
        "logs/{setting}/summary.log",
    localrule: True
    conda:
        ENVIRONMENT
    threads: COMPUTE.threads
    resources:
        mem_mb=memory,
        runtime=minutes(10),
    shell:
        "proponent summary {input.key:q} > {log:q} 2>&1"


rule figures:
    input:
        key=key_of("results/figures/lds-{setting}.svg"),
        upstream=inputs_of("results/figures/lds-{setting}.svg"),
    output:
        lds=report(
            "results/figures/lds-{setting}.svg",
            caption="../report/lds.rst",
            category="{setting}",
        ),
        frontier=report(
            "results/figures/frontier-{setting}.svg",
            caption="../report/frontier.rst",
            category="{setting}",
        ),
        loss=report(
            "results/figures/loss-{setting}.svg",
            caption="../report/loss.rst",
            category="{setting}",
        ),
        proponents=report(
            "results/figures/proponents-{setting}.svg",
            caption="../report/proponents.rst",
            category="{setting}",
        ),
    log:
        "logs/{setting}/figures.log",
    benchmark:
        "results/{setting}/benchmarks/figures.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: COMPUTE.threads
    resources:
        mem_mb=memory,
        runtime=minutes(10),
    shell:
        "proponent figures {input.key:q} > {log:q} 2>&1"


rule overview:
    input:
        key=key_of("results/figures/overview.svg"),
        upstream=inputs_of("results/figures/overview.svg"),
    output:
        report(
            "results/figures/overview.svg",
            caption="../report/overview.rst",
            category="Leaderboard",
        ),
    log:
        "logs/overview.log",
    benchmark:
        "results/benchmarks/overview.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: COMPUTE.threads
    resources:
        mem_mb=memory,
        runtime=minutes(10),
    shell:
        "proponent overview {input.key:q} > {log:q} 2>&1"
