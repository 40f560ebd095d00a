-- Undoes 20260105090000_foundations.sql. PostGIS stays: other schemas may use it.
drop function public.is_within_distance(extensions.geography, extensions.geography, double precision);
drop schema private cascade;
