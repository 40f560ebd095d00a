-- Undoes 20260105120300_notification_rules.sql. What is queued is sent all the same.
select cron.unschedule('gigwork-shift-reminders');
drop function private.remind_of_shifts(timestamptz);
drop trigger payouts_tell on public.payouts;
drop function private.tell_of_payout();
drop trigger user_achievements_tell on public.user_achievements;
drop function private.tell_of_achievement();
drop trigger gig_applications_tell_decision on public.gig_applications;
drop trigger gig_applications_tell on public.gig_applications;
drop function private.tell_of_application();
drop trigger gigs_tell on public.gigs;
drop function private.tell_of_gig();
drop function private.shift_starts_at(public.gigs, date);
drop function private.applicant_name(text);
drop function private.is_a_request();
drop function private.tell(text, text, jsonb, uuid, jsonb, uuid, timestamptz, int);
