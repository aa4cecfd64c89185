use rule attribute as if_arnoldi with:
    wildcard_constraints:
        method=methods_of("if_arnoldi"),
