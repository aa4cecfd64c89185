use rule attribute as knn_shapley with:
    wildcard_constraints:
        method=methods_of("knn_shapley"),
