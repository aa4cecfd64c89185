# Influence functions: src/proponent/methods/influence/. One rule per method module.
use rule attribute as datainf with:
    wildcard_constraints:
        method=methods_of("datainf"),


use rule attribute as ekfac with:
    wildcard_constraints:
        method=methods_of("ekfac"),


use rule attribute as if_arnoldi with:
    wildcard_constraints:
        method=methods_of("if_arnoldi"),


use rule attribute as if_cg with:
    wildcard_constraints:
        method=methods_of("if_cg"),


use rule attribute as if_exact with:
    wildcard_constraints:
        method=methods_of("if_exact"),


use rule attribute as if_lissa with:
    wildcard_constraints:
        method=methods_of("if_lissa"),
