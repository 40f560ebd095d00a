-- Signed statements that let somebody in once: wallet messages and SAML assertions. GoTrue takes them again.

create table if not exists basalt.used_proofs (
    kind text not null check (kind in ('web3', 'saml')),
    digest bytea not null,
    expires_at timestamptz not null,
    used_at timestamptz not null default now(),
    primary key (kind, digest)
);

comment on table basalt.used_proofs is
    'Signed statements (SHA-256 of them) that were used to sign in and could be presented again until they expire.';

create index if not exists used_proofs_expires_at_idx on basalt.used_proofs (expires_at);

grant select, insert, update, delete on basalt.used_proofs to supabase_auth_admin;

-- When the identity provider ends a session of a PKCE flow: the session is made later, by the exchange of the code.
create table if not exists basalt.sso_session_ends (
    flow_state_id uuid primary key,
    not_after timestamptz not null
);

comment on table basalt.sso_session_ends is
    'SessionNotOnOrAfter of a SAML assertion, kept until the code of its PKCE flow is exchanged.';

grant select, insert, update, delete on basalt.sso_session_ends to supabase_auth_admin;
