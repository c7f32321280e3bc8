#!/usr/bin/env python3
"""The Python client that MangoApps documents, call for call, to show that it works against the mirror unchanged.

    python_client.py BASE_URL TOKEN [SINCE]

SINCE is an instant such as 2025-11-17T00:00:00Z; without it, a day ago. Prints one JSON document with counts and uids, and
exits 0 when every call was answered as documented, else 1 with what was wrong under "problems". Calls go through `requests`,
as documented, where that is installed, else through the standard library.
"""

import json
import sys
import urllib.error
import urllib.parse
import urllib.request
from datetime import datetime, timedelta, timezone

try:
    import requests
except ImportError:
    requests = None

TIMEOUT_SECONDS = 30
META = {"total_count", "total_pages", "current_page", "per_page"}
LISTED = set(
    "uid id email first_name last_name full_name active job_title department organizational_role hire_date original_hire_date"
    " employment_status employee_type phone manager locations termination_date termination_type created_at updated_at"
    " last_activity_at".split()
)
# A lookup is documented with these in place of original_hire_date.
LOOKED_UP = (LISTED - {"original_hire_date"}) | set(
    "direct_reports_count organizational_department flsa_status worker_classification time_zone external_employee_id"
    " skills_count certifications_count".split()
)


class Undocumented(Exception):
    """An answer that the documentation does not describe. Tells no values: they are somebody's data."""


def get(url, headers, params=None):
    """GETs a JSON document; any status but success is an error."""
    if requests:
        response = requests.get(url, headers=headers, params=params, timeout=TIMEOUT_SECONDS)
        status, body = response.status_code, response.content
    else:
        # What requests puts on the wire: reserved characters of the path stay, the query is a form.
        url = urllib.parse.quote(url, safe="!#$%&'()*+,/:;=?@[]~") + ("?" + urllib.parse.urlencode(params) if params else "")
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_SECONDS) as response:
                status, body = response.status, response.read()
        except urllib.error.HTTPError as error:
            status, body = error.code, b""
    if status != 200:
        raise Undocumented(f"status {status} instead of 200")
    return json.loads(body)


class Client:
    """The documented methods, with their documented parameters and defaults."""

    def __init__(self, base_url, api_token):
        self.base_url = base_url.rstrip("/")
        self.headers = {
            "Authorization": f"Bearer {api_token}",
            "Content-Type": "application/json",
            "Accept": "application/json",
        }

    def get_all_users(self, active_only=True, per_page=50, include_deleted=False):
        filters = {}
        if active_only:
            filters["active"] = "true"
        if include_deleted:
            filters["include_deleted"] = "true"
        return self._every_page(per_page, filters)

    def get_user_by_uid(self, uid):
        return self._one(f"{self.base_url}/api/v1/users/{uid}")

    def get_user_by_email(self, email):
        return self._one(f"{self.base_url}/api/v1/users/by_email/{email}")

    def get_users_updated_since(self, since, per_page=50):
        return self._every_page(per_page, {"updated_after": since.strftime("%Y-%m-%dT%H:%M:%SZ")})

    def search_users(self, search_term, department=None, employment_status=None):
        params = {"search": search_term, "per_page": 100}
        if department:
            params["department"] = department
        if employment_status:
            params["employment_status"] = employment_status
        return self._page(params)["users"]

    def _every_page(self, per_page, filters):
        users, page = [], 1
        while True:
            params = {"page": page, "per_page": min(per_page, 100), **filters}
            data = self._page(params)
            users.extend(data["users"])
            asked = {"current_page": page, "per_page": params["per_page"]}
            expect(asked.items() <= data["meta"].items(), "meta tells another page than was asked for")
            if page >= data["meta"]["total_pages"]:
                break
            page += 1
        expect(len(users) == data["meta"]["total_count"], "total_count differs from the users on all pages")
        expect(len({user["uid"] for user in users}) == len(users), "a user is listed twice")
        return users

    def _page(self, params):
        data = get(f"{self.base_url}/api/v1/users", self.headers, params)
        missing = META - data["meta"].keys()
        expect(not missing, f"meta lacks {sorted(missing)}")
        expect(all(type(data["meta"][key]) is int for key in META), "meta holds something else than whole numbers")
        for user in data["users"]:
            expect(LISTED <= user.keys(), f"a listed user lacks {sorted(LISTED - user.keys())}")
        return data

    def _one(self, url):
        user = get(url, self.headers)["user"]
        expect(LOOKED_UP <= user.keys(), f"a user looked up lacks {sorted(LOOKED_UP - user.keys())}")
        return user


def expect(holds, problem):
    if not holds:
        raise Undocumented(problem)


def instant(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def walk(client, since, report):
    """Makes every documented call, in the order of the documentation, and reports each."""

    def told(call, users):
        report[call] = {"count": len(users), "uids": [user["uid"] for user in users]}
        return users

    active = told("active", client.get_all_users(active_only=True))
    expect(all(user["active"] is True for user in active), "active=true lists somebody who is not active")
    everyone = told("with_deleted", client.get_all_users(active_only=False, include_deleted=True))
    expect({user["uid"] for user in active} <= {user["uid"] for user in everyone}, "include_deleted lists fewer than active=true")

    someone = next((user for user in active if user["email"] and user["first_name"] and user["department"]), None)
    expect(someone, "nobody active has e-mail, first name and department: there is nobody to look up")
    uid = someone["uid"]
    (by_uid,) = told("by_uid", [client.get_user_by_uid(uid)])
    expect(by_uid["uid"] == uid, "the lookup by uid answers another user")
    (by_email,) = told("by_email", [client.get_user_by_email(someone["email"])])
    expect(by_email["uid"] == uid, "the lookup by e-mail answers another user")

    updated = told("updated_since", client.get_users_updated_since(since))
    expect(all(instant(user["updated_at"]) >= since for user in updated), "updated_after lists somebody who was updated before")

    found = told("search", client.search_users(someone["first_name"], department=someone["department"]))
    expect(uid in report["search"]["uids"], "the search does not find whom it was made for")
    expect(all(user["department"] == someone["department"] for user in found), "the search finds somebody of another department")


def main(arguments):
    if len(arguments) not in (2, 3):
        sys.exit("usage: python_client.py BASE_URL TOKEN [SINCE]")
    base_url, token = arguments[:2]
    since = instant(arguments[2]) if len(arguments) == 3 else (datetime.now(timezone.utc) - timedelta(days=1)).replace(microsecond=0)
    report = {"client": f"python, {'requests' if requests else 'urllib'}", "problems": []}
    try:
        walk(Client(base_url, token), since, report)
    except Undocumented as problem:
        report["problems"].append(str(problem))
    except Exception as error:  # Whatever else goes wrong is an answer that a documented client cannot take.
        report["problems"].append(f"the client broke: {type(error).__name__}")
    print(json.dumps(report))
    return 1 if report["problems"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
