use rule attribute as if_lissa with:
    wildcard_constraints:
        method=methods_of("if_lissa"),
