"""Basalt: the Supabase contract over a real PostgreSQL."""
