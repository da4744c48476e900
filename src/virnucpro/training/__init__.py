"""How bundles are trained: labelled fragments, the recipe of `compact`, metrics."""
