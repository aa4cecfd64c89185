use rule attribute as dualda with:
    wildcard_constraints:
        method=methods_of("dualda"),
