use rule attribute as similarity with:
    wildcard_constraints:
        method=methods_of("similarity"),
