# Baselines: src/proponent/methods/baselines/. One rule per method module.
use rule attribute as bm25 with:
    wildcard_constraints:
        method=methods_of("bm25"),


use rule attribute as random_scores with:
    wildcard_constraints:
        method=methods_of("random_scores"),


use rule attribute as same_label with:
    wildcard_constraints:
        method=methods_of("same_label"),


use rule attribute as similarity with:
    wildcard_constraints:
        method=methods_of("similarity"),


use rule attribute as tfidf with:
    wildcard_constraints:
        method=methods_of("tfidf"),
