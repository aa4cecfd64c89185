use rule attribute as same_label with:
    wildcard_constraints:
        method=methods_of("same_label"),
