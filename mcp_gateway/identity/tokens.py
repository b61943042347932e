"""A token becomes a `Caller`: the form (`claims`), the issuer's keys (`keys`), the signature (`jwks`), revocations.

Verified tokens are remembered, by SHA-256 and in bounded number; failures never are. A remembered token passes the
same questions that time and people can answer differently since: is it still in time, is its key still the
issuer's, has anybody revoked it. The verifier lives as long as its `IdentityPolicy`: another issuer or audience is
another verifier.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mcp_gateway.calls import Assurance, Caller, Secret
from mcp_gateway.errors import IdentityError
from mcp_gateway.identity.claims import (
    UnverifiedToken,
    VerifiedClaims,
    check_times,
    read_claims,
    read_token,
)
from mcp_gateway.identity.jwks import KeySet, VerificationKey, verify_signature
from mcp_gateway.identity.rules import IdentityPolicy

MAX_REMEMBERED = 1024
"""Verified tokens kept. Each costs about 3 KB; a gateway serves fewer callers than this in a token's life."""


class KeySource(Protocol):
    """Where keys come from: an issuer on the network, or the gateway's own."""

    async def current(self) -> KeySet:
        """The keys to verify with now. Raises `IdentityError`."""

    async def newer(self, *, than: KeySet) -> KeySet:
        """Keys fetched after `than` if that is possible now. Raises `IdentityError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Remembered:
    claims: VerifiedClaims
    key: VerificationKey


class TokenVerifier:
    """Verifies the tokens of one issuer for one audience. Belongs to one event loop."""

    def __init__(
        self,
        *,
        policy: IdentityPolicy,
        keys: KeySource,
        revoked: Callable[[Caller], str | None],
        clock: Callable[[], datetime],
        assurance_of: Callable[[str], Assurance] = lambda _subject: "token",
        max_remembered: int = MAX_REMEMBERED,
    ) -> None:
        """`revoked` says what of a caller somebody has revoked, if anything; it is asked for every use of every token.

        `assurance_of` says what the proof of a subject is worth; only the local issuer has more than one answer.
        """
        self._policy = policy
        self._keys = keys
        self._revoked = revoked
        self._clock = clock
        self._assurance_of = assurance_of
        self._max_remembered = max_remembered
        self._remembered: OrderedDict[bytes, _Remembered] = OrderedDict()
        self._seen: KeySet | None = None

    @property
    def policy(self) -> IdentityPolicy:
        """What this verifier accepts."""
        return self._policy

    async def verify(self, bearer: Secret | str) -> Caller:
        """Prove who calls.

        1. A token that was verified before, whose key is still the issuer's, is not verified anew.
        2. Any other is taken apart, its key found, its signature checked, and only then its payload read. A key id
           that is not known, or a signature that does not fit a key that may have been replaced, asks the issuer
           once more, within the cool-down.
        3. In both cases it is in time and nobody has revoked it.

        Raises:
            IdentityError: no caller is proved.
        """
        raw = bearer.reveal() if isinstance(bearer, Secret) else bearer.encode("utf-8", "surrogatepass")
        digest = hashlib.sha256(raw).digest()
        # What cannot be a token asks the issuer nothing.
        token = read_token(raw, policy=self._policy) if digest not in self._remembered else None
        keys = await self._keys.current()
        # 1.
        known = self._recall(digest, keys=keys)
        if known is None:
            # 2.
            known = await self._verified(token or read_token(raw, policy=self._policy), keys=keys)
            self._remember(digest, known)
        # 3.
        self._check_still_valid(known.claims)
        return known.claims.caller

    async def _verified(self, token: UnverifiedToken, *, keys: KeySet) -> _Remembered:
        key = await self._signer(token, keys=keys)
        claims = read_claims(token, policy=self._policy, now=self._clock(), assurance_of=self._assurance_of)
        return _Remembered(claims=claims, key=key)

    async def _signer(self, token: UnverifiedToken, *, keys: KeySet) -> VerificationKey:
        """The key that signed the token, by the keys at hand, else by newer ones."""
        key = keys.keys.get(token.key_id)
        if key is not None:
            try:
                verify_signature(token, key=key)
            except IdentityError:
                newer = (await self._keys.newer(than=keys)).keys.get(token.key_id)
                if newer is None or newer.thumbprint == key.thumbprint:
                    raise
                key = newer
            else:
                return key
        else:
            key = (await self._keys.newer(than=keys)).keys.get(token.key_id)
            if key is None:
                raise IdentityError(f"token key id {token.key_id!r} is none of the issuer's")
        verify_signature(token, key=key)
        return key

    def _recall(self, digest: bytes, *, keys: KeySet) -> _Remembered | None:
        if self._seen is not keys:
            # An issuer takes a key back because it is lost: nothing that was verified before counts any more.
            if self._seen is not None and not self._seen.identities <= keys.identities:
                self._remembered.clear()
            self._seen = keys
        known = self._remembered.get(digest)
        if known is None:
            return None
        # A token can have been verified with a key that went while its verification was under way.
        if (known.key.key_id, known.key.thumbprint) not in keys.identities:
            del self._remembered[digest]
            return None
        self._remembered.move_to_end(digest)
        return known

    def _remember(self, digest: bytes, known: _Remembered) -> None:
        self._remembered[digest] = known
        while len(self._remembered) > self._max_remembered:
            self._remembered.popitem(last=False)

    def _check_still_valid(self, claims: VerifiedClaims) -> None:
        caller = claims.caller
        check_times(
            not_before=claims.not_before,
            expires_at=caller.expires_at,
            leeway=self._policy.leeway,
            now=self._clock(),
        )
        what = self._revoked(caller)
        if what is not None:
            raise IdentityError(f"{what} is revoked")
