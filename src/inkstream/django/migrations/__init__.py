"""Django migrations that apply inkstream's PostgreSQL migrations, one for each."""
