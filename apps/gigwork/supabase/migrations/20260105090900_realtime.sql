-- What the app hears of as it happens. Row-level security decides who hears of which row.

alter publication supabase_realtime add table
    public.gigs,
    public.gig_applications,
    public.timesheets,
    public.user_achievements;
