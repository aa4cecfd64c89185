# Gradient similarity: src/proponent/methods/gradient_similarity/. One rule per method module.
use rule attribute as graddot with:
    wildcard_constraints:
        method=methods_of("graddot"),


use rule attribute as less with:
    wildcard_constraints:
        method=methods_of("less"),


use rule attribute as tracin with:
    wildcard_constraints:
        method=methods_of("tracin"),


use rule attribute as tracin_we with:
    wildcard_constraints:
        method=methods_of("tracin_we"),
