use rule attribute as tracin with:
    wildcard_constraints:
        method=methods_of("tracin"),
