"""The known providers, one description each: where they are, what to ask for, how they want to be spoken to, and which
function reads their answers (GoTrue internal/api/provider/).

`url` of `[auth.external.NAME]` moves all of a provider's addresses: a self-hosted GitLab, a tenant of Azure, or a fake
in tests.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from basalt.auth.external_identity import ExternalProfile
from basalt.auth.oauth import profiles
from basalt.auth.oauth.profiles import Answers

# How the client shows its secret: HTTP Basic, fields of the form, or whichever is taken (RFC 6749 §2.3.1).
ClientAuth = Literal["basic", "form", "either"]


@dataclass(frozen=True, slots=True)
class Address:
    """A host, with a path where every address of the provider shares one, and the rest. A host with a scheme is an
    address that somebody configured whole."""

    host: str
    path: str = ""
    moved_path: str | None = None  # where self-hosted servers have another

    def under(self, url: str | None) -> str:
        """
        >>> Address("gitlab.com", "/oauth/token").under(None)
        'https://gitlab.com/oauth/token'
        >>> Address("api.github.com", "/user", "/api/v3/user").under("https://github.example.com/")
        'https://github.example.com/api/v3/user'
        """
        if "://" in self.host:
            return self.host + self.path
        if not url:
            return f"https://{self.host}{self.path}"
        return url.rstrip("/") + (self.path if self.moved_path is None else self.moved_path)


@dataclass(frozen=True, kw_only=True)
class Description:
    """Addresses that are None are discovered from the issuer. `issuer` is what ID tokens must be from, see
    `issuer_rule`; `profile_from` is where the user is read from."""

    authorize: Address | None = None
    token: Address | None = None
    user: Address | None = None
    more: Address | None = None  # a second answer, for the addresses
    iss: Address | None = None  # what identities name as their origin
    issuer: Address | None = None
    issuer_rule: Literal["exact", "apple", "azure"] = "exact"
    scopes: tuple[str, ...] = ()
    takes_scopes: bool = True
    client_auth: ClientAuth = "form"
    pkce: bool = False
    parameters: Mapping[str, str] = field(default_factory=dict)  # of the authorization request
    takes_parameters: bool = True  # those of the application are passed on
    user_query: Mapping[str, str] = field(default_factory=dict)
    user_headers: Mapping[str, str] = field(default_factory=dict)  # `{client_id}` is filled in
    proves_secret: bool = False  # Facebook's appsecret_proof
    profile_from: Literal["user", "id_token", "id_token or user", "token"] = "user"
    read: Callable[[Answers], ExternalProfile] = profiles.read_standard
    read_token: Callable[[Mapping[str, Any]], ExternalProfile] | None = None
    takes_id_tokens: bool = False  # apps may bring ID tokens themselves
    checks_nonce: bool = True
    needs_url: bool = False
    oauth1: bool = False


KNOWN: Final[Mapping[str, Description]] = {
    "apple": Description(
        issuer=Address("appleid.apple.com"),
        issuer_rule="apple",
        scopes=("email", "name"),
        takes_scopes=False,
        parameters={"response_mode": "form_post"},  # Apple's rule when a scope is asked for
        takes_parameters=False,
        profile_from="id_token",
        read_token=profiles.read_apple_token,
        takes_id_tokens=True,
    ),
    "azure": Description(
        authorize=Address("login.microsoftonline.com/common", "/oauth2/v2.0/authorize"),
        token=Address("login.microsoftonline.com/common", "/oauth2/v2.0/token"),
        issuer=Address("login.microsoftonline.com/common", "/v2.0"),
        issuer_rule="azure",
        scopes=("openid",),
        profile_from="id_token",
        read_token=profiles.read_azure_token,
        takes_id_tokens=True,
    ),
    "bitbucket": Description(
        authorize=Address("bitbucket.org", "/site/oauth2/authorize"),
        token=Address("bitbucket.org", "/site/oauth2/access_token"),
        user=Address("api.bitbucket.org", "/2.0/user"),
        more=Address("api.bitbucket.org", "/2.0/user/emails"),
        iss=Address("api.bitbucket.org", "/2.0"),
        scopes=("account", "email"),
        takes_scopes=False,
        client_auth="basic",
        read=profiles.read_bitbucket,
    ),
    "discord": Description(
        authorize=Address("discord.com", "/api/oauth2/authorize"),
        token=Address("discord.com", "/api/oauth2/token"),
        user=Address("discord.com", "/api/users/@me"),
        iss=Address("discord.com", "/api"),
        scopes=("email", "identify"),
        client_auth="basic",
        read=profiles.read_discord,
    ),
    "facebook": Description(
        authorize=Address("www.facebook.com", "/dialog/oauth"),
        token=Address("graph.facebook.com", "/oauth/access_token"),
        user=Address("graph.facebook.com", "/me"),
        user_query={"fields": "email,first_name,last_name,name,picture"},
        iss=Address("graph.facebook.com", "/me?fields=email,first_name,last_name,name,picture"),
        issuer=Address("www.facebook.com"),
        scopes=("email",),
        proves_secret=True,
        read=profiles.read_facebook,
        read_token=profiles.read_facebook_token,
        takes_id_tokens=True,
        checks_nonce=False,  # Limited Login hashes no nonce
    ),
    "figma": Description(
        authorize=Address("www.figma.com", "/oauth"),
        token=Address("api.figma.com", "/v1/oauth/token"),
        user=Address("api.figma.com", "/v1/me"),
        iss=Address("api.figma.com"),
        scopes=("current_user:read",),
        client_auth="basic",
        read=profiles.read_figma,
    ),
    "fly": Description(
        authorize=Address("api.fly.io", "/oauth/authorize"),
        token=Address("api.fly.io", "/oauth/token"),
        user=Address("api.fly.io", "/oauth/token/info"),
        iss=Address("api.fly.io"),
        scopes=("read",),
        read=profiles.read_fly,
    ),
    "github": Description(
        authorize=Address("github.com", "/login/oauth/authorize"),
        token=Address("github.com", "/login/oauth/access_token"),
        user=Address("api.github.com", "/user", "/api/v3/user"),
        more=Address("api.github.com", "/user/emails", "/api/v3/user/emails"),
        iss=Address("api.github.com", "", "/api/v3"),
        scopes=("user:email",),
        read=profiles.read_github,
    ),
    "gitlab": Description(
        authorize=Address("gitlab.com", "/oauth/authorize"),
        token=Address("gitlab.com", "/oauth/token"),
        user=Address("gitlab.com", "/api/v4/user"),
        more=Address("gitlab.com", "/api/v4/user/emails"),
        iss=Address("gitlab.com"),
        scopes=("read_user",),
        read=profiles.read_gitlab,
    ),
    "google": Description(
        user=Address("www.googleapis.com", "/userinfo/v2/me"),
        iss=Address("www.googleapis.com", "/userinfo/v2/me"),
        issuer=Address("accounts.google.com"),
        scopes=("email", "profile"),
        profile_from="id_token or user",
        read=profiles.read_google_user,
        read_token=profiles.read_google_token,
        takes_id_tokens=True,
    ),
    "kakao": Description(
        authorize=Address("kauth.kakao.com", "/oauth/authorize"),
        token=Address("kauth.kakao.com", "/oauth/token"),
        user=Address("kapi.kakao.com", "/v2/user/me"),
        iss=Address("kapi.kakao.com"),
        issuer=Address("kauth.kakao.com"),
        scopes=("account_email", "profile_image", "profile_nickname"),
        read=profiles.read_kakao,
        read_token=profiles.read_kakao_token,
        takes_id_tokens=True,
    ),
    "keycloak": Description(
        authorize=Address("", "/protocol/openid-connect/auth"),
        token=Address("", "/protocol/openid-connect/token"),
        user=Address("", "/protocol/openid-connect/userinfo"),
        iss=Address(""),
        issuer=Address(""),
        scopes=("profile", "email"),
        client_auth="basic",
        read=profiles.read_keycloak,
        takes_id_tokens=True,
        needs_url=True,
    ),
    "linkedin": Description(
        authorize=Address("api.linkedin.com", "/oauth/v2/authorization"),
        token=Address("api.linkedin.com", "/oauth/v2/accessToken"),
        user=Address("api.linkedin.com", "/v2/me"),
        user_query={
            "projection": "(id,firstName,lastName,profilePicture(displayImage~:playableStreams))",
        },
        more=Address("api.linkedin.com", "/v2/emailAddress?q=members&projection=(elements*(handle~))"),
        iss=Address("api.linkedin.com"),
        scopes=("r_emailaddress", "r_liteprofile"),
        read=profiles.read_linkedin,
    ),
    "linkedin_oidc": Description(
        authorize=Address("api.linkedin.com", "/oauth/v2/authorization"),
        token=Address("api.linkedin.com", "/oauth/v2/accessToken"),
        issuer=Address("www.linkedin.com/oauth"),
        scopes=("openid", "email", "profile"),
        profile_from="id_token",
        read_token=profiles.read_linkedin_token,
    ),
    "notion": Description(
        authorize=Address("api.notion.com", "/v1/oauth/authorize"),
        token=Address("api.notion.com", "/v1/oauth/token"),
        user=Address("api.notion.com", "/v1/users/me"),
        user_headers={"notion-version": "2021-08-16"},
        iss=Address("api.notion.com"),
        takes_scopes=False,
        client_auth="basic",
        read=profiles.read_notion,
    ),
    "slack": Description(
        authorize=Address("slack.com", "/oauth/authorize"),
        token=Address("slack.com", "/api/oauth.access"),
        user=Address("slack.com", "/api/openid.connect.userInfo"),
        iss=Address("slack.com", "/api"),
        scopes=("profile", "email", "openid"),
        client_auth="basic",
        read=profiles.read_slack,
    ),
    "slack_oidc": Description(
        authorize=Address("slack.com", "/openid/connect/authorize"),
        token=Address("slack.com", "/api/openid.connect.token"),
        user=Address("slack.com", "/api/openid.connect.userInfo"),
        iss=Address("slack.com", "/api"),
        scopes=("profile", "email", "openid"),
        client_auth="basic",
        read=profiles.read_slack_oidc,
    ),
    "snapchat": Description(
        authorize=Address("accounts.snapchat.com", "/accounts/oauth2/auth"),
        token=Address("accounts.snapchat.com", "/accounts/oauth2/token"),
        user=Address("kit.snapchat.com", "/v1/me"),
        user_query={"query": "{me { externalId displayName bitmoji { avatar id } email } }"},
        iss=Address("accounts.snapchat.com/accounts/oauth2/token"),
        issuer=Address("accounts.snapchat.com/accounts/oauth2/token"),
        scopes=(
            "https://auth.snapchat.com/oauth2/api/user.external_id",
            "https://auth.snapchat.com/oauth2/api/user.display_name",
            "https://auth.snapchat.com/oauth2/api/user.bitmoji.avatar",
        ),
        client_auth="basic",
        read=profiles.read_snapchat,
        read_token=profiles.read_snapchat_token,
        takes_id_tokens=True,
    ),
    "spotify": Description(
        authorize=Address("accounts.spotify.com", "/authorize"),
        token=Address("accounts.spotify.com", "/api/token"),
        user=Address("api.spotify.com/v1", "/me"),
        iss=Address("api.spotify.com/v1"),
        scopes=("user-read-email",),
        client_auth="basic",
        read=profiles.read_spotify,
    ),
    "twitch": Description(
        authorize=Address("id.twitch.tv", "/oauth2/authorize"),
        token=Address("id.twitch.tv", "/oauth2/token"),
        user=Address("api.twitch.tv", "/helix/users"),
        user_headers={"client-id": "{client_id}"},
        iss=Address("api.twitch.tv"),
        scopes=("user:read:email",),
        read=profiles.read_twitch,
    ),
    "twitter": Description(
        authorize=Address("api.twitter.com", "/oauth/authenticate"),
        token=Address("api.twitter.com", "/oauth/access_token"),
        more=Address("api.twitter.com", "/oauth/request_token"),
        user=Address("api.twitter.com", "/1.1/account/verify_credentials.json"),
        user_query={"include_entities": "false", "skip_status": "true", "include_email": "true"},
        iss=Address("api.twitter.com", "/1.1/account/verify_credentials.json"),
        takes_scopes=False,
        takes_parameters=False,
        read=profiles.read_twitter,
        oauth1=True,
    ),
    "workos": Description(
        authorize=Address("api.workos.com", "/sso/authorize"),
        token=Address("api.workos.com", "/sso/token"),
        iss=Address("api.workos.com"),
        takes_scopes=False,
        profile_from="token",
        read=profiles.read_workos,
    ),
    "x": Description(
        authorize=Address("x.com", "/i/oauth2/authorize"),
        token=Address("api.x.com", "/2/oauth2/token"),
        user=Address("api.x.com", "/2/users/me"),
        user_query={"user.fields": "id,name,username,confirmed_email,profile_image_url,url,created_at"},
        iss=Address("api.x.com"),
        scopes=("users.email", "tweet.read", "users.read", "offline.access"),
        client_auth="basic",
        pkce=True,
        read=profiles.read_x,
    ),
    "zoom": Description(
        authorize=Address("zoom.us", "/oauth/authorize"),
        token=Address("zoom.us", "/oauth/token"),
        user=Address("api.zoom.us", "/v2/users/me"),
        iss=Address("api.zoom.us", "/v2"),
        takes_scopes=False,
        client_auth="basic",
        read=profiles.read_zoom,
    ),
}
