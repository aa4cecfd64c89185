use rule attribute as lava with:
    wildcard_constraints:
        method=methods_of("lava"),
