# Influence functions on projected gradients: src/proponent/methods/projected_influence/. One rule per method module.
use rule attribute as grass with:
    wildcard_constraints:
        method=methods_of("grass"),


use rule attribute as logra with:
    wildcard_constraints:
        method=methods_of("logra"),


use rule attribute as trackstar with:
    wildcard_constraints:
        method=methods_of("trackstar"),
