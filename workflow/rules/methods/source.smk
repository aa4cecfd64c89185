use rule attribute as source with:
    wildcard_constraints:
        method=methods_of("source"),
