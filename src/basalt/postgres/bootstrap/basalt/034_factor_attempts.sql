-- Tries at second factors: GoTrue's tables have no place to count them, nor for the time step of a used code.

create table if not exists basalt.factor_attempts (
    challenge_id uuid primary key,
    factor_id uuid not null references auth.mfa_factors (id) on delete cascade,
    attempts integer not null,
    attempted_at timestamptz not null default now()
);

comment on table basalt.factor_attempts is
    'Tries at challenges that did not succeed. No reference to the challenge: a count must outlive it.';
create index if not exists factor_attempts_factor_id_idx on basalt.factor_attempts (factor_id);

create table if not exists basalt.totp_steps (
    factor_id uuid primary key references auth.mfa_factors (id) on delete cascade,
    step bigint not null
);

comment on table basalt.totp_steps is
    'The newest time step of which a code was accepted: no code of it or of an older one is accepted again (RFC 6238 §5.2).';

grant select, insert, update, delete on basalt.factor_attempts, basalt.totp_steps to supabase_auth_admin;
