"""A page for operators: it lists streams, describes each, and can stop them."""
