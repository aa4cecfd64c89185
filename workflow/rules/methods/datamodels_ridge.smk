use rule attribute as datamodels_ridge with:
    wildcard_constraints:
        method=methods_of("datamodels_ridge"),
