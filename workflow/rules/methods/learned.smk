# Methods learned from retrainings: src/proponent/methods/learned/. One rule per method module.
use rule attribute as airrep with:
    wildcard_constraints:
        method=methods_of("airrep"),


use rule attribute as airrep_text with:
    wildcard_constraints:
        method=methods_of("airrep_text"),


use rule attribute as datamodels with:
    wildcard_constraints:
        method=methods_of("datamodels"),


use rule attribute as datamodels_mixed with:
    wildcard_constraints:
        method=methods_of("datamodels_mixed"),


use rule attribute as datamodels_prior with:
    wildcard_constraints:
        method=methods_of("datamodels_prior"),


use rule attribute as datamodels_ridge with:
    wildcard_constraints:
        method=methods_of("datamodels_ridge"),
