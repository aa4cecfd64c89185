use rule attribute as source_adam with:
    wildcard_constraints:
        method=methods_of("source_adam"),
