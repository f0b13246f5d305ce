"""Ask a provider of OpenID Connect who someone is, and check what it answers.

The code flow with PKCE: a browser is sent to the provider with `Provider.address`, comes back with a code, and
`Provider.identify` exchanges the code for an ID token. What binds the three to one browser (state, nonce, verifier) is
derived from one secret, which is in a cookie of that browser alone. Nothing about the way is kept here in between.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jws, jwt
from joserfc.errors import BadSignatureError, InvalidKeyIdError, JoseError, KeyParameterError
from joserfc.jwk import KeySet

from ecluse.errors import Forbidden, InvalidCredentials, ProviderUnavailable
from ecluse.sentences import _
from ecluse.settings import ProviderSettings
from ecluse.settings.providers import variable_of

#: What a token may be signed with: by a private key of the provider, never by a secret that both have.
ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"),
    *("EdDSA", "Ed25519"),
)
#: Seconds: an answer that has not begun or goes on after this is none.
PATIENCE: Final = 10.0
#: Bytes of an answer.
_MOST_BYTES: Final = 2_000_000
#: Seconds for which what a provider says of itself, and its keys, are not asked for again.
_KEPT_SECONDS: Final = 3600.0
#: Seconds after which keys may be asked for again because one is missing, and a provider that did not answer.
_AGAIN_SECONDS: Final = 5.0
#: Seconds that the clock of a provider may be off.
LEEWAY: Final = 60
_MOST_PAGES: Final = 100
_LONGEST_SUBJECT: Final = 255
_LONGEST_EMAIL: Final = 320
_CODE: Final = re.compile(r"[a-z_]{1,40}")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Assertion:
    """What a provider says of a person: `subject` is one there for ever, an address may pass to another.

    `email` is in small letters, None where it names none; `is_verified`: it says that the address is the person's.
    """

    provider: str
    label: str
    issuer: str
    subject: str
    email: str | None
    is_verified: bool
    name: str
    #: All groups of the person; None where they mean nothing here.
    groups: frozenset[str] | None = None


@dataclass(frozen=True)
class Binding:
    """What binds an answer of a provider to the browser that asked: all of it is made of the secret of its cookie."""

    secret: str
    provider: str

    @property
    def state(self) -> str:
        return self._derived("state")

    @property
    def nonce(self) -> str:
        return self._derived("nonce")

    @property
    def verifier(self) -> str:
        return self._derived("verifier")

    def _derived(self, purpose: str) -> str:
        """Return 43 characters that tell nothing of the secret."""
        made = hmac.digest(self.secret.encode(), f"{purpose} {self.provider}".encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(made).decode().rstrip("=")


class Provider:
    """A provider as the settings name it. What it says of itself is asked for when it is first needed."""

    def __init__(self, settings: ProviderSettings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._documents: dict[str, tuple[float, dict[str, Any]]] = {}
        self._away_at: float | None = None
        self._keys_missed_at: float | None = None

    def address(self, binding: Binding, redirect_uri: str) -> str:
        """Return where a browser is sent to, so that its person signs in there.

        Raises:
            ProviderUnavailable: it does not answer, or not as a provider.
        """
        address: str = prepare_grant_uri(
            self._endpoint("authorization_endpoint"),
            self.settings.client_id,
            "code",
            redirect_uri=redirect_uri,
            scope=self.settings.scopes,
            state=binding.state,
            nonce=binding.nonce,
            code_challenge=create_s256_code_challenge(binding.verifier),
            code_challenge_method="S256",
        )
        return address

    def identify(self, binding: Binding, redirect_uri: str, answer: Mapping[str, str]) -> Assertion:
        """Return who came back: `answer` is what the provider gave the browser along (code, state, iss, error).

        Raises:
            InvalidCredentials: it was not asked for in this browser, was used before, or cannot be trusted.
            ProviderUnavailable: it does not answer, or not as a provider.
        """
        if not hmac.compare_digest(answer.get("state", "").encode(), binding.state.encode()):
            raise InvalidCredentials(
                _("This sign-in was not begun in this browser, or more than 10 minutes ago. Begin again.")
            )
        self._expect_issuer_of_answer(answer)
        if "code" not in answer:
            reason = answer.get("error", "")
            raise self._refused(reason if _CODE.fullmatch(reason) else "no_code")
        tokens = self._exchange(answer["code"], binding, redirect_uri)
        id_token, access_token = tokens.get("id_token"), tokens.get("access_token")
        if not isinstance(id_token, str):
            raise self._untrusted("no_id_token")
        claims = self._checked_id_token(id_token, binding.nonce, access_token)
        beside = self._userinfo(claims, access_token)
        return self._assertion(claims, beside, self._groups(claims, beside, access_token))

    def _expect_issuer_of_answer(self, answer: Mapping[str, str]) -> None:
        """Make sure that an answer is this provider's, where it says whose it is (RFC 9207)."""
        says_so = self._metadata().get("authorization_response_iss_parameter_supported") is True
        if ("iss" in answer or says_so) and answer.get("iss") != self.settings.issuer:
            raise self._untrusted("issuer_of_answer")

    def _exchange(self, code: str, binding: Binding, redirect_uri: str) -> dict[str, Any]:
        """Return the tokens for a code, which is good once."""
        body = prepare_token_request(
            "authorization_code", redirect_uri=redirect_uri, code=code, code_verifier=binding.verifier
        )
        client = ClientAuth(self.settings.client_id, self.settings.client_secret, self._client_method())
        headers = {"accept": "application/json", "content-type": "application/x-www-form-urlencoded"}
        url, headers, body = client.prepare("POST", self._endpoint("token_endpoint"), headers, body)
        status, tokens, _rest = self._ask("POST", url, headers=headers, content=body)
        if status == 200:
            return tokens
        error = str(tokens.get("error", ""))
        logger.warning(
            "The provider %s gave no tokens: %s %s",
            self.settings.name,
            status,
            error if _CODE.fullmatch(error) else "",
        )
        if error == "invalid_grant":
            raise InvalidCredentials(
                _(
                    "%(provider)s says that this sign-in was used before or is too old. Begin again.",
                    provider=self.settings.label,
                )
            )
        raise self._refused(error if _CODE.fullmatch(error) else str(status))

    def _client_method(self) -> str:
        """Return how this Écluse says who it is; in the body where both are possible, as it needs no encoding there."""
        if self.settings.client_secret is None:
            return "none"
        methods = self._metadata().get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        return "client_secret_post" if "client_secret_post" in methods else "client_secret_basic"

    def _checked_id_token(self, text: str, nonce: str, access_token: object) -> dict[str, Any]:
        """Return the claims of an ID token that this provider made for this Écluse and this sign-in, and that lasts."""
        token = self._verified(text)
        claims = CodeIDToken(
            token.claims,
            token.header,
            options={
                "iss": {"essential": True, "value": self.settings.issuer},
                "aud": {"essential": True, "value": self.settings.client_id},
                "sub": {"essential": True},
            },
            params={
                "nonce": nonce,
                "client_id": self.settings.client_id,
                "access_token": access_token if isinstance(access_token, str) else None,
            },
        )
        try:
            claims.validate(leeway=LEEWAY)
        except (JoseError, ValueError, TypeError) as error:
            raise self._untrusted(f"id_token:{error}") from None
        if not 0 < len(str(claims["sub"])) <= _LONGEST_SUBJECT:
            raise self._untrusted("long_subject")
        return dict(claims)

    def _verified(self, text: str) -> jwt.Token:
        """Return a token that is signed with a key of the provider; for a key that is not known they are asked anew.

        Raises:
            InvalidCredentials: it is not.
        """
        try:
            header = jws.extract_compact(text.encode()).headers()
            if header.get("alg") not in ALGORITHMS:
                raise self._untrusted(f"alg={str(header.get('alg'))[:20]!r}")
            keys = self._keys()
            if not _has_key(keys, header.get("kid")):
                keys = self._newer_keys()
            return _decoded(text, keys, header.get("kid"))
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise self._untrusted(f"signature:{error}") from None

    def _keys(self) -> KeySet:
        """Return the keys that the provider signs with."""
        return KeySet.import_key_set(
            self._document(self._endpoint("jwks_uri"), lambda document: bool(document.get("keys")))  # type: ignore[arg-type]
        )

    def _newer_keys(self) -> KeySet:
        """Return the keys as the provider has them now, unless that was looked up for a missing key just before."""
        moment = time.monotonic()
        if self._keys_missed_at is None or moment - self._keys_missed_at > _AGAIN_SECONDS:
            self._keys_missed_at = moment
            self._documents.pop(self._endpoint("jwks_uri"), None)
        return self._keys()

    def _userinfo(self, claims: Mapping[str, Any], access_token: object) -> dict[str, Any]:
        """Return what the provider says beside the ID token, where that lacks something."""
        endpoint = self._metadata().get("userinfo_endpoint")
        is_complete = "email" in claims and (not self.settings.maps_groups or self._says_groups(claims))
        if is_complete or not endpoint or not isinstance(access_token, str):
            return {}
        status, answer, _rest = self._ask(
            "GET", self._endpoint("userinfo_endpoint"), headers={"authorization": f"Bearer {access_token}"}
        )
        if status != 200:
            raise self._away(f"userinfo={status}")
        if answer.get("sub") != claims["sub"]:
            raise self._untrusted("subject_of_userinfo")
        return answer

    def _says_groups(self, claims: Mapping[str, Any]) -> bool:
        """Return whether claims have groups, or say that these are left out."""
        return self.settings.groups_claim in claims or self._leaves_groups_out(claims)

    def _leaves_groups_out(self, claims: Mapping[str, Any]) -> bool:
        """Return whether claims say that the groups are too many for them (distributed claims; Entra's hasgroups)."""
        elsewhere = claims.get("_claim_names")
        is_elsewhere = isinstance(elsewhere, dict) and self.settings.groups_claim in elsewhere
        return is_elsewhere or _is_yes(claims.get("hasgroups"))

    def _groups(
        self, claims: Mapping[str, Any], beside: Mapping[str, Any], access_token: object
    ) -> frozenset[str] | None:
        """Return all groups of a person, none of them left out; None where they mean nothing here.

        Raises:
            Forbidden: the provider leaves them out, and the settings name no address to ask for them.
            ProviderUnavailable: that address does not answer as it should.
        """
        if not self.settings.maps_groups:
            return None
        source = claims if self._says_groups(claims) else beside
        groups = source.get(self.settings.groups_claim)
        if groups is None and self.settings.groups_url is not None:
            if not isinstance(access_token, str):
                raise self._untrusted("no_access_token")
            return self._all_groups(self.settings.groups_url, access_token)
        if groups is None and self._leaves_groups_out(source):
            raise Forbidden(
                _(
                    "You are in more groups than %(provider)s says at once, so what you may do here is not known. Sign "
                    "in with your password; whoever runs this Écluse sets %(variable)s.",
                    provider=self.settings.label,
                    variable=variable_of(self.settings.name, "groups_url"),
                )
            )
        return self._named(groups if isinstance(groups, list) else [] if groups is None else [groups])

    def _all_groups(self, address: str, access_token: str) -> frozenset[str]:
        """Return the groups that an address lists, page by page: JSON lists, or objects with one (`value`).

        The next page is named as by Microsoft Graph (`@odata.nextLink`) or by a header (`Link`, `rel=next`).
        """
        groups: set[str] = set()
        place = address
        for _page in range(_MOST_PAGES):
            headers = {"accept": "application/json", "authorization": f"Bearer {access_token}"}
            status, document, following = self._ask("GET", place, headers=headers)
            page = document.get("value")
            if status != 200 or not isinstance(page, list):
                raise self._away(f"groups={status}")
            groups |= self._named(page)
            after = document.get("@odata.nextLink") or following
            if after is None:
                return frozenset(groups)
            place = str(after)
            if _origin(place) != _origin(address):  # it would get the access token
                raise self._away("groups_elsewhere")
        raise self._away("groups_endless")

    def _named(self, page: list[Any]) -> frozenset[str]:
        """Return the names of groups: texts as they are, of objects the field that the settings name."""
        names = [
            group.get(self.settings.groups_field) if isinstance(group, dict) else group for group in page
        ]
        texts = [name for name in names if isinstance(name, str)]
        if len(texts) < len(names):
            raise self._untrusted("names_of_groups")
        return frozenset(texts)

    def _assertion(
        self, claims: Mapping[str, Any], beside: Mapping[str, Any], groups: frozenset[str] | None
    ) -> Assertion:
        source = claims if "email" in claims else beside
        email = source.get("email")
        is_address = isinstance(email, str) and 0 < len(email) <= _LONGEST_EMAIL and "@" in email
        name = claims.get("name") or beside.get("name") or ""
        return Assertion(
            provider=self.settings.name,
            label=self.settings.label,
            issuer=self.settings.issuer,
            subject=str(claims["sub"]),
            email=str(email).strip().lower() if is_address else None,
            is_verified=is_address and _is_yes(source.get(self.settings.verified_claim)),
            name=name[:200] if isinstance(name, str) else "",
            groups=groups,
        )

    def _metadata(self) -> dict[str, Any]:
        """Return what the provider says of itself.

        Raises:
            ProviderUnavailable: it does not answer, or calls itself otherwise than the settings do.
        """
        address = f"{self.settings.issuer.rstrip('/')}/.well-known/openid-configuration"
        return self._document(address, lambda document: document.get("issuer") == self.settings.issuer)

    def _endpoint(self, name: str) -> str:
        """Return an address that the provider names; https, or http where the provider itself is at such a one."""
        address = self._metadata().get(name)
        allowed = ("https://", "http://") if self.settings.issuer.startswith("http://") else ("https://",)
        if not isinstance(address, str) or not address.startswith(allowed):
            raise self._away(f"no_{name}")
        return address

    def _document(self, address: str, is_right: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return a document of the provider, as it was within the hour; one that is not right is not kept."""
        with self._lock:
            asked_at, document = self._documents.get(address, (0.0, None))
            if document is not None and time.monotonic() - asked_at < _KEPT_SECONDS:
                return document
            if self._away_at is not None and time.monotonic() - self._away_at < _AGAIN_SECONDS:
                raise self._unavailable()
            try:
                status, document, _rest = self._ask("GET", address)
                if status != 200 or not is_right(document):
                    raise self._away(f"{address}={status}:{str(document)[:300]}")
            except ProviderUnavailable:
                self._away_at = time.monotonic()
                raise
            self._away_at = None
            self._documents[address] = (time.monotonic(), document)
            return document

    def _ask(self, method: str, url: str, **sent: Any) -> tuple[int, dict[str, Any], str | None]:
        """Return the status, the JSON object and the address of the next page that an address answers with.

        The object is {} where there is none; a list is its `value`.

        Raises:
            ProviderUnavailable: it does not answer in time, or with more than it should.
        """
        until, content = time.monotonic() + PATIENCE, bytearray()
        try:
            with httpx.Client(timeout=PATIENCE / 2) as http, http.stream(method, url, **sent) as response:
                for part in response.iter_bytes():
                    content += part
                    if len(content) > _MOST_BYTES or time.monotonic() > until:
                        raise self._away("endless")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._away(f"{type(error).__name__}:{error}") from None
        try:
            document = json.loads(bytes(content))
        except ValueError:
            document = None
        if isinstance(document, list):
            document = {"value": document}
        following = response.links.get("next", {}).get("url")
        return response.status_code, document if isinstance(document, dict) else {}, following

    def _refused(self, reason: str) -> InvalidCredentials:
        return InvalidCredentials(
            _(
                "%(provider)s did not let you in (%(reason)s). Begin again, or sign in with your password.",
                provider=self.settings.label,
                reason=reason,
            )
        )

    def _untrusted(self, reason: str) -> InvalidCredentials:
        """Write down why an answer is not believed; who asks learns that it is not."""
        logger.warning("What the provider %s says is not believed: %s", self.settings.name, reason)
        return InvalidCredentials(
            _(
                "What %(provider)s says of you cannot be trusted, and nobody was let in. Sign in with your password; "
                "whoever runs this Écluse reads the reason in its log.",
                provider=self.settings.label,
            )
        )

    def _away(self, reason: str) -> ProviderUnavailable:
        """Write down why a provider counts as away; who asks learns that it is."""
        logger.warning("The provider %s cannot be asked: %s", self.settings.name, reason)
        return self._unavailable()

    def _unavailable(self) -> ProviderUnavailable:
        return ProviderUnavailable(away_sentence(self.settings.label))


def away_sentence(label: str) -> str:
    """Return what people read where a provider does not answer."""
    return _(
        "%(provider)s does not answer as it should. Try again in a minute, or sign in with your password.",
        provider=label,
    )


def _origin(address: str) -> tuple[str, str]:
    parts = urlsplit(address)
    return parts.scheme, parts.netloc


def _has_key(keys: KeySet, kid: object) -> bool:
    return kid is None or any(key.kid == kid for key in keys)


def _decoded(text: str, keys: KeySet, kid: object) -> jwt.Token:
    """Check the signature of a token: by the key it names, or where it names none by any that there is.

    Raises:
        BadSignatureError: no key fits; why is of interest for the key that a token names alone.
    """
    if kid is not None:
        return jwt.decode(text, keys, algorithms=ALGORITHMS)
    for key in keys:
        try:
            return jwt.decode(text, key, algorithms=ALGORITHMS)
        except (BadSignatureError, KeyParameterError, InvalidKeyIdError, ValueError, TypeError) as error:
            # Each key but one is another's, or of another kind: what it says is of no use unless none fits.
            logger.debug("A key of the provider does not fit the token: %s", type(error).__name__)
    raise BadSignatureError


def _is_yes(value: object) -> bool:
    """Say whether a claim says yes: true, or the texts and the number that some providers write for it."""
    return value is True or value in ("true", "1") or (isinstance(value, int) and value == 1)
