-- Undoes 20260106091100_realtime.sql. Nothing is lost; clients hear of no more changes.
alter publication supabase_realtime drop table
    public.notifications,
    public.users,
    public.plans,
    public.credit_packs,
    public.tools,
    public.hairstyles,
    public.colors;
