use rule attribute as dvemb with:
    wildcard_constraints:
        method=methods_of("dvemb"),
