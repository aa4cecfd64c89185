use rule attribute as grass with:
    wildcard_constraints:
        method=methods_of("grass"),
