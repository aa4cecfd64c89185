use rule attribute as logra with:
    wildcard_constraints:
        method=methods_of("logra"),
