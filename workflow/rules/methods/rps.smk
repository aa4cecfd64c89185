use rule attribute as rps with:
    wildcard_constraints:
        method=methods_of("rps"),
