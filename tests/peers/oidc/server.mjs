// The certified OpenID provider, set up for tests: loopback, a free port, keys and people of its own.
//
//   node server.mjs '{"audience": "https://gateway.test", "people": {"dana": {"groups": ["dba"]}}}'
//
// Prints one line of JSON, {"issuer": ...}, when it is ready, and ends when its standard input does.
// Signing in takes no page: whoever `login_hint` names is signed in and consents.

import { createServer } from 'node:http';
import { generateKeyPairSync } from 'node:crypto';

import { Provider } from 'oidc-provider';

const options = {
  audience: 'https://gateway.test',
  algorithm: 'RS256',
  lifetime: 300,
  scope: 'db ssh api',
  people: { dana: { groups: ['engineering'] }, erin: { groups: ['engineering', 'dba'] } },
  ...JSON.parse(process.argv[2] ?? '{}'),
};

const PUBLIC_CLIENTS = ['test-agent', 'mcp-gateway-approver'];
const MACHINE = { client_id: 'test-machine', client_secret: 'a-secret-of-tests-only' };
const CALLBACK = 'http://127.0.0.1/callback';

function signingKey(algorithm) {
  const [type, parameters] = {
    RS256: ['rsa', { modulusLength: 2048 }],
    ES256: ['ec', { namedCurve: 'P-256' }],
    EdDSA: ['ed25519', {}],
  }[algorithm];
  const { privateKey } = generateKeyPairSync(type, parameters);
  return { ...privateKey.export({ format: 'jwk' }), kid: `${algorithm}-1`, use: 'sig', alg: algorithm };
}

const configuration = {
  clients: [
    ...PUBLIC_CLIENTS.map((name) => ({
      client_id: name,
      application_type: 'native',
      token_endpoint_auth_method: 'none',
      redirect_uris: [CALLBACK],
      response_types: ['code'],
      grant_types: ['authorization_code', 'urn:ietf:params:oauth:grant-type:device_code'],
    })),
    { ...MACHINE, redirect_uris: [], response_types: [], grant_types: ['client_credentials'] },
  ],
  jwks: { keys: [...new Set(['RS256', options.algorithm])].map(signingKey) },
  enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256', 'EdDSA'] },
  cookies: { keys: ['a-cookie-key-of-tests-only'] },
  claims: { openid: ['sub'], email: ['email'], auth_time: null },
  scopes: ['openid', 'email'],
  ttl: {
    AccessToken: options.lifetime,
    AuthorizationCode: 60,
    ClientCredentials: options.lifetime,
    DeviceCode: 300,
    Grant: 600,
    IdToken: options.lifetime,
    Interaction: 300,
    Session: 600,
  },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (ctx, resource) => ({
        audience: resource,
        scope: options.scope,
        accessTokenFormat: 'jwt',
        accessTokenTTL: options.lifetime,
        jwt: { sign: { alg: options.algorithm } },
      }),
    },
  },
  findAccount: (ctx, subject) => options.people[subject] && {
    accountId: subject,
    claims: () => ({ sub: subject, ...options.people[subject] }),
  },
  // What an issuer adds to an access token for a person (RFC 9068 section 2.2.1 and 2.2.3.1).
  extraTokenClaims: (ctx, token) => (token.kind === 'AccessToken' ? {
    ...options.people[token.accountId],
    auth_time: ctx.oidc.entities.AuthorizationCode?.authTime,
  } : undefined),
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  renderError: (ctx, out) => { ctx.type = 'json'; ctx.body = out; },
};

async function interact(provider, ctx) {
  const { prompt, params, session } = await provider.interactionDetails(ctx.req, ctx.res);
  let result;
  if (prompt.name === 'login') {
    result = { login: { accountId: params.login_hint } };
  } else {
    const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
    const { missingOIDCScope, missingResourceScopes } = prompt.details;
    if (missingOIDCScope) grant.addOIDCScope(missingOIDCScope.join(' '));
    for (const [resource, scopes] of Object.entries(missingResourceScopes ?? {})) {
      grant.addResourceScope(resource, scopes.join(' '));
    }
    result = { consent: { grantId: await grant.save() } };
  }
  ctx.respond = false;
  await provider.interactionFinished(ctx.req, ctx.res, result, { mergeWithLastSubmission: true });
}

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, configuration);
  provider.use(async (ctx, next) => {
    if (ctx.path.startsWith('/interaction/')) await interact(provider, ctx);
    else await next();
  });
  server.on('request', provider.callback());
  process.stdout.write(`${JSON.stringify({ issuer })}\n`);
});

process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
