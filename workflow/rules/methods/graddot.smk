use rule attribute as graddot with:
    wildcard_constraints:
        method=methods_of("graddot"),
