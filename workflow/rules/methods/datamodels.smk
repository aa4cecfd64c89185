use rule attribute as datamodels with:
    wildcard_constraints:
        method=methods_of("datamodels"),
