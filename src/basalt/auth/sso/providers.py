"""Identity providers as the database keeps them: `auth.sso_providers`, with what is SAML's in `auth.saml_providers`
and the domains that lead to them in `auth.sso_domains` (GoTrue models/sso.go)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

from basalt.auth.render import render_time
from basalt.auth.users import Transaction, as_jsonb

SELECT_PROVIDER: Final = """
select p.id, p.resource_id, p.disabled, p.created_at, p.updated_at, s.entity_id, s.metadata_xml, s.metadata_url,
    s.attribute_mapping, s.name_id_format, s.updated_at as metadata_read_at,
    array(select d.domain from auth.sso_domains as d where d.sso_provider_id = p.id order by d.created_at, d.domain)
        as domains
from auth.sso_providers as p join auth.saml_providers as s on s.sso_provider_id = p.id
"""
BY_ID: Final = SELECT_PROVIDER + "where p.id = %(id)s"
BY_ENTITY_ID: Final = SELECT_PROVIDER + "where s.entity_id = %(entity_id)s"
BY_RESOURCE_ID: Final = SELECT_PROVIDER + "where lower(p.resource_id) = lower(%(resource_id)s)"
BY_DOMAIN: Final = (
    SELECT_PROVIDER
    + """join auth.sso_domains as asked on asked.sso_provider_id = p.id
where lower(asked.domain) = lower(%(domain)s)"""
)
LIST: Final = (
    SELECT_PROVIDER
    + """where (%(resource_id)s::text is null or lower(p.resource_id) = lower(%(resource_id)s))
    and (%(prefix)s::text is null or starts_with(p.resource_id, %(prefix)s))
order by p.created_at, p.id"""
)

INSERT_PROVIDER: Final = """
insert into auth.sso_providers (id, resource_id, disabled, created_at, updated_at)
values (%(id)s, %(resource_id)s, %(disabled)s, now(), now())
"""
INSERT_SAML: Final = """
insert into auth.saml_providers (id, sso_provider_id, entity_id, metadata_xml, metadata_url, attribute_mapping,
    name_id_format, created_at, updated_at)
values (gen_random_uuid(), %(id)s, %(entity_id)s, %(metadata_xml)s, %(metadata_url)s, %(attribute_mapping)s,
    %(name_id_format)s, now(), now())
"""
INSERT_DOMAINS: Final = """
insert into auth.sso_domains (id, sso_provider_id, domain, created_at, updated_at)
select gen_random_uuid(), %(id)s, domain, now(), now() from unnest(%(domains)s::text[]) as domain
"""
UPDATE_PROVIDER: Final = """
update auth.sso_providers set resource_id = %(resource_id)s, disabled = %(disabled)s, updated_at = now()
where id = %(id)s
"""
UPDATE_SAML: Final = """
update auth.saml_providers set metadata_xml = %(metadata_xml)s, metadata_url = %(metadata_url)s,
    attribute_mapping = %(attribute_mapping)s, name_id_format = %(name_id_format)s,
    updated_at = case when metadata_xml = %(metadata_xml)s then updated_at else now() end
where sso_provider_id = %(id)s
"""
REFRESH_METADATA: Final = """
update auth.saml_providers set metadata_xml = %(metadata_xml)s, updated_at = now()
where sso_provider_id = %(id)s and entity_id = %(entity_id)s
"""
DELETE_DOMAINS: Final = (
    "delete from auth.sso_domains where sso_provider_id = %(id)s and domain <> all (%(domains)s)"
)
DELETE_PROVIDER: Final = "delete from auth.sso_providers where id = %(id)s"


@dataclass(frozen=True, slots=True)
class SsoProvider:
    """`attribute_mapping` is `{"keys": {CLAIM: {"name", "names", "default", "array"}}}`, or empty."""

    id: UUID
    resource_id: str | None
    disabled: bool | None
    entity_id: str
    metadata_xml: str
    metadata_url: str | None
    attribute_mapping: Mapping[str, Any]
    name_id_format: str | None
    domains: Sequence[str]
    created_at: datetime
    updated_at: datetime
    metadata_read_at: datetime

    @property
    def name(self) -> str:
        """What identities and `app_metadata` call it."""
        return f"sso:{self.id}"


async def find_by_id(tx: Transaction, provider_id: UUID) -> SsoProvider | None:
    return _found(await (await tx.execute(BY_ID, {"id": provider_id})).fetchone())


async def find_by_domain(tx: Transaction, domain: str) -> SsoProvider | None:
    return _found(await (await tx.execute(BY_DOMAIN, {"domain": domain})).fetchone())


async def find_by_entity_id(tx: Transaction, entity_id: str) -> SsoProvider | None:
    return _found(await (await tx.execute(BY_ENTITY_ID, {"entity_id": entity_id})).fetchone())


async def find_by_resource_id(tx: Transaction, resource_id: str) -> SsoProvider | None:
    return _found(await (await tx.execute(BY_RESOURCE_ID, {"resource_id": resource_id})).fetchone())


async def list_providers(
    tx: Transaction, *, resource_id: str | None = None, prefix: str | None = None
) -> list[SsoProvider]:
    rows = await (await tx.execute(LIST, {"resource_id": resource_id, "prefix": prefix})).fetchall()
    return [_of_row(row) for row in rows]


async def create_provider(
    tx: Transaction,
    *,
    entity_id: str,
    metadata_xml: str,
    metadata_url: str | None,
    attribute_mapping: Mapping[str, Any],
    name_id_format: str | None,
    domains: Sequence[str],
    resource_id: str | None,
    disabled: bool | None,
) -> SsoProvider:
    """Raises psycopg's UniqueViolation for an entity, a domain or a resource id that another provider has."""
    provider_id = uuid4()
    await tx.execute(INSERT_PROVIDER, {"id": provider_id, "resource_id": resource_id, "disabled": disabled})
    parameters = {
        "id": provider_id,
        "entity_id": entity_id,
        "metadata_xml": metadata_xml,
        "metadata_url": metadata_url,
        "attribute_mapping": as_jsonb(attribute_mapping),
        "name_id_format": name_id_format,
    }
    await tx.execute(INSERT_SAML, parameters)
    await tx.execute(INSERT_DOMAINS, {"id": provider_id, "domains": list(domains)})
    return await _reload(tx, provider_id)


async def save_provider(tx: Transaction, provider: SsoProvider) -> SsoProvider:
    """Store what was changed. Raises psycopg's UniqueViolation like `create_provider`."""
    parameters = {
        "id": provider.id,
        "resource_id": provider.resource_id,
        "disabled": provider.disabled,
        "metadata_xml": provider.metadata_xml,
        "metadata_url": provider.metadata_url,
        "attribute_mapping": as_jsonb(provider.attribute_mapping),
        "name_id_format": provider.name_id_format,
        "domains": list(provider.domains),
    }
    await tx.execute(UPDATE_PROVIDER, parameters)
    await tx.execute(UPDATE_SAML, parameters)
    await tx.execute(DELETE_DOMAINS, parameters)
    present = (await _reload(tx, provider.id)).domains
    added = [domain for domain in provider.domains if domain not in present]
    await tx.execute(INSERT_DOMAINS, {"id": provider.id, "domains": added})
    return await _reload(tx, provider.id)


async def store_metadata(tx: Transaction, provider: SsoProvider, metadata_xml: str) -> None:
    """What a provider publishes anew. Its name does not change."""
    parameters = {"id": provider.id, "entity_id": provider.entity_id, "metadata_xml": metadata_xml}
    await tx.execute(REFRESH_METADATA, parameters)


async def delete_provider(tx: Transaction, provider: SsoProvider) -> None:
    await tx.execute(DELETE_PROVIDER, {"id": provider.id})


def render_provider(provider: SsoProvider, *, with_metadata: bool = True) -> dict[str, Any]:
    """GoTrue's SSOProvider: what is empty is left out, except `disabled` and `attribute_mapping`."""
    saml: dict[str, Any] = {"entity_id": provider.entity_id}
    if with_metadata:
        saml["metadata_xml"] = provider.metadata_xml
    if provider.metadata_url:
        saml["metadata_url"] = provider.metadata_url
    saml["attribute_mapping"] = provider.attribute_mapping
    if provider.name_id_format:
        saml["name_id_format"] = provider.name_id_format
    shown: dict[str, Any] = {"id": str(provider.id)}
    if provider.resource_id is not None:
        shown["resource_id"] = provider.resource_id
    return shown | {
        "disabled": provider.disabled,
        "saml": saml,
        "domains": [{"domain": domain} for domain in provider.domains],
        "created_at": render_time(provider.created_at),
        "updated_at": render_time(provider.updated_at),
    }


async def _reload(tx: Transaction, provider_id: UUID) -> SsoProvider:
    found = await find_by_id(tx, provider_id)
    assert found is not None
    return found


def _found(row: Mapping[str, Any] | None) -> SsoProvider | None:
    return None if row is None else _of_row(row)


def _of_row(row: Mapping[str, Any]) -> SsoProvider:
    """Rows of imports may lack times."""
    created_at = row["created_at"] or row["updated_at"] or datetime.fromtimestamp(0).astimezone()
    return SsoProvider(
        **{
            **row,
            "attribute_mapping": row["attribute_mapping"] or {},
            "created_at": created_at,
            "updated_at": row["updated_at"] or created_at,
            "metadata_read_at": row["metadata_read_at"] or created_at,
        }
    )
