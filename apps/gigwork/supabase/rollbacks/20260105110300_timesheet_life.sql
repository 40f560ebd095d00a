-- Undoes 20260105110300_timesheet_life.sql. Approvals and the history of timesheets are lost. A shift that somebody else closed gets
-- the place of its clock-in as the place of its end, which the older constraint asks for.
select cron.unschedule('close-forgotten-shifts');
drop function private.close_forgotten_shifts(timestamptz);
drop function public.correct_timesheet(uuid, text, timestamptz, timestamptz);
drop function public.dispute_timesheet(uuid, text);
drop function private.check_reason(text);
drop function public.approve_timesheet(uuid);
drop function private.timesheet_answer(uuid);
drop function private.locked_timesheet(uuid, uuid, boolean);
drop trigger timesheets_log_update on public.timesheets;
drop trigger timesheets_log_insert on public.timesheets;
drop function private.log_timesheet();
drop function private.timesheet_facts(public.timesheets);
drop table public.timesheet_events;
drop function private.refuse_event_change();
drop trigger timesheets_keep on public.timesheets;
drop function private.keep_timesheet();
create index timesheets_gig_id_idx on public.timesheets (gig_id);
drop index public.timesheets_open_clock_in_idx;
drop index public.timesheets_gig_id_status_idx;
alter table public.timesheets
    drop constraint timesheets_complete_or_open,
    drop column status,
    drop column closed_by,
    drop column submitted_at,
    drop column approved_at,
    drop column paid_at,
    drop column status_reason;
update public.timesheets set clock_out_location = clock_in_location where clock_out is not null and clock_out_location is null;
alter table public.timesheets add constraint timesheets_complete_or_open check (
    num_nonnulls(clock_out, clock_out_location, total_hours_worked, total_amount) in (0, 4)
);
