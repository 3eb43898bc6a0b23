"""The migrations of inkstream's PostgreSQL schema, as Django applies them; one for each."""
