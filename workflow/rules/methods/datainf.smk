use rule attribute as datainf with:
    wildcard_constraints:
        method=methods_of("datainf"),
