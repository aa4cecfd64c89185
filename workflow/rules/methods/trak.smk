use rule attribute as trak with:
    wildcard_constraints:
        method=methods_of("trak"),
