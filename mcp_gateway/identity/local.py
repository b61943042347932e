"""The gateway's own issuer, for one person on one machine and for the demo: `issuer = "local"`.

It signs tokens of minutes for the operating-system user, and for the further people that the demo and tests
configure. They go through the same verifier as any issuer's; what tells them apart is `assurance`. This proves who
started the process and no more: an agent that runs as the same user can read the key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType

import orjson
from joserfc.jwk import ECKey
from joserfc.jws import JWSRegistry

from mcp_gateway.calls import Assurance, Caller, JSONObject, Secret
from mcp_gateway.errors import IdentityError
from mcp_gateway.identity.encoding import encode_base64url
from mcp_gateway.identity.jwks import KeySet, read_keys
from mcp_gateway.identity.keys import StaticKeys
from mcp_gateway.identity.local_key import open_local_key
from mcp_gateway.identity.rules import IdentityPolicy
from mcp_gateway.identity.system_user import operating_system_user
from mcp_gateway.identity.tokens import TokenVerifier

LOCAL_ISSUER = "local"
ALGORITHM = "ES256"
TOKEN_TYPE = "at+jwt"  # noqa: S105 - a media type
TOKEN_LIFETIME = timedelta(minutes=5)
LEEWAY = timedelta(seconds=5)
"""One machine, one clock; what is left is a clock that is being set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalPerson:
    """Somebody whom the configuration adds under `[identity.local] people`."""

    groups: frozenset[str] = frozenset()
    email: str | None = None


class LocalIssuer:
    """Signs tokens for this machine's people and says how to verify them."""

    def __init__(
        self,
        *,
        key: ECKey,
        audience: str,
        user: str,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
        people: Mapping[str, LocalPerson] = MappingProxyType({}),
        scopes: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`user` is the operating-system user; `scopes` is the policy's tool to scope, all of which a token carries."""
        self._key = key
        self._key_id = key.thumbprint()
        self._user = user
        self._people = people
        self._clock = clock
        self._new_id = new_id
        self.policy = IdentityPolicy(
            issuer=LOCAL_ISSUER,
            audience=audience,
            algorithms=(ALGORITHM,),
            token_types=(TOKEN_TYPE,),
            max_token_lifetime=TOKEN_LIFETIME,
            leeway=LEEWAY,
            scopes=scopes,
        )

    @property
    def user(self) -> str:
        """The operating-system user, for whom tokens are by default."""
        return self._user

    @property
    def keys(self) -> KeySet:
        """The public key, read the way any issuer's is."""
        jwk = self._key.as_dict(private=False, kid=self._key_id, use="sig", alg=ALGORITHM)
        return read_keys(orjson.dumps({"keys": [jwk]}))

    def assurance_of(self, subject: str) -> Assurance:
        """What the proof of a subject is worth: the operating system's word, or only the configuration's."""
        return "local" if subject == self._user and subject not in self._people else "local-demo"

    def verifier(self, *, revoked: Callable[[Caller], str | None]) -> TokenVerifier:
        """The one verifier, over this issuer's key."""
        return TokenVerifier(
            policy=self.policy,
            keys=StaticKeys(self.keys),
            revoked=revoked,
            clock=self._clock,
            assurance_of=self.assurance_of,
        )

    def mint(
        self,
        subject: str | None = None,
        *,
        client_id: str,
        actor: str | None = None,
        auth_time: datetime | None = None,
    ) -> Secret:
        """Sign a token for the operating-system user, or for one of the configured people.

        `client_id` is the program that asks for it; `actor` makes it a token with which an agent acts for the
        person; `auth_time` says when the person signed in, where they have.

        Raises:
            IdentityError: there is no such person here.
        """
        subject = self._user if subject is None else subject
        person = self._people.get(subject, LocalPerson())
        if subject != self._user and subject not in self._people:
            known = ", ".join(sorted({self._user, *self._people}))
            raise IdentityError(
                f"there is no local person {subject!r}; there is {known}; identity.local.people adds others"
            )
        now = int(self._clock().timestamp())
        claims: JSONObject = {
            "iss": LOCAL_ISSUER,
            "aud": self.policy.audience,
            "sub": subject,
            "client_id": client_id,
            "iat": now,
            "exp": now + int(TOKEN_LIFETIME.total_seconds()),
            "jti": self._new_id(),
            "groups": sorted(person.groups),
            "scope": " ".join(sorted(set(self.policy.scopes.values()))),
        }
        if person.email is not None:
            claims["email"] = person.email
        if actor is not None:
            claims["act"] = {"sub": actor}
        if auth_time is not None:
            claims["auth_time"] = int(auth_time.timestamp())
        return self._sign(claims)

    def _sign(self, claims: JSONObject) -> Secret:
        header = {"alg": ALGORITHM, "kid": self._key_id, "typ": TOKEN_TYPE}
        signed = b".".join(encode_base64url(orjson.dumps(part)) for part in (header, claims))
        signature = JWSRegistry.algorithms[ALGORITHM].sign(signed, self._key)
        return Secret(signed + b"." + encode_base64url(signature))


def open_local_issuer(
    data_dir: Path,
    *,
    audience: str,
    clock: Callable[[], datetime],
    new_id: Callable[[], str],
    people: Mapping[str, LocalPerson] = MappingProxyType({}),
    scopes: Mapping[str, str] = MappingProxyType({}),
) -> LocalIssuer:
    """The issuer of this data directory, for the user whom this process runs as; makes its key if there is none.

    Raises:
        ConfigError: the key or the directory is not ours alone.
    """
    return LocalIssuer(
        key=open_local_key(data_dir, unique=new_id()),
        audience=audience,
        user=operating_system_user(),
        clock=clock,
        new_id=new_id,
        people=people,
        scopes=scopes,
    )
