use rule attribute as airrep with:
    wildcard_constraints:
        method=methods_of("airrep"),
