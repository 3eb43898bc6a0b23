"""A page for operators: which streams there are, how each is, who writes, and Stop."""
