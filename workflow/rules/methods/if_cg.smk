use rule attribute as if_cg with:
    wildcard_constraints:
        method=methods_of("if_cg"),
