use rule attribute as trak_variants with:
    wildcard_constraints:
        method=methods_of("trak_variants"),
