-- What the app hears of as it happens. Row-level security decides who hears of which row.

alter publication supabase_realtime add table
    public.notifications,
    public.users,
    public.plans,
    public.credit_packs,
    public.tools,
    public.hairstyles,
    public.colors;
