-- Undoes 20260105120100_gig_alerts.sql. The wishes are lost.
drop function private.workers_near_gig(jsonb);
drop table public.gig_alerts;
