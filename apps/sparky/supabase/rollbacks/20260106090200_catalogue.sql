-- Undoes 20260106090200_catalogue.sql. Tools, hairstyles and colours are lost.
drop table public.colors;
drop table public.hairstyles;
drop table public.tools;
