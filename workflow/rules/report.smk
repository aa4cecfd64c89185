# results/S/report/: heat maps of the strongest examples, and clusters of training examples.
use rule step as explain_gallery with:
    input:
        key=key_of("results/{setting}/report/explanations.safetensors"),
        upstream=inputs_of("results/{setting}/report/explanations.safetensors"),
    output:
        "results/{setting}/report/explanations.safetensors",
    log:
        "logs/{setting}/explain_gallery.log",
    resources:
        mem_mb=memory,
        runtime=minutes(30),
        gpu=GPU,
    params:
        step="explain-gallery",


# results/S/report/: what the report shows of one setting, with each chart as SVG and CSV.
use rule step as report_section with:
    input:
        key=key_of("results/{setting}/report/section.json"),
        upstream=inputs_of("results/{setting}/report/section.json"),
    output:
        "results/{setting}/report/section.json",
    log:
        "logs/{setting}/report.log",
    localrule: True
    params:
        step="report-section",


# results/report/index.html: one page of all settings, without references to other files.
use rule step as report with:
    input:
        key=key_of("results/report/index.html"),
        upstream=inputs_of("results/report/index.html"),
    output:
        "results/report/index.html",
    log:
        "logs/report.log",
    localrule: True
    params:
        step="report",
