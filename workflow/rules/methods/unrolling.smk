# Unrolled training: src/proponent/methods/unrolling/. One rule per method module.
use rule attribute as dvemb with:
    wildcard_constraints:
        method=methods_of("dvemb"),


use rule attribute as magic with:
    wildcard_constraints:
        method=methods_of("magic"),


use rule attribute as source with:
    wildcard_constraints:
        method=methods_of("source"),


use rule attribute as source_adam with:
    wildcard_constraints:
        method=methods_of("source_adam"),
