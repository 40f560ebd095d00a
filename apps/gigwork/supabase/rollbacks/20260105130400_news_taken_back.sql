-- Undoes 20260105130400_news_taken_back.sql. What is queued is sent all the same.
drop trigger gig_applications_take_back_news on public.gig_applications;
drop function private.take_back_news_of_application();
drop trigger gigs_take_back_news on public.gigs;
drop function private.take_back_news_of_gig();
drop function private.take_back(uuid, text[]);
