use rule attribute as trackstar with:
    wildcard_constraints:
        method=methods_of("trackstar"),
