-- Undoes 20260105130100_level_thresholds.sql.
drop trigger levels_hold_awards on public.levels;
drop function private.hold_awards();
