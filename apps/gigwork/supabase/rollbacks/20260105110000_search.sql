-- Undoes 20260105110000_search.sql. Nothing is lost.
drop index public.gigs_open_location_idx;

create or replace function public.search_gigs(
    p_category text default null,
    p_max_distance_km int default 10,
    p_user_lat numeric default null,
    p_user_lng numeric default null,
    p_min_rate numeric default 0,
    p_limit int default 1000,
    p_offset int default 0
)
returns setof public.gigs
language plpgsql
stable
security definer
rows 1000
set search_path = ''
as $$
declare
    v_here extensions.geography;
    v_reach_m double precision;
begin
    if p_limit < 0 or p_offset < 0 or p_max_distance_km < 0 then
        perform private.fail('VALIDATION_ERROR', 400, 'Distance, limit and offset cannot be negative');
    end if;
    if p_user_lat is null and p_user_lng is null then
        return query
        select g.*
        from public.gigs as g
        where g.status = 'open'
            and g.published_at is not null
            and (p_category is null or g.category = p_category)
            and g.hourly_rate >= coalesce(p_min_rate, 0)
        order by g.published_at desc, g.id
        limit p_limit offset p_offset;
        return;
    end if;
    v_here := private.point_at(p_user_lat::double precision, p_user_lng::double precision);
    v_reach_m := coalesce(p_max_distance_km, 10) * 1000.0;
    return query
    select g.*
    from public.gigs as g
    where g.status = 'open'
        and g.published_at is not null
        and (p_category is null or g.category = p_category)
        and g.hourly_rate >= coalesce(p_min_rate, 0)
        and extensions.st_dwithin(g.location, v_here, v_reach_m)
    order by extensions.st_distance(g.location, v_here), g.id
    limit p_limit offset p_offset;
end
$$;
-- Security definer, although every row it answers is public: st_dwithin is not leakproof, so under row-level security
-- the planner would have to read every gig and check the policy before it may look at the GiST index.
comment on function public.search_gigs(text, int, numeric, numeric, numeric, int, int) is
    'Open and published gigs: within p_max_distance_km of a position, nearest first; newest first without a position.';

revoke execute on function private.point_at(double precision, double precision) from anon, authenticated, service_role;
revoke execute on function private.fail(text, int, text, jsonb) from anon, authenticated, service_role;
drop function private.find_gigs(extensions.geography, double precision, text, numeric, int, int);
