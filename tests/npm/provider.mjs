// A provider of OpenID Connect (oidc-provider) at a port of this machine, for tests/web/test_oidc_provider.py. Who is
// named by login_hint is signed in without being asked. PUT /test/people/NAME says what is known of NAME, POST
// /test/rotate makes it sign with other keys.
import { generateKeyPairSync } from "node:crypto";
import http from "node:http";
import Provider from "oidc-provider";

const [port, clients] = [Number(process.argv[2]), JSON.parse(process.argv[3])];
const issuer = `http://127.0.0.1:${port}`;
const people = new Map();
let current;
let keys = 0;

function make() {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const key = { ...privateKey.export({ format: "jwk" }), kid: `key-${++keys}`, use: "sig" };
  const provider = new Provider(issuer, {
    clients,
    jwks: { keys: [key] },
    cookies: { keys: ["of the tests"] },
    claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"], groups: ["groups"] },
    conformIdTokenClaims: true, // claims come from userinfo, as the specification has it where there is an access token
    features: { devInteractions: { enabled: false }, clientCredentials: { enabled: true } },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, ...people.get(id) }) }),
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    pkce: { required: () => true },
    ttl: { AccessToken: 600, AuthorizationCode: 60, Grant: 600, IdToken: 600, Interaction: 600, Session: 600 },
    renderError: (ctx, out) => { ctx.type = "json"; ctx.body = out; },
  });
  const ask = provider.callback();
  return async (request, response) => {
    if (!request.url.startsWith("/interaction/")) return ask(request, response);
    const { prompt, params, session } = await provider.interactionDetails(request, response);
    if (prompt.name === "login") {
      return provider.interactionFinished(request, response, { login: { accountId: params.login_hint } });
    }
    const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
    grant.addOIDCScope(params.scope);
    const consent = { grantId: await grant.save() };
    return provider.interactionFinished(request, response, { consent }, { mergeWithLastSubmission: true });
  };
}

async function body(request) {
  let text = "";
  for await (const part of request) text += part;
  return text;
}

current = make();
http
  .createServer(async (request, response) => {
    if (request.method === "PUT" && request.url.startsWith("/test/people/")) {
      people.set(request.url.split("/").pop(), JSON.parse(await body(request)));
      return response.end("{}");
    }
    if (request.url === "/test/rotate") {
      current = make();
      return response.end("{}");
    }
    try {
      await current(request, response);
    } catch (error) {
      response.statusCode = 500;
      response.end(String(error));
    }
  })
  .listen(port, "127.0.0.1");
