-- Geometry, where the server has PostGIS.

do $$
begin
    if exists (select from pg_catalog.pg_available_extensions where name = 'postgis') then
        create extension if not exists postgis with schema extensions;
        create table public.halls (id int primary key, name text not null, place extensions.geometry(point, 4326));
        insert into public.halls values
            (1, 'Town hall', extensions.st_setsrid(extensions.st_makepoint(24.1, 56.95), 4326)),
            (2, 'Old mill', extensions.st_setsrid(extensions.st_makepoint(12.5, 41.9), 4326));
    end if;
end $$;
