use rule attribute as difference with:
    wildcard_constraints:
        method=methods_of("difference"),
