use rule attribute as tracin_we with:
    wildcard_constraints:
        method=methods_of("tracin_we"),
