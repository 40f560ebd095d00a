-- Undoes 20260105091000_outbox.sql. Jobs that wait are performed all the same.
drop trigger user_achievements_track on public.user_achievements;
drop trigger timesheets_track_clock_out on public.timesheets;
drop trigger timesheets_track_clock_in on public.timesheets;
drop trigger gig_applications_track_decision on public.gig_applications;
drop trigger gig_applications_track on public.gig_applications;
drop function private.track_achievement();
drop function private.track_shift();
drop function private.track_application();
drop function private.track(uuid, text, jsonb, text);
