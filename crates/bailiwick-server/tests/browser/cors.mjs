// A real Chromium, and what pages of other origins can read.
//
// Run by tests/it/chromium.rs, with what it needs as one JSON argument. Ends with another code than 0 if anything was not as
// it must be. Every preflight, and what came of it, is the browser's own.
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const { executable, server, foreign, allowed, trusted, credential, user } = JSON.parse(process.argv[2]);
const api = `${server}/api/v1`;
const tasks = `${api}/orgs/acme/tasks/`;
const session = `${api}/auth/session/`;
const READABLE = ["etag", "location", "ratelimit", "ratelimit-policy", "x-request-id", "www-authenticate", "retry-after"];
const UNREADABLE = ["content-security-policy", "x-frame-options", "access-control-allow-origin"];

/** Calls from the script of a page: what it can read of the answer, or `null` where the browser shows it nothing. */
const call = (page, url, options = {}) =>
  page.evaluate(
    ([url, options, names]) =>
      fetch(url, options).then(
        async (reply) => ({
          status: reply.status,
          headers: Object.fromEntries(names.map((name) => [name, reply.headers.get(name)])),
          body: await reply.json().catch(() => null),
        }),
        () => null,
      ),
    [url, options, [...READABLE, ...UNREADABLE]],
  );

const authorization = `Token ${credential}`;
const json = { "content-type": "application/json" };
const browser = await chromium.launch({ executablePath: executable, timeout: 60_000 });
try {
  const context = await browser.newContext();
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);

  // By a token, from another site. Whatever is not a form's is asked for first.
  await page.goto(allowed.cross_site);
  const me = await call(page, `${api}/me/`, { headers: { authorization } });
  assert.equal(me.status, 200);
  assert.equal(me.body.username, user.username);
  for (const name of ["ratelimit", "ratelimit-policy", "x-request-id"]) assert.ok(me.headers[name], name);
  for (const name of UNREADABLE) assert.equal(me.headers[name], null, name);

  const made = await call(page, tasks, {
    method: "POST",
    headers: { ...json, authorization, "idempotency-key": "a-key", "x-request-id": "request-of-a-page" },
    body: '{"title":"from another origin"}',
  });
  assert.equal(made.status, 201);
  assert.equal(made.headers["x-request-id"], "request-of-a-page");
  assert.ok(made.headers.etag && made.headers.location);
  const task = `${tasks}${made.body.id}/`;
  const changes = { method: "PATCH", headers: { ...json, authorization, "if-match": made.headers.etag } };
  assert.equal((await call(page, task, { ...changes, body: '{"title":"changed"}' })).status, 200);
  // What went wrong can be read as well.
  const stale = await call(page, task, { ...changes, body: '{"title":"again"}' });
  assert.deepEqual([stale.status, stale.body.code], [412, "precondition-failed"]);
  const nobody = await call(page, `${api}/me/`);
  assert.deepEqual([nobody.status, nobody.body.code], [401, "unauthenticated"]);
  assert.match(nobody.headers["www-authenticate"], /Bearer/);
  assert.equal((await call(page, task, { method: "DELETE", headers: { authorization } })).status, 204);
  // A field that was not decided to be sent.
  assert.equal(await call(page, `${api}/me/`, { headers: { authorization, "x-other": "1" } }), null);

  // A page in a sandbox has the origin `null`, also inside a page that is allowed.
  await page.setContent('<iframe sandbox="allow-scripts" srcdoc="<title>A sandbox</title>"></iframe>');
  const sandbox = page.frames().find((frame) => frame !== page.mainFrame());
  await sandbox.waitForLoadState();
  assert.equal(await sandbox.evaluate(() => origin), "null");
  assert.equal(await call(sandbox, `${api}/me/`), null);
  assert.equal(await call(sandbox, `${api}/me/`, { headers: { authorization } }), null);

  // Nobody else reads anything, neither what is asked for first nor what is sent at once.
  for (const origin of [foreign.cross_site, foreign.same_site]) {
    await page.goto(origin);
    assert.equal(await call(page, `${api}/me/`, { headers: { authorization } }), null, origin);
    assert.equal(await call(page, `${api}/me/`), null, origin);
    assert.equal(await call(page, tasks, { method: "DELETE" }), null, origin);
  }

  // A front-end of the same site logs in from its own origin.
  await page.goto(trusted.same_site);
  const include = { credentials: "include" };
  const before = await call(page, `${api}/auth/csrf/`, include);
  assert.equal(before.status, 200);
  const loggedIn = await call(page, session, {
    ...include,
    method: "POST",
    headers: { ...json, "x-csrftoken": before.body.csrf_token },
    body: JSON.stringify(user),
  });
  assert.equal(loggedIn.status, 200);
  const withToken = {
    ...include,
    method: "POST",
    headers: { ...json, "x-csrftoken": loggedIn.body.csrf_token },
    body: '{"title":"by cookie"}',
  };
  assert.equal((await call(page, tasks, withToken)).status, 201);

  // One that may read, and is not trusted to write.
  await page.goto(allowed.same_site);
  assert.equal((await call(page, session, include)).body.user.username, user.username);
  const forged = await call(page, tasks, withToken);
  assert.deepEqual([forged.status, forged.body.code], [403, "csrf-failed"]);

  // And one that may do nothing, though the browser sends the cookie along.
  await page.goto(foreign.same_site);
  assert.equal(await call(page, session, include), null);
  assert.equal(await call(page, tasks, withToken), null);
} finally {
  await browser.close();
}
