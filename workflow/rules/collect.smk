# results/S/leaderboard/ and results/summaries/: the leaderboard of one setting, from the metrics of its methods, and the values
# per method in the form that is compared between revisions.
use rule step as summary with:
    input:
        key=key_of("results/summaries/{setting}.json"),
        upstream=inputs_of("results/summaries/{setting}.json"),
    output:
        "results/summaries/{setting}.json",
        "results/summaries/{setting}.csv",
        "results/{setting}/leaderboard/ranking.json",
        "results/{setting}/leaderboard/comparisons.csv",
    log:
        "logs/{setting}/summary.log",
    localrule: True
    params:
        step="summary",


# `snakemake quickstart`: the leaderboard of the first setting in params.yaml and nothing else. The rule has no output, so it runs
# whenever it is asked for, and the table is shown (by the logger plugin) even if there was nothing to do.
rule quickstart:
    input:
        PLAN.first_summary(),
    log:
        "logs/quickstart.log",
    localrule: True
    conda:
        ENVIRONMENT
    shell:
        "true > {log:q} 2>&1"


# results/figures/: the figures of one setting.
use rule step as figures with:
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
    localrule: True
    params:
        step="figures",


# results/leaderboard.csv, leaderboard.md and comparisons.csv: all methods on all settings, from the summaries of the settings.
use rule step as collect with:
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
    localrule: True
    params:
        step="collect",


# results/figures/overview.svg: the figure that compares the settings.
use rule step as overview with:
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
    localrule: True
    params:
        step="overview",
