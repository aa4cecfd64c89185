use rule attribute as bm25 with:
    wildcard_constraints:
        method=methods_of("bm25"),
