-- Undoes 20260106090000_foundations.sql.
drop schema private cascade;
