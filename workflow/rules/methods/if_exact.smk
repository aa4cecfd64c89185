use rule attribute as if_exact with:
    wildcard_constraints:
        method=methods_of("if_exact"),
