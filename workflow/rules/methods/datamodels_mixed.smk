use rule attribute as datamodels_mixed with:
    wildcard_constraints:
        method=methods_of("datamodels_mixed"),
