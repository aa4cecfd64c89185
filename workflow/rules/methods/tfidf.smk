use rule attribute as tfidf with:
    wildcard_constraints:
        method=methods_of("tfidf"),
