use rule attribute as less with:
    wildcard_constraints:
        method=methods_of("less"),
