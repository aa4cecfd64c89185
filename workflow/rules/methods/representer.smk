# Representer methods: src/proponent/methods/representer/. One rule per method module.
use rule attribute as dualda with:
    wildcard_constraints:
        method=methods_of("dualda"),


use rule attribute as rps with:
    wildcard_constraints:
        method=methods_of("rps"),
