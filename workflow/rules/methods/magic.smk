use rule attribute as magic with:
    wildcard_constraints:
        method=methods_of("magic"),
