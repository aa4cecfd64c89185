use rule attribute as noise with:
    wildcard_constraints:
        method=methods_of("noise"),
