# TRAK: src/proponent/methods/trak/. One rule per method module.
use rule attribute as trak with:
    wildcard_constraints:
        method=methods_of("trak"),


use rule attribute as trak_variants with:
    wildcard_constraints:
        method=methods_of("trak_variants"),
