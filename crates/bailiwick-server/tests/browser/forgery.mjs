// A real Chromium, and pages of other origins that try to change something with the session it has.
//
// Run by tests/it/chromium.rs, with what it needs as one JSON argument. Prints the statuses that the server must have
// given to the requests that reached it; the caller compares them with the server's own log, so that no attack counts
// as fended off that was never sent. Ends with another code than 0 if anything was not as it must be.
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const { executable, server, foreign, trusted, credential, victim, attacker } = JSON.parse(process.argv[2]);
const tasks = `${server}/api/v1/orgs/acme/tasks/`;
const session = `${server}/api/v1/auth/session/`;
const PATIENCE = 20_000;

/** How often the server must have answered a request that would make a task with each status. */
const answered = {};
const expectAnswer = (status) => (answered[status] = (answered[status] ?? 0) + 1);

/** What the outside sees: by a token, and not through the browser. */
async function outside(path) {
  const reply = await fetch(server + path, { headers: { authorization: `Token ${credential}` } });
  assert.equal(reply.status, 200, path);
  return reply.json();
}
const countTasks = async () => (await outside("/api/v1/orgs/acme/tasks/")).count;

/** Resolves when the browser is done with its next request of this kind, whether the page may see the answer or not. */
function done(page, method, url) {
  const is = (request) => request.method() === method && request.url() === url;
  return Promise.race(
    ["requestfinished", "requestfailed"].map((name) =>
      page.context().waitForEvent(name, { predicate: is, timeout: PATIENCE }),
    ),
  );
}

/** Submits a form, which leads the page to the answer, and answers what is there. */
async function submit(page, url, enctype, fields) {
  const arrived = page.waitForResponse((response) => response.url() === url, { timeout: PATIENCE });
  await page.evaluate(
    ({ url, enctype, fields }) => {
      const form = document.body.appendChild(document.createElement("form"));
      Object.assign(form, { method: "post", action: url, enctype });
      for (const [name, value] of fields) {
        Object.assign(form.appendChild(document.createElement("input")), { type: "hidden", name, value });
      }
      form.submit();
    },
    { url, enctype, fields },
  );
  const response = await arrived;
  return { status: response.status(), problem: await response.json() };
}

/** Calls from the page's script; the status, or `null` where the browser shows the page nothing. */
const call = (page, url, options) =>
  page.evaluate(
    ([url, options]) => fetch(url, { credentials: "include", ...options }).then((reply) => reply.status, () => null),
    [url, options],
  );

/** The one field of a form that sends this text as it is, if it is encoded as `text/plain`: as `name=value`. */
const asField = (text) => [text.split("=")];
// Bodies that would do as JSON, if a server took them for that.
const task = '{"title":"forged","description":"="}';
const logIn = JSON.stringify(attacker);

/** Everything that a page can do without being allowed to by CORS, from the page at `origin`. */
async function attack(page, origin, { status, detail }) {
  const expect = ({ status: found, problem }, what) => {
    assert.equal(found, status, `${what} of ${origin}`);
    if (detail) assert.match(problem.detail, detail, `${what} of ${origin}`);
    expectAnswer(status);
  };
  const there = () => page.goto(origin, { timeout: PATIENCE });

  for (const [enctype, fields] of [
    ["application/x-www-form-urlencoded", [["title", "forged"]]],
    ["text/plain", asField(task)],
    ["multipart/form-data", [["title", "forged"]]],
  ]) {
    await there();
    expect(await submit(page, tasks, enctype, fields), enctype);
  }

  await there();
  // Sent as it is, since it is no more than a form could send; the page does not see what came of it.
  for (const mode of ["no-cors", "cors"]) {
    const sent = done(page, "POST", tasks);
    assert.equal(await call(page, tasks, { method: "POST", mode, body: task }), null, `${mode} of ${origin}`);
    await sent;
    expectAnswer(status);
  }
  const sent = done(page, "POST", tasks);
  assert.equal(await page.evaluate(([url, body]) => navigator.sendBeacon(url, body), [tasks, task]), true);
  await sent;
  expectAnswer(status);

  // The browser asks first, nobody says yes, and the request itself is not sent.
  const headers = { "content-type": "application/json" };
  for (const options of [
    { method: "POST", headers, body: task },
    { method: "POST", headers: { "x-csrftoken": "anything" }, body: task },
    { method: "DELETE" },
    { method: "PUT", body: task },
  ]) {
    assert.equal(await call(page, tasks, options), null, `${options.method} of ${origin}`);
  }
  assert.equal(await call(page, session, { method: "DELETE" }), null, `log-out of ${origin}`);

  // An image is a GET, whatever its address says.
  for (const query of ["", "?_method=DELETE", "?title=forged&csrf_token=x"]) {
    const sent = done(page, "GET", tasks + query);
    await page.evaluate((url) => void (new Image().src = url), tasks + query);
    await sent;
  }

  // A log-in is forged too, so that the victim works in the attacker's account. It needs a token, whoever sends it.
  for (const [enctype, fields] of [
    ["application/x-www-form-urlencoded", Object.entries(attacker)],
    ["text/plain", asField(logIn)],
  ]) {
    await there();
    const { status, problem } = await submit(page, session, enctype, fields);
    assert.deepEqual([status, problem.code], [403, "csrf-failed"], `log-in of ${origin}`);
  }
}

const browser = await chromium.launch({ executablePath: executable, timeout: 60_000 });
try {
  // The answers of the server forbid whatever a page could do, and it has no page yet: the script that stands for its own
  // page runs in one of its JSON answers, without that policy. CSRF is not decided by it.
  const context = await browser.newContext({ bypassCSP: true });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);

  await page.goto(`${server}/api/v1/auth/csrf/`);
  const token = await page.evaluate(
    async ([url, credentials]) => {
      const before = await (await fetch("/api/v1/auth/csrf/")).json();
      const reply = await fetch(url, {
        method: "POST",
        headers: { "content-type": "application/json", "x-csrftoken": before.csrf_token },
        body: JSON.stringify(credentials),
      });
      return (await reply.json()).csrf_token;
    },
    [session, victim],
  );
  assert.equal(typeof token, "string", "a page of the server's own origin logs a browser in");
  const loggedInAs = async () => {
    await page.goto(session);
    return page.evaluate(() => fetch(location.href).then((reply) => reply.json()).then((body) => body.user?.username));
  };
  assert.equal(await loggedInAs(), victim.username);
  const cookies = await context.cookies();
  assert.deepEqual(cookies.map(({ name, httpOnly, sameSite }) => ({ name, httpOnly, sameSite })), [
    { name: "bailiwick_session", httpOnly: true, sameSite: "Lax" },
  ]);
  assert.equal(await page.evaluate(() => document.cookie), "", "no script reads a cookie");

  const json = { "content-type": "application/json" };
  const withToken = { method: "POST", headers: { ...json, "x-csrftoken": token }, body: '{"title":"wanted"}' };
  const before = await countTasks();

  assert.equal(await call(page, tasks, { ...withToken, headers: json }), 403, "without the token");
  expectAnswer(403);
  assert.equal(await call(page, tasks, withToken), 201, "with it");
  expectAnswer(201);
  assert.equal(await countTasks(), before + 1);

  // Another port of the same host is another origin but the same site: the browser sends the cookie along.
  await attack(page, foreign.same_site, { status: 403, detail: /^Origin is neither/ });
  // Another host is another site, and `SameSite=Lax` keeps the cookie back: the request is anybody's.
  await attack(page, foreign.cross_site, { status: 401 });
  // The trusted origin gets past the check of origins, and no further: no form and no simple call can hold the token.
  await attack(page, trusted.same_site, { status: 403, detail: /^X-CSRFToken is missing/ });
  await attack(page, trusted.cross_site, { status: 401 });
  assert.equal(await countTasks(), before + 1, "what was forged changed nothing");
  assert.equal(await loggedInAs(), victim.username, "nobody was logged out or in");

  // The trusted page sends the token in a header, which the browser does only after a preflight that says yes, and CORS
  // allows no origin here. Now the browser's driver says yes to every preflight, of every page. The requests after it are
  // real, with the Origin, the Sec-Fetch-Site and the cookies that the browser gives them; so it is seen that where CORS
  // lets a page through, this check still decides.
  await context.route("**/*", (route) => route.continue());
  for (const [origin, status] of [
    [foreign.same_site, 403],
    [foreign.cross_site, 401],
    [trusted.same_site, 201],
    // Trusted or not, the cookie stays at home: a front-end that is to use sessions must be of the same site.
    [trusted.cross_site, 401],
  ]) {
    await page.goto(origin);
    const count = await countTasks();
    const sent = done(page, "POST", tasks);
    await call(page, tasks, withToken);
    await sent;
    expectAnswer(status);
    assert.equal(await countTasks(), count + (status === 201 ? 1 : 0), `with the right token, from ${origin}`);
  }
  assert.equal(await countTasks(), before + 2);
  assert.equal(await loggedInAs(), victim.username);
} finally {
  await browser.close();
}
console.log(JSON.stringify(answered));
