-- Undoes 20260105090900_realtime.sql. Nothing is lost; clients hear of no more changes.
alter publication supabase_realtime drop table
    public.gigs,
    public.gig_applications,
    public.timesheets,
    public.user_achievements;
