"""The known providers: each is spoken to as its documentation says, and its documented answer becomes an identity."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from basalt.auth.oauth.providers import KNOWN
from basalt.config import ExternalProviderSettings
from tests.auth.browser import come_back, consent, leave, settings_for, sign_in_with
from tests.auth.conftest import AuthClient, StartAuth
from tests.fakes.oidc import FakeOidc
from tests.fakes.social import CLIENT_ID, CLIENT_SECRET, Social, TwitterV1, social_server
from tests.fakes.web import Asked

pytestmark = pytest.mark.req("P6")


@dataclass(frozen=True)
class Case:
    """`claims` is the identity's data without `sub`, `provider_id`, `iss`, `email`, `email_verified` and
    `phone_verified`. `verified` is None where there is no address."""

    fake: Social
    subject: str
    claims: Mapping[str, Any]
    iss: str  # below the fake's address
    email: str = "ada@example.com"
    verified: bool = True
    query: Mapping[str, str] = field(default_factory=dict)
    prefix: str = ""  # of the fake's address, as `url` may have a path


def named(name: str, picture: str = "", **more: Any) -> dict[str, Any]:
    pictures = {"picture": picture, "avatar_url": picture} if picture else {}
    return {"name": name, "full_name": name, **pictures, **more}


def checks_facebook(asked: Asked, access_token: str) -> str:
    proof = hmac.digest(CLIENT_SECRET.encode(), access_token.encode(), hashlib.sha256).hex()
    if asked.query.get("fields") != "email,first_name,last_name,name,picture":
        return "fields"
    return "" if asked.query.get("appsecret_proof") == proof else "appsecret_proof"


def checks_notion(asked: Asked, access_token: str) -> str:
    return "" if asked.headers.get("notion-version") == "2021-08-16" else "Notion-Version"


def checks_twitch(asked: Asked, access_token: str) -> str:
    return "" if asked.headers.get("client-id") == CLIENT_ID else "Client-Id"


def checks_snapchat(asked: Asked, access_token: str) -> str:
    return "" if "externalId" in asked.query.get("query", "") else "query"


def checks_linkedin(asked: Asked, access_token: str) -> str:
    return "" if asked.query.get("projection", "").startswith("(") else "projection"


def checks_x(asked: Asked, access_token: str) -> str:
    return "" if "confirmed_email" in asked.query.get("user.fields", "") else "user.fields"


CASES: dict[str, Case] = {
    "bitbucket": Case(
        Social(
            "/site/oauth2/authorize",
            "/site/oauth2/access_token",
            {
                "/2.0/user": {
                    "display_name": "Ada Lovelace",
                    "uuid": "{1234-5678}",
                    "avatar": {"href": "https://bitbucket.org/ada.png"},
                },
                "/2.0/user/emails": {
                    "values": [
                        {"email": "old@example.com", "is_primary": False, "is_confirmed": True},
                        {"email": "ada@example.com", "is_primary": True, "is_confirmed": True},
                    ]
                },
            },
            "basic",
            scope="account email",
        ),
        "{1234-5678}",
        named("Ada Lovelace", "https://bitbucket.org/ada.png"),
        "/2.0",
    ),
    "discord": Case(
        Social(
            "/api/oauth2/authorize",
            "/api/oauth2/token",
            {
                "/api/users/@me": {
                    "id": "80351110224678912",
                    "username": "Nelly",
                    "discriminator": "1337",
                    "global_name": "Nell",
                    "avatar": "a_8342729096ea3675442027381ff50dfe",
                    "verified": True,
                    "email": "ada@example.com",
                }
            },
            "basic",
            scope="email identify",
        ),
        "80351110224678912",
        {
            "name": "Nelly#1337",
            "full_name": "Nelly",
            "picture": "https://cdn.discordapp.com/avatars/80351110224678912/"
            "a_8342729096ea3675442027381ff50dfe.gif",
            "avatar_url": "https://cdn.discordapp.com/avatars/80351110224678912/"
            "a_8342729096ea3675442027381ff50dfe.gif",
            "custom_claims": {"global_name": "Nell"},
        },
        "/api",
    ),
    "facebook": Case(
        Social(
            "/dialog/oauth",
            "/oauth/access_token",
            {
                "/me": {
                    "id": "4711",
                    "first_name": "Ada",
                    "last_name": "Lovelace",
                    "name": "ada.l",
                    "email": "ada@example.com",
                    "picture": {"data": {"url": "https://facebook.com/ada.png", "is_silhouette": False}},
                }
            },
            scope="email",
            checks=checks_facebook,
        ),
        "4711",
        named("Ada Lovelace", "https://facebook.com/ada.png", nickname="ada.l", slug="ada.l"),
        "/me?fields=email,first_name,last_name,name,picture",
    ),
    "figma": Case(
        Social(
            "/oauth",
            "/v1/oauth/token",
            {
                "/v1/me": {
                    "id": "2233",
                    "email": "ada@example.com",
                    "handle": "Ada",
                    "img_url": "https://figma.com/ada.png",
                }
            },
            "basic",
            scope="current_user:read",
        ),
        "2233",
        {**named("Ada"), "avatar_url": "https://figma.com/ada.png"},
        "",
    ),
    "fly": Case(
        Social(
            "/oauth/authorize",
            "/oauth/token",
            {
                "/oauth/token/info": {
                    "resource_owner_id": "owner",
                    "scope": ["read"],
                    "expires_in": 7200,
                    "application": {"uid": "app"},
                    "created_at": 1696003692,
                    "user_id": "fly-1",
                    "user_name": "Ada",
                    "email": "ada@example.com",
                    "organizations": [{"id": "org", "role": "member"}],
                }
            },
            scope="read",
        ),
        "fly-1",
        {
            "full_name": "Ada",
            "custom_claims": {
                "resource_owner_id": "owner",
                "organizations": [{"id": "org", "role": "member"}],
                "application": {"uid": "app"},
                "scope": ["read"],
                "created_at": 1696003692,
            },
        },
        "",
    ),
    "github": Case(
        Social(
            "/login/oauth/authorize",
            "/login/oauth/access_token",
            {
                "/api/v3/user": {
                    "id": 583231,
                    "login": "octocat",
                    "name": "The Octocat",
                    "email": None,
                    "avatar_url": "https://github.com/images/octocat.gif",
                },
                "/api/v3/user/emails": [
                    {"email": "other@example.com", "primary": False, "verified": True},
                    {"email": "ada@example.com", "primary": True, "verified": True, "visibility": "private"},
                    {"email": "", "primary": False, "verified": False},
                ],
            },
            token_as_form=True,
            scope="user:email repo",
        ),
        "583231",
        {
            "name": "The Octocat",
            "full_name": "The Octocat",
            "preferred_username": "octocat",
            "user_name": "octocat",
            "avatar_url": "https://github.com/images/octocat.gif",
        },
        "/api/v3",
        query={"scopes": "repo"},
    ),
    "gitlab": Case(
        Social(
            "/gitlab/oauth/authorize",
            "/gitlab/oauth/token",
            {
                "/gitlab/api/v4/user": {
                    "id": 17,
                    "name": "Ada Lovelace",
                    "email": "ada@example.com",
                    "avatar_url": "https://gitlab.com/ada.png",
                    "confirmed_at": "2012-05-23T09:05:22Z",
                },
                "/gitlab/api/v4/user/emails": [{"id": 1, "email": "second@example.com"}],
            },
            scope="read_user",
        ),
        "17",
        named("Ada Lovelace", "https://gitlab.com/ada.png"),
        "",
        prefix="/gitlab",
    ),
    "kakao": Case(
        Social(
            "/oauth/authorize",
            "/oauth/token",
            {
                "/v2/user/me": {
                    "id": 123456789,
                    "kakao_account": {
                        "profile": {"nickname": "ada", "profile_image_url": "https://kakao.com/ada.png"},
                        "email": "ada@example.com",
                        "is_email_valid": True,
                        "is_email_verified": True,
                    },
                }
            },
            scope="account_email profile_image profile_nickname",
        ),
        "123456789",
        {
            **named("ada"),
            "preferred_username": "ada",
            "user_name": "ada",
            "avatar_url": "https://kakao.com/ada.png",
        },
        "",
    ),
    "keycloak": Case(
        Social(
            "/realms/a/protocol/openid-connect/auth",
            "/realms/a/protocol/openid-connect/token",
            {
                "/realms/a/protocol/openid-connect/userinfo": {
                    "sub": "kc-1",
                    "name": "Ada Lovelace",
                    "email": "ada@example.com",
                    "email_verified": True,
                    "groups": ["/engines"],
                }
            },
            "basic",
            scope="profile email",
        ),
        "kc-1",
        {**named("Ada Lovelace"), "custom_claims": {"groups": ["/engines"]}},
        "",
        prefix="/realms/a",
    ),
    "linkedin": Case(
        Social(
            "/oauth/v2/authorization",
            "/oauth/v2/accessToken",
            {
                "/v2/me": {
                    "id": "yrZCpj2Z12",
                    "firstName": {
                        "localized": {"en_US": "Ada"},
                        "preferredLocale": {"country": "US", "language": "en"},
                    },
                    "lastName": {
                        "localized": {"en_US": "Lovelace"},
                        "preferredLocale": {"country": "US", "language": "en"},
                    },
                    "profilePicture": {
                        "displayImage~": {
                            "elements": [{"identifiers": [{"identifier": "https://linkedin.com/ada.png"}]}]
                        }
                    },
                },
                "/v2/emailAddress": {
                    "elements": [
                        {"handle": "urn:li:emailAddress:1", "handle~": {"emailAddress": "ada@example.com"}}
                    ]
                },
            },
            scope="r_emailaddress r_liteprofile",
            checks=checks_linkedin,
        ),
        "yrZCpj2Z12",
        named("Ada Lovelace", "https://linkedin.com/ada.png"),
        "",
    ),
    "notion": Case(
        Social(
            "/v1/oauth/authorize",
            "/v1/oauth/token",
            {
                "/v1/users/me": {
                    "object": "user",
                    "type": "bot",
                    "bot": {
                        "owner": {
                            "type": "user",
                            "user": {
                                "id": "notion-1",
                                "name": "Ada Lovelace",
                                "avatar_url": "https://notion.so/ada.png",
                                "person": {"email": "ada@example.com"},
                            },
                        }
                    },
                }
            },
            "basic",
            checks=checks_notion,
        ),
        "notion-1",
        named("Ada Lovelace", "https://notion.so/ada.png"),
        "",
        query={"scopes": "ignored"},
    ),
    "slack": Case(
        Social(
            "/oauth/authorize",
            "/api/oauth.access",
            {
                "/api/openid.connect.userInfo": {
                    "ok": True,
                    "https://slack.com/user_id": "U0R7JM",
                    "https://slack.com/team_id": "T0R7GR",
                    "email": "ada@example.com",
                    "name": "Ada",
                    "picture": "https://slack.com/ada.png",
                }
            },
            "basic",
            scope="profile email openid",
        ),
        "U0R7JM",
        named("Ada", "https://slack.com/ada.png", custom_claims={"https://slack.com/team_id": "T0R7GR"}),
        "/api",
    ),
    "slack_oidc": Case(
        Social(
            "/openid/connect/authorize",
            "/api/openid.connect.token",
            {
                "/api/openid.connect.userInfo": {
                    "ok": True,
                    "https://slack.com/user_id": "U0R7JM",
                    "https://slack.com/team_id": "T0R7GR",
                    "email": "ada@example.com",
                    "email_verified": False,
                    "name": "Ada",
                    "picture": "https://slack.com/ada.png",
                }
            },
            "basic",
            scope="profile email openid",
        ),
        "U0R7JM",
        named("Ada", "https://slack.com/ada.png", custom_claims={"https://slack.com/team_id": "T0R7GR"}),
        "/api",
        verified=False,
    ),
    "snapchat": Case(
        Social(
            "/accounts/oauth2/auth",
            "/accounts/oauth2/token",
            {
                "/v1/me": {
                    "data": {
                        "me": {
                            "externalId": "CAESI",
                            "displayName": "Ada",
                            "bitmoji": {"avatar": "https://snap.com/ada.png", "id": "1"},
                            "email": "ada@example.com",
                        }
                    },
                    "errors": [],
                }
            },
            "basic",
            scope=" ".join(KNOWN["snapchat"].scopes),
            checks=checks_snapchat,
        ),
        "CAESI",
        named("Ada", "https://snap.com/ada.png", slug="Ada"),
        "",
    ),
    "spotify": Case(
        Social(
            "/authorize",
            "/api/token",
            {
                "/me": {
                    "id": "wizzler",
                    "display_name": "Ada",
                    "email": "ada@example.com",
                    "images": [
                        {"url": "https://spotify.com/64.png", "height": 64, "width": 64},
                        {"url": "https://spotify.com/300.png", "height": 300, "width": 300},
                        {"url": "https://spotify.com/x.png", "height": None, "width": None},
                    ],
                }
            },
            "basic",
            scope="user-read-email",
        ),
        "wizzler",
        named("Ada", "https://spotify.com/300.png"),
        "",
        verified=False,
    ),
    "twitch": Case(
        Social(
            "/oauth2/authorize",
            "/oauth2/token",
            {
                "/helix/users": {
                    "data": [
                        {
                            "id": "141981764",
                            "login": "twitchdev",
                            "display_name": "TwitchDev",
                            "type": "",
                            "broadcaster_type": "partner",
                            "description": "Supporting third-party developers",
                            "profile_image_url": "https://twitch.tv/dev.png",
                            "offline_image_url": "https://twitch.tv/off.png",
                            "view_count": 5980557,
                            "email": "ada@example.com",
                            "created_at": "2016-12-14T20:32:28Z",
                        }
                    ]
                }
            },
            scope="user:read:email",
            checks=checks_twitch,
        ),
        "141981764",
        named(
            "twitchdev",
            "https://twitch.tv/dev.png",
            nickname="TwitchDev",
            slug="TwitchDev",
            custom_claims={
                "broadcaster_type": "partner",
                "description": "Supporting third-party developers",
                "type": "",
                "offline_image_url": "https://twitch.tv/off.png",
                "view_count": 5980557,
            },
        ),
        "",
    ),
    "workos": Case(
        Social(
            "/sso/authorize",
            "/sso/token",
            {},
            with_token={
                "profile": {
                    "object": "profile",
                    "id": "prof_01DMC79VCBZ0NY2099737PSVF1",
                    "connection_id": "conn_01E4ZCR3C56J083X43JQXF3JK5",
                    "organization_id": "org_01EHWNCE74X7JSDV0X3SZ3KJNY",
                    "connection_type": "OktaSAML",
                    "email": "ada@example.com",
                    "first_name": "Ada",
                    "last_name": "Lovelace",
                    "idp_id": "00u1",
                }
            },
        ),
        "prof_01DMC79VCBZ0NY2099737PSVF1",
        {
            **named("Ada Lovelace"),
            "custom_claims": {
                "connection_id": "conn_01E4ZCR3C56J083X43JQXF3JK5",
                "organization_id": "org_01EHWNCE74X7JSDV0X3SZ3KJNY",
            },
        },
        "",
        query={"workos_provider": "GoogleOAuth"},
    ),
    "x": Case(
        Social(
            "/i/oauth2/authorize",
            "/2/oauth2/token",
            {
                "/2/users/me": {
                    "data": {
                        "id": "2244994945",
                        "name": "Ada",
                        "username": "ada",
                        "confirmed_email": "ada@example.com",
                        "profile_image_url": "https://x.com/ada.png",
                        "url": "https://ada.example.com",
                        "created_at": "2013-12-14T04:35:55Z",
                    }
                }
            },
            "basic",
            pkce=True,
            scope="users.email tweet.read users.read offline.access",
            checks=checks_x,
        ),
        "2244994945",
        named(
            "Ada",
            "https://x.com/ada.png",
            preferred_username="ada",
            user_name="ada",
            profile="https://x.com/ada",
            website="https://ada.example.com",
            custom_claims={"created_at": "2013-12-14T04:35:55Z"},
        ),
        "",
    ),
    "zoom": Case(
        Social(
            "/oauth/authorize",
            "/oauth/token",
            {
                "/v2/users/me": {
                    "id": "zJKyaiAyTNC-MWjiWC18KQ",
                    "first_name": "Ada",
                    "last_name": "Lovelace",
                    "email": "ada@example.com",
                    "verified": 0,
                    "login_type": 100,
                    "pic_url": "https://zoom.us/ada.png",
                }
            },
            "basic",
        ),
        "zJKyaiAyTNC-MWjiWC18KQ",
        named("Ada Lovelace", "https://zoom.us/ada.png"),
        "/v2",
        verified=False,
    ),
}


def configured(url: str) -> ExternalProviderSettings:
    return ExternalProviderSettings(enabled=True, client_id=CLIENT_ID, secret=CLIENT_SECRET, url=url)


@pytest.mark.parametrize("name", list(CASES))
async def test_a_documented_answer_becomes_an_identity(start_auth: StartAuth, name: str) -> None:
    case = CASES[name]
    with social_server(case.fake) as base:
        url = base + case.prefix
        auth = await start_auth(external={name: configured(url)})
        session = await sign_in_with(auth, name, **case.query)
    assert case.fake.problems == []
    (identity,) = session["user"]["identities"]
    assert (identity["provider"], identity["id"]) == (name, case.subject)
    assert identity["identity_data"] == {
        **case.claims,
        "iss": url + case.iss,
        "sub": case.subject,
        "provider_id": case.subject,
        "email": case.email,
        "email_verified": case.verified,
        "phone_verified": False,
    }
    assert session["user"]["email"] == case.email
    assert session["provider_token"] in case.fake.access_tokens


def test_every_known_provider_is_tried() -> None:
    openid = {"apple", "azure", "google", "linkedin_oidc"}  # here, and in test_oauth_flow
    assert set(KNOWN) == set(CASES) | openid | {"twitter"}


async def test_the_openid_providers_are_read_from_their_id_tokens(
    start_auth: StartAuth, oidc: FakeOidc
) -> None:
    azure = oidc.issuer(
        "tenant/v2.0",
        user={
            "sub": "az-1",
            "email": "ada@example.com",
            "name": "Ada",
            "preferred_username": "ada@corp.example.com",
            "xms_edov": True,
            "oid": "o-1",
            "aio": "x",
        },
    )
    azure_url = azure.url.removesuffix("/v2.0")
    # Azure's endpoints lie beside its issuer.
    oidc.issuers["/tenant"] = azure
    linkedin = oidc.issuer(
        "linkedin",
        user={
            "sub": "li-1",
            "email": "ada@example.com",
            "email_verified": "true",
            "given_name": "Ada",
            "family_name": "Lovelace",
            "picture": "https://linkedin.com/ada.png",
            "locale": "en_US",
        },
    )
    google = oidc.issuer(
        "google",
        sends_id_token=False,
        user={
            "id": "g-1",
            "email": "ada@example.com",
            "verified_email": True,
            "name": "Ada",
            "picture": "https://google.com/ada.png",
        },
    )
    auth = await start_auth(
        email={"enable_confirmations": True},
        external={
            "azure": settings_for(azure, url=azure_url),
            "linkedin_oidc": settings_for(linkedin),
            "google": settings_for(google),
        },
    )
    (identity,) = (await sign_in_with(auth, "azure"))["user"]["identities"]
    assert identity["identity_data"] == {
        "iss": azure.url,
        "sub": "az-1",
        "provider_id": "az-1",
        "preferred_username": "ada@corp.example.com",
        "full_name": "Ada",
        "custom_claims": {"email": "ada@example.com", "xms_edov": True, "oid": "o-1"},
        "email": "ada@example.com",
        "email_verified": True,
        "phone_verified": False,
    }
    linked = (await sign_in_with(auth, "linkedin_oidc"))["user"]["identities"][1]
    assert linked["identity_data"]["name"] == "Ada Lovelace"
    assert linked["identity_data"]["email_verified"] is True
    older = (await sign_in_with(auth, "google"))["user"]["identities"][2]
    assert (older["id"], older["identity_data"]["picture"]) == ("g-1", "https://google.com/ada.png")


TWITTER_USER = {
    "id": 38895958,
    "id_str": "38895958",
    "name": "Ada Lovelace",
    "screen_name": "ada",
    "email": "ada@example.com",
    "profile_image_url_https": "https://twitter.com/ada.png",
}


async def test_twitter_signs_in_by_oauth_1(start_auth: StartAuth) -> None:
    twitter = TwitterV1(TWITTER_USER)
    with social_server(twitter) as base:
        auth = await start_auth(external={"twitter": configured(base)})
        session = await sign_in_with(auth, "twitter")
        assert twitter.problems == []
        (identity,) = session["user"]["identities"]
        assert identity["identity_data"] == {
            "iss": f"{base}/1.1/account/verify_credentials.json",
            "sub": "38895958",
            "provider_id": "38895958",
            **named("Ada Lovelace", "https://twitter.com/ada.png"),
            "preferred_username": "ada",
            "user_name": "ada",
            "email": "ada@example.com",
            "email_verified": True,
            "phone_verified": False,
        }
        await refused_ways(auth)


async def refused_ways(auth: AuthClient) -> None:
    """Another state's token, a made-up one, and a user who denies."""
    target, _ = await consent(await leave(auth, "twitter"))
    other, _ = await consent(await leave(auth, "twitter"))
    mine, theirs = (dict(parse_qsl(urlsplit(url).query)) for url in (target, other))
    swapped = target.replace(mine["oauth_token"], theirs["oauth_token"])
    end = await come_back(auth, swapped)
    assert end.error == ("server_error", "unexpected_failure")
    assert end.query["error_description"] == "Unable to retrieve access token"
    wrong = await come_back(auth, other.replace(theirs["oauth_verifier"], "wrong"))
    assert wrong.error == ("server_error", "unexpected_failure")
    left = await consent(await leave(auth, "twitter"))
    state = dict(parse_qsl(urlsplit(left[0]).query))["state"]
    denied = await come_back(auth, f"/callback?state={state}&denied=x")
    assert denied.error == ("access_denied", "")


async def test_a_twitter_that_is_down_is_told(start_auth: StartAuth, oidc: FakeOidc) -> None:
    auth = await start_auth(external={"twitter": settings_for(oidc.issuer("nothing-there"))})
    assert (await auth.get("/authorize?provider=twitter")).error == (500, "unexpected_failure")


@pytest.mark.parametrize(
    "answer", [[], "text", None, {"id": None}, {"id": True}, {"id": ""}, {"id": {}}, {"id": "x" * 3000}]
)
async def test_answers_that_name_nobody_sign_nobody_in(start_auth: StartAuth, answer: object) -> None:
    fake = Social("/oauth", "/v1/oauth/token", {"/v1/me": answer}, "basic", scope="current_user:read")
    with social_server(fake) as base:
        auth = await start_auth(external={"figma": configured(base)})
        end = await come_back(auth, *await consent(await leave(auth, "figma")))
    assert end.error == ("server_error", "unexpected_failure")
    assert auth.rows("select * from auth.users") == []


async def test_settings_show_what_is_enabled(start_auth: StartAuth) -> None:
    auth = await start_auth(
        external={"github": configured("x"), "figma": ExternalProviderSettings(enabled=False)}
    )
    external = (await auth.get("/settings")).json["external"]
    assert external["github"] is True
    assert external["figma"] is False
    assert external["google"] is False
