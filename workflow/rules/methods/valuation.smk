# Data valuation: src/proponent/methods/valuation/. One rule per method module.
use rule attribute as aum with:
    wildcard_constraints:
        method=methods_of("aum"),


use rule attribute as data_oob with:
    wildcard_constraints:
        method=methods_of("data_oob"),


use rule attribute as el2n with:
    wildcard_constraints:
        method=methods_of("el2n"),


use rule attribute as forgetting with:
    wildcard_constraints:
        method=methods_of("forgetting"),


use rule attribute as grand with:
    wildcard_constraints:
        method=methods_of("grand"),


use rule attribute as knn_shapley with:
    wildcard_constraints:
        method=methods_of("knn_shapley"),


use rule attribute as lava with:
    wildcard_constraints:
        method=methods_of("lava"),


use rule attribute as mean_difference with:
    wildcard_constraints:
        method=methods_of("mean_difference"),


use rule attribute as shapley with:
    wildcard_constraints:
        method=methods_of("shapley"),
