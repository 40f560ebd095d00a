-- Undoes 20260105090400_applications.sql. Applications are lost; points given for them stay.
drop function public.list_applicants(uuid);
drop function public.decide_application(uuid, text);
drop function public.apply_to_gig(uuid, text);
drop policy "workers view gigs they applied to" on public.gigs;
drop function private.gigs_i_applied_to();
drop table public.gig_applications;
drop function private.count_accepted();
drop function private.reward_application();
drop function private.check_application();
update public.gigs set filled_count = 0 where filled_count > 0;
