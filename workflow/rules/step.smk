# Everything that the steps of the chain have in common. This rule makes nothing itself: the rules of the other files inherit it,
# and add inputs, outputs and, where ten minutes on the CPU do not suffice, resources.
rule step:
    log:
        "logs/step.log",
    priority: settings_in_order
    conda:
        ENVIRONMENT
    threads: COMPUTE.threads
    resources:
        mem_mb=memory,
        runtime=minutes(10),
    shell:
        # In a subshell, so that the log also has what the shell reports about a process that was killed.
        "(proponent {params.step} {input.key:q} || proponent failed {input.key:q} $? {log:q}) > {log:q} 2>&1"
