#!/usr/bin/env node
// The Node client that MangoApps documents, call for call, to show that it works against the mirror unchanged.
//
//     node_client.mjs BASE_URL TOKEN [SINCE]
//
// SINCE is an instant such as 2025-11-17T00:00:00Z; without it, a day ago. Prints one JSON document with counts and uids, and
// exits 0 when every call was answered as documented, else 1 with what was wrong under "problems". Calls go through axios, as
// documented, where that is installed, else through the built-in fetch. The documented client has no search; this one asks
// for it as the Python client does.

const axios = await import('axios').then(
  (module) => module.default,
  (error) => {
    if (error.code === 'ERR_MODULE_NOT_FOUND') return null;
    throw error;
  },
);

const TIMEOUT_MS = 30_000;
const META = ['total_count', 'total_pages', 'current_page', 'per_page'];
const LISTED = (
  'uid id email first_name last_name full_name active job_title department organizational_role hire_date original_hire_date ' +
  'employment_status employee_type phone manager locations termination_date termination_type created_at updated_at last_activity_at'
).split(' ');
// A lookup is documented with these in place of original_hire_date.
const LOOKED_UP = LISTED.filter((field) => field !== 'original_hire_date').concat(
  'direct_reports_count organizational_department flsa_status worker_classification time_zone'.split(' '),
  'external_employee_id skills_count certifications_count'.split(' '),
);

/** An answer that the documentation does not describe. Tells no values: they are somebody's data. */
class Undocumented extends Error {}

function expect(holds, problem) {
  if (!holds) throw new Undocumented(problem);
}

const lacking = (object, fields) => fields.filter((field) => !(field in object));

/** What axios makes of a parameter: a form, in which a few characters stay readable. */
function encode(text) {
  return encodeURIComponent(text).replace(/%3A/gi, ':').replace(/%24/g, '$').replace(/%2C/gi, ',').replace(/%20/g, '+');
}

/** GETs a JSON document; any status but success is an error. */
async function get(url, { headers, params = {} }) {
  let status, data;
  if (axios) {
    ({ status, data } = await axios.get(url, { headers, params, timeout: TIMEOUT_MS, validateStatus: () => true }));
  } else {
    const query = Object.entries(params).map(([name, value]) => `${encode(name)}=${encode(value)}`).join('&');
    const response = await fetch(query ? `${url}?${query}` : url, { headers, signal: AbortSignal.timeout(TIMEOUT_MS) });
    status = response.status;
    data = status === 200 ? await response.json() : null;
  }
  expect(status === 200, `status ${status} instead of 200`);
  return data;
}

/** The documented methods, with their documented parameters and defaults. */
class Client {
  constructor(baseUrl, apiToken) {
    this.baseUrl = baseUrl.replace(/\/$/, '');
    this.headers = {
      Authorization: `Bearer ${apiToken}`,
      'Content-Type': 'application/json',
      Accept: 'application/json',
    };
  }

  getAllUsers({ activeOnly = true, perPage = 50, includeDeleted = false } = {}) {
    return this.everyPage(perPage, { ...(activeOnly && { active: 'true' }), ...(includeDeleted && { include_deleted: 'true' }) });
  }

  getUserByUID(uid) {
    return this.one(`${this.baseUrl}/api/v1/users/${uid}`);
  }

  getUserByEmail(email) {
    return this.one(`${this.baseUrl}/api/v1/users/by_email/${email}`);
  }

  getUsersUpdatedSince(since, perPage = 50) {
    return this.everyPage(perPage, { updated_after: since.toISOString() });
  }

  async searchUsers(search, { department } = {}) {
    const { users } = await this.page({ search, per_page: 100, ...(department && { department }) });
    return users;
  }

  async everyPage(perPage, filters) {
    const all = [];
    for (let page = 1; ; page++) {
      const params = { page, per_page: Math.min(perPage, 100), ...filters };
      const { users, meta } = await this.page(params);
      all.push(...users);
      expect(meta.current_page === page && meta.per_page === params.per_page, 'meta tells another page than was asked for');
      if (page < meta.total_pages) continue;
      expect(all.length === meta.total_count, 'total_count differs from the users on all pages');
      expect(new Set(all.map((user) => user.uid)).size === all.length, 'a user is listed twice');
      return all;
    }
  }

  async page(params) {
    const data = await get(`${this.baseUrl}/api/v1/users`, { headers: this.headers, params });
    expect(META.every((key) => Number.isInteger(data.meta[key])), 'meta lacks a whole number');
    for (const user of data.users) {
      expect(lacking(user, LISTED).length === 0, `a listed user lacks ${lacking(user, LISTED)}`);
    }
    return data;
  }

  async one(url) {
    const { user } = await get(url, { headers: this.headers });
    expect(lacking(user, LOOKED_UP).length === 0, `a user looked up lacks ${lacking(user, LOOKED_UP)}`);
    return user;
  }
}

/** Makes every documented call, in the order of the documentation, and reports each. */
async function walk(client, since, report) {
  const told = (call, users) => {
    report[call] = { count: users.length, uids: users.map((user) => user.uid) };
    return users;
  };

  const active = told('active', await client.getAllUsers({ activeOnly: true }));
  expect(active.every((user) => user.active === true), 'active=true lists somebody who is not active');
  told('with_deleted', await client.getAllUsers({ activeOnly: false, includeDeleted: true }));
  const everyone = new Set(report.with_deleted.uids);
  expect(report.active.uids.every((uid) => everyone.has(uid)), 'include_deleted lists fewer than active=true');

  const someone = active.find((user) => user.email && user.first_name && user.department);
  expect(someone, 'nobody active has e-mail, first name and department: there is nobody to look up');
  const { uid, department } = someone;
  const [byUid] = told('by_uid', [await client.getUserByUID(uid)]);
  expect(byUid.uid === uid, 'the lookup by uid answers another user');
  const [byEmail] = told('by_email', [await client.getUserByEmail(someone.email)]);
  expect(byEmail.uid === uid, 'the lookup by e-mail answers another user');

  const updated = told('updated_since', await client.getUsersUpdatedSince(since));
  expect(updated.every((user) => new Date(user.updated_at) >= since), 'updated_after lists somebody who was updated before');

  const found = told('search', await client.searchUsers(someone.first_name, { department }));
  expect(report.search.uids.includes(uid), 'the search does not find whom it was made for');
  expect(found.every((user) => user.department === department), 'the search finds somebody of another department');
}

const [baseUrl, token, since, ...rest] = process.argv.slice(2);
if (token === undefined || rest.length > 0) {
  console.error('usage: node_client.mjs BASE_URL TOKEN [SINCE]');
  process.exit(1);
}
const dayAgo = new Date();
dayAgo.setDate(dayAgo.getDate() - 1);
const report = { client: `node, ${axios ? 'axios' : 'fetch'}`, problems: [] };
try {
  await walk(new Client(baseUrl, token), since ? new Date(since) : dayAgo, report);
} catch (error) {
  // Whatever else goes wrong is an answer that a documented client cannot take.
  report.problems.push(error instanceof Undocumented ? error.message : `the client broke: ${error.name}`);
}
console.log(JSON.stringify(report));
process.exitCode = report.problems.length > 0 ? 1 : 0;
