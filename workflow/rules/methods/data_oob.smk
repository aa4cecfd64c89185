use rule attribute as data_oob with:
    wildcard_constraints:
        method=methods_of("data_oob"),
