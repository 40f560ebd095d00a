-- Undoes 20260105110400_payouts.sql. The ledger is lost: keep a dump. Paid timesheets stay paid.
drop function public.create_payout_batch(date, date, uuid);
drop trigger timesheets_check_paid on public.timesheets;
drop function private.check_paid();
drop table public.payouts, public.payout_batches;
drop function private.check_batch_total();
drop function private.refuse_ledger_change();
