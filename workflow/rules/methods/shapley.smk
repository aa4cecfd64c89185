use rule attribute as shapley with:
    wildcard_constraints:
        method=methods_of("shapley"),
