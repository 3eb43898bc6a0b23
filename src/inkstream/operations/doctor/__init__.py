"""The doctor: what a deployment does to streams on their way, and how its database is."""
