"""Django migrations. Each applies one of inkstream's PostgreSQL migrations."""
