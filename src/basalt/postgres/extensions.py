"""What becomes of `create extension NAME`: which extensions Basalt brings itself, which a project may do
without, and which Debian package holds the rest.

Basalt's own live in `extensions/NAME/` as a control file, numbered SQL and `routines/`, and become real
PostgreSQL extensions in the private tree (`tree.py`). On a server that is not ours the bootstrap makes the
same objects.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Literal

ExtensionPolicy = Literal["create", "provided", "skip", "missing"]

EXTENSIONS_DIR = Path(__file__).with_name("extensions")

OWN_EXTENSIONS = ("pg_cron", "pg_graphql", "pg_net", "pgjwt", "pgmq", "pgsodium", "supabase_vault")

# Tuning, inspection and guarding: a project's tables, policies and routines do not depend on them.
DISPENSABLE = frozenset(
    {
        "adminpack",
        "amcheck",
        "auto_explain",
        "hypopg",
        "index_advisor",
        "pageinspect",
        "pg_buffercache",
        "pg_freespacemap",
        "pg_plan_filter",
        "pg_prewarm",
        "pg_qualstats",
        "pg_repack",
        "pg_stat_kcache",
        "pg_stat_monitor",
        "pg_stat_statements",
        "pg_surgery",
        "pg_visibility",
        "pg_wait_sampling",
        "pg_walinspect",
        "pgaudit",
        "pgrowlocks",
        "pgstattuple",
        "plpgsql_check",
        "plprofiler",
        "safeupdate",
        "supautils",
    }
)

# Where the name of the package is not simply postgresql-MAJOR-NAME.
DEBIAN_PACKAGES = {
    "address_standardizer": "postgis-3",
    "address_standardizer_data_us": "postgis-3",
    "h3": "h3",
    "h3_postgis": "h3",
    "hll": "hll",
    "http": "http",
    "ip4r": "ip4r",
    "orafce": "orafce",
    "pg_hint_plan": "pg-hint-plan",
    "pg_ivm": "pg-ivm",
    "pg_partman": "partman",
    "pg_similarity": "similarity",
    "pg_uuidv7": "pg-uuidv7",
    "pgrouting": "pgrouting",
    "pgtap": "pgtap",
    "pointcloud": "pointcloud",
    "postgis": "postgis-3",
    "postgis_raster": "postgis-3",
    "postgis_sfcgal": "postgis-3",
    "postgis_tiger_geocoder": "postgis-3",
    "postgis_topology": "postgis-3",
    "prefix": "prefix",
    "rum": "rum",
    "semver": "semver",
    "timescaledb": "timescaledb",
    "unit": "unit",
    "vector": "pgvector",
}

# Languages are packages of their own beside the server; the rest of contrib comes with the Debian server
# package.
LANGUAGES = {
    "plperl": "plperl",
    "plperlu": "plperl",
    "plpython3u": "plpython3",
    "pltcl": "pltcl",
    "pltclu": "pltcl",
}

CONTRIB = frozenset(
    [
        "autoinc",
        "bloom",
        "btree_gin",
        "btree_gist",
        "citext",
        "cube",
        "dblink",
        "dict_int",
        "dict_xsyn",
        "earthdistance",
        "file_fdw",
        "fuzzystrmatch",
        "hstore",
        "insert_username",
        "intagg",
        "intarray",
        "isn",
        "lo",
        "ltree",
        "moddatetime",
        "pg_trgm",
        "pgcrypto",
        "postgres_fdw",
        "refint",
        "seg",
        "sslinfo",
        "tablefunc",
        "tcn",
        "tsm_system_rows",
        "tsm_system_time",
        "unaccent",
        "uuid-ossp",
        "xml2",
    ]
)

# Extensions that role `postgres` may create without being superuser, as on Supabase: those in contrib that
# reach no file of the server, and these.
TRUSTED = frozenset(
    (CONTRIB - {"file_fdw", "xml2"})
    | set(OWN_EXTENSIONS)
    | set(DEBIAN_PACKAGES)
    | DISPENSABLE - {"adminpack", "pageinspect", "pg_surgery"}
    | {"pg_hashids", "pg_jsonschema", "pgroonga", "wrappers"}
)


def extension_policy(name: str, available: Collection[str]) -> ExtensionPolicy:
    """What to do with `create extension NAME`, given the names in `pg_available_extensions`.

    `create`: run the statement. `provided`: leave it out, the bootstrap made its objects. `skip`: leave it
    out with one warning. `missing`: an error; `debian_package` names the package to install."""
    if name in available:
        return "create"
    if name in OWN_EXTENSIONS:
        return "provided"
    return "skip" if name in DISPENSABLE else "missing"


def debian_package(name: str, major: int) -> str | None:
    """The Debian package with extension NAME for PostgreSQL `major`; None when Debian has none."""
    if name in CONTRIB:
        return f"postgresql-{major}"
    package = DEBIAN_PACKAGES.get(name) or LANGUAGES.get(name)
    if package is None:
        return None
    return f"postgresql-{package}-{major}" if name in LANGUAGES else f"postgresql-{major}-{package}"


def own_extension_version(name: str) -> int:
    """The number of the newest numbered file, which is the version of an own extension."""
    return max(int(path.name.split("_", 1)[0]) for path in numbered_files(name))


def numbered_files(name: str) -> list[Path]:
    return sorted((EXTENSIONS_DIR / name).glob("[0-9][0-9][0-9]_*.sql"))


def routine_files(name: str) -> list[Path]:
    return sorted((EXTENSIONS_DIR / name / "routines").glob("*.sql"))
