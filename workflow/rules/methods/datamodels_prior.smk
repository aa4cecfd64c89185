use rule attribute as datamodels_prior with:
    wildcard_constraints:
        method=methods_of("datamodels_prior"),
