use rule attribute as ekfac with:
    wildcard_constraints:
        method=methods_of("ekfac"),
