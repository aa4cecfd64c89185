"""Times of further outputs of the user's own rules, which no manifest lists."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from proponent.config.specifications.method_specs import AdoptSpec
from proponent.plan.run_plan import Plan
from proponent.store.file_times import set_time, time_as_output


def settle_own_rules(plan: Plan, rules: Iterable[Any]) -> None:
    """Make every output of a rule, and its benchmark file, at least as new as the current scores that it made.

    Snakemake compares the oldest output of a rule with its inputs. Settling has put the scores in order, but knows nothing
    of other files that the same rule writes.

    Args:
        plan: the plan, after settling.
        rules: all rules of the workflow, Snakemake's own objects.

    Raises:
        UserError: a file is of another user, has to get another time, and its folder is not writable.
    """
    external = [path for path in plan.unaffected if isinstance(plan.graph.nodes[path].spec, AdoptSpec)]
    for rule in rules if external else ():
        for scores in filter(rule.is_producer, external):
            wildcards = rule.get_wildcards(scores)
            outputs = [*rule.output, *([rule.benchmark] if rule.benchmark else [])]
            own = time_as_output(plan.graph.root / scores)
            for output in outputs:
                path = plan.graph.root / str(output.apply_wildcards(wildcards))
                if path.exists() and time_as_output(path) < own:
                    set_time(path, own)
