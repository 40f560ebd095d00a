-- The trace that a job belongs to, as W3C Trace Context writes it; it goes no further than the attempts. In two steps, so
-- that the rows that are there are not written anew.
alter table basalt.jobs add column if not exists traceparent text;
alter table basalt.jobs alter column traceparent set default coalesce(
    nullif(current_setting('basalt.traceparent', true), ''),
    nullif(current_setting('request.headers', true), '')::jsonb ->> 'traceparent');

comment on column basalt.jobs.traceparent is 'The trace of what enqueued it: `basalt.traceparent`, or that of the API''s request.';
