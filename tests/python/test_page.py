"""The web page for sales and marketing in a real browser: every view, with a key and without a mouse, on a phone and a
desktop, in both colour schemes."""

import datetime as dt
import os
import re
import shutil
from types import SimpleNamespace

import httpx
import pandas as pd
import pytest
import xgboost
from playwright.sync_api import expect

from evergreen_testing import clock
from evergreen_testing.api_keys import make
from evergreen_testing.browser import SCREENS, axe_source, build_page, chromium, visiting
from evergreen_testing.paths import CUSTOMERS, MODELS
from evergreen_testing.processes import until
from evergreen_testing.server_process import serving

#: A customer whose score rose since the data before.
RISEN = "C-1042"


@pytest.fixture(scope="session")
def axe():
    """The checks of axe-core. Building the page first also shows that the repository holds what the sources give."""
    build_page("--check")
    return axe_source()


@pytest.fixture(scope="module")
def browser():
    """Ends with this file: Playwright has an event loop, beside which no other test could run one."""
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def customers():
    return pd.read_parquet(CUSTOMERS).set_index("customer_id")


@pytest.fixture(scope="module")
def booster():
    return xgboost.Booster(model_file=MODELS / "churn/1/model.ubj")


def scored(booster, frame):
    """XGBoost's own scores of customers."""
    frame = frame[booster.feature_names].copy()
    for name, kind in zip(booster.feature_names, booster.feature_types):
        if kind == "c":
            frame[name] = pd.Categorical(frame[name], categories=CATEGORIES[name])
    return pd.Series(booster.inplace_predict(frame), index=frame.index)


@pytest.fixture(scope="module")
def scores(booster, customers):
    """The scores of the shipped customers, the highest first."""
    return scored(booster, customers).sort_values(ascending=False, kind="stable")


CATEGORIES = {
    "plan": ["starter", "showroom", "warehouse"],
    "segment": ["foam", "hybrid", "latex", "smart", "spring", "vegan"],
    "region": ["asia_pacific", "europe", "latin_america", "north_america"],
}


@pytest.fixture(scope="module")
def desk(evergreen, tmp_path_factory):
    """A server with keys, contacts, a control group, and data of yesterday to compare with; and a key for the page."""
    folder = tmp_path_factory.mktemp("page")
    key, lines = make(evergreen, "sales-desk", "score", "record")
    other, more = make(evergreen, "machine", "read")
    (folder / "keys.toml").write_text(lines + more)
    before = pd.read_parquet(CUSTOMERS)
    before["months_to_renewal"] += 1
    before["as_of"] -= pd.Timedelta(days=1)
    before.to_parquet(folder / "customers.parquet")
    config = folder / "e.toml"
    config.write_text(
        "[server]\npoll_seconds = 0.1\n[auth]\nfile = 'keys.toml'\n[features.watch]\nseconds = 0.1\n"
        "[outcomes]\nfolder = 'outcomes'\nhold_out = 0.05\nhold_out_salt = 'page'\nrefresh = '1ms'\n"
        "[page]\ncustomer_link = 'https://crm.example.com/customers/{id}'\n"
    )
    with serving(evergreen, folder, customers=folder / "customers.parquet", config=config) as server:
        shutil.copy(CUSTOMERS, folder / "new.parquet")
        os.rename(folder / "new.parquet", folder / "customers.parquet")
        client = httpx.Client(base_url=server.http.base_url, headers={"x-api-key": key})

        def compared():
            answer = client.get("/v1/models/churn/ranking", params={"fields": "change", "page_size": 1})
            return answer.status_code == 200 and answer.json()["items"][0]["change"]

        until(compared)
        yield SimpleNamespace(
            server=server, base=str(server.http.base_url), key=key, other=other, api=client, folder=folder
        )


@pytest.fixture
def visit(browser, desk):
    """Opens a browser that has signed in; an error in its console fails the test."""
    open_visits = []

    def start(screen="desktop", expected=(), **options):
        context = visiting(browser, desk.base, screen, expected, **options)
        visit = context.__enter__()
        open_visits.append(context)
        answer = visit.context.request.post("/v1/session", data={"key": desk.key})
        assert answer.status == 204
        return visit

    yield start
    for context in open_visits:
        context.__exit__(None, None, None)


def first_row(page):
    return page.locator(".list tbody tr").first


# ---- what the server sends -------------------------------------------------------------------------------------------


def test_the_files_are_cached_and_compressed_and_the_page_allows_nothing_from_elsewhere(desk):
    get = lambda path, **headers: httpx.get(desk.base + path, headers=headers)  # noqa: E731
    index = get("/", **{"accept-encoding": "br"})
    assert index.headers["content-encoding"] == "br" and index.headers["cache-control"] == "no-cache"
    policy = index.headers["content-security-policy"]
    for part in (
        "default-src 'none'",
        "script-src 'self'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ):
        assert part in policy
    assert "unsafe" not in policy
    for name, value in {
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "cross-origin-opener-policy": "same-origin",
    }.items():
        assert index.headers[name] == value
    assert get("/", **{"accept-encoding": "br", "if-none-match": index.headers["etag"]}).status_code == 304
    plain = get("/", **{"accept-encoding": "identity"})
    assert plain.headers["etag"] != index.headers["etag"]
    # Deep links have the same file.
    for path in ("/model", "/customers/C-1042", "/customers/%2F%3F"):
        assert get(path, **{"accept-encoding": "identity"}).text == plain.text
    names = re.findall(r'/assets/[^"]+', plain.text)
    assert len(names) == 2
    sizes = len(index.content)
    for name in names:
        for encoding in ("gzip", "identity"):
            assert get(name, **{"accept-encoding": encoding}).status_code == 200
        asset = get(name, **{"accept-encoding": "br, gzip"})
        assert asset.headers["content-encoding"] == "br" and "immutable" in asset.headers["cache-control"]
        sizes += int(asset.headers["content-length"])
    assert sizes < 60_000
    assert get("/assets/page-0000000000000000.js").status_code == 404
    assert get("/docs/").status_code == 200
    assert "Preact" in get("/assets/LICENSES.txt").text


def test_the_page_can_be_turned_off(evergreen, tmp_path):
    (tmp_path / "e.toml").write_text("[page]\nenabled = false\n")
    with serving(evergreen, tmp_path, config=tmp_path / "e.toml") as server:
        answer = httpx.get(f"{server.http.base_url}/")
        assert answer.status_code == 307 and answer.headers["location"] == "/docs/"
        assert httpx.get(f"{server.http.base_url}/model").status_code == 404
        refused = httpx.post(f"{server.http.base_url}/v1/session", json={"key": "evergreen_1"})
        assert refused.status_code == 409


# ---- sessions --------------------------------------------------------------------------------------------------------


def sign_in(desk, key, **headers):
    return httpx.post(f"{desk.base}/v1/session", json={"key": key}, headers=headers)


def cookie_of(answer):
    return answer.headers["set-cookie"].split(";")[0]


def test_a_session_does_what_its_key_may(desk):
    answer = sign_in(desk, desk.key)
    assert answer.status_code == 204 and answer.content == b""
    attributes = answer.headers["set-cookie"]
    assert "HttpOnly" in attributes and "SameSite=Strict" in attributes and desk.key not in attributes
    # A browser that came over TLS, by way of a proxy, keeps the cookie to TLS.
    host = desk.base.removeprefix("http://")
    over_tls = sign_in(desk, desk.key, origin=f"https://{host}").headers["set-cookie"]
    assert over_tls.startswith("__Host-evergreen=") and over_tls.endswith("; Secure")
    own = {"cookie": cookie_of(answer)}
    get = lambda path, **headers: httpx.get(desk.base + path, headers=headers)  # noqa: E731
    assert get("/v1/session", **own).json() == {
        "client": "sales-desk",
        "roles": ["score", "read", "record"],
        "customer_link": "https://crm.example.com/customers/{id}",
    }
    score = get("/v1/models/churn/scores/C-1042", **own)
    assert score.status_code == 200 and score.headers["cache-control"] == "no-store"
    # The same key in a cookie has no more roles than in a header.
    machine = {"cookie": cookie_of(sign_in(desk, desk.other))}
    assert get("/v1/models", **machine).status_code == 200
    assert get("/v1/models/churn/scores/C-1042", **machine).status_code == 403
    # Sessions are for the REST port.
    assert httpx.get(f"{desk.server.ops.base_url}/v1/models", headers=own).status_code == 401


def test_a_session_ends(desk, evergreen):
    own = {"cookie": cookie_of(sign_in(desk, desk.key)), "sec-fetch-site": "same-origin"}
    other = {"cookie": cookie_of(sign_in(desk, desk.key))}
    session = lambda headers: httpx.get(f"{desk.base}/v1/session", headers=headers).json()["client"]  # noqa: E731
    ended = httpx.delete(f"{desk.base}/v1/session", headers=own)
    assert ended.status_code == 204 and "Max-Age=0" in ended.headers["set-cookie"]
    assert session(own) is None and session(other) == "sales-desk"
    assert httpx.get(f"{desk.base}/v1/models", headers=own).status_code == 401
    # A key that is withdrawn takes its sessions with it, also if another one gets its name.
    file = desk.folder / "keys.toml"
    kept = file.read_text()
    temporary, lines = make(evergreen, "temporary", "score")
    file.write_text(kept + lines)
    until(lambda: sign_in(desk, temporary).status_code == 204)
    held = {"cookie": cookie_of(sign_in(desk, temporary))}
    assert session(held) == "temporary"
    _, again = make(evergreen, "temporary", "score")
    file.write_text(kept + again)
    until(lambda: session(held) is None)
    file.write_text(kept)


def test_other_sites_can_neither_sign_in_nor_write(desk):
    own = {"cookie": cookie_of(sign_in(desk, desk.key))}
    body = {"model": "churn", "entities": [{"id": "C-1042"}]}
    post = lambda **headers: httpx.post(f"{desk.base}/v1/score", json=body, headers=own | headers).status_code  # noqa: E731
    assert post() == 403
    assert post(**{"sec-fetch-site": "cross-site"}) == 403
    assert post(**{"sec-fetch-site": "same-site"}) == 403
    assert post(origin="https://elsewhere.example") == 403
    assert post(**{"sec-fetch-site": "same-origin"}) == 200
    assert post(origin=desk.base) == 200
    # A key in the header is for programs, whatever cookie is there.
    assert post(**{"x-api-key": desk.key}) == 200
    assert sign_in(desk, desk.key, origin="https://elsewhere.example").status_code == 403
    assert sign_in(desk, "evergreen_" + 64 * "0").status_code == 401
    # Who is not known yet cannot make the server hold much.
    assert sign_in(desk, 2000 * "0").status_code == 413


def test_signing_in_and_out(browser, desk):
    expected = ("401",)
    with visiting(browser, desk.base, expected=expected) as visit:
        page = visit.open("/customers/C-1042?from=a-link")
        field = page.get_by_label("Key", exact=True)
        expect(field).to_be_focused()
        field.fill("evergreen_wrong")
        field.press("Enter")
        expect(page.get_by_role("alert")).to_have_text("This key is not known. It may have been replaced.")
        field.fill(desk.key)
        field.press("Enter")
        # The link that was followed is what is shown.
        expect(page.get_by_role("heading", level=1)).to_contain_text("C-1042")
        assert page.evaluate("document.cookie") == ""
        assert desk.key not in page.evaluate("JSON.stringify([localStorage, sessionStorage])")
        # A session that ends brings the form, and then the same view.
        page.wait_for_load_state("networkidle")
        visit.context.clear_cookies()
        page.get_by_role("link", name="The model").click()
        expect(page.get_by_text("Your session has ended")).to_be_visible()
        page.get_by_label("Key", exact=True).fill(desk.key)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="What matters most")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        assert visit.context.cookies() == []


def test_a_key_without_the_role_is_told_what_it_needs(browser, desk):
    with visiting(browser, desk.base) as visit:
        visit.context.request.post("/v1/session", data={"key": desk.other})
        visit.page.goto("/")
        expect(visit.page.get_by_text("Ask for one with the role “score”")).to_be_visible()


# ---- the list --------------------------------------------------------------------------------------------------------


def held_out(desk):
    answer = desk.api.get(
        "/v1/models/churn/ranking", params={"fields": "id,hold_out", "page_size": 1000, "band": "high"}
    )
    return {item["id"] for item in answer.json()["items"] if item["hold_out"]}


def test_the_list_says_whom_to_call_first_and_what_to_say(visit, desk, scores):
    page = visit().open("/")
    high = scores[scores >= 0.3]
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{len(high)} customers to call")
    expect(page.get_by_text(f"about {high.sum():.0f} of them leave within 60 days")).to_be_visible()
    # Nobody calls the control group.
    first = next(id for id in scores.index if id not in held_out(desk))
    card = page.locator(".first")
    expect(card.get_by_role("link", name=first).first).to_be_visible()
    expect(card.locator(".say")).to_have_text(re.compile("^“.+”$"))
    rows = page.locator(".list tbody tr")
    expect(rows).to_have_count(50)
    shown = [row.get_attribute("data-id") for row in rows.all()]
    assert shown == list(scores.index[:50])
    expect(rows.first.locator(".s b")).to_have_text(f"{100 * scores.iloc[0]:.0f}")
    # What is watched is not quoted: no visit is in words for the customer.
    assert not any("visit" in text for text in page.locator(".say").all_inner_texts())
    held = page.locator(".list tr[data-held]").first
    expect(held).to_contain_text("control group")
    expect(held.get_by_role("button", name="Note")).to_have_count(0)


def test_filters_are_in_the_address(visit, scores, customers):
    page = visit().open("/")
    page.get_by_role("search").get_by_text("Medium", exact=True).click()
    medium = scores[(scores >= 0.1) & (scores < 0.3)]
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{len(medium)} customers in the medium band")
    assert page.url.endswith("/?band=medium")
    page.get_by_label(re.compile("^Plan")).select_option("warehouse")
    plan = customers.loc[medium.index, "plan"]
    wanted = plan[plan == "warehouse"]
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{len(wanted)} customers match")
    assert "f=plan%3Dwarehouse" in page.url
    page.get_by_text("More filters").click()
    page.get_by_label("Value", exact=True).select_option("visits_30d")
    page.get_by_label("Comparison").select_option("<=")
    page.get_by_label("With").fill("2")
    page.get_by_role("button", name="Add filter").click()
    few = wanted[customers.loc[wanted.index, "visits_30d"] <= 2]
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{len(few)} customers match")
    shown = [row.get_attribute("data-id") for row in page.locator(".list tbody tr").all()]
    assert shown == list(few.index[:50])
    # The address alone brings the same list, also in another browser.
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{len(few)} customers match")
    page.get_by_role("button", name="Remove the filter").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{len(wanted)} customers match")
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{len(few)} customers match")
    page.get_by_label("Value", exact=True).select_option("visits_30d")
    page.get_by_label("With").fill("-1")
    page.get_by_label("Comparison").select_option("<")
    page.get_by_role("button", name="Add filter").click()
    expect(page.get_by_role("heading", name="No customer matches")).to_be_visible()
    page.get_by_role("button", name="Remove all filters").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("customers to call")


def test_pages_follow_each_other(visit, scores):
    page = visit().open("/")
    ids = lambda: [row.get_attribute("data-id") for row in page.locator(".list tbody tr").all()]  # noqa: E731
    page.get_by_role("button", name="Next").click()
    expect(page.locator(".list")).to_contain_text(scores.index[50])
    assert ids() == list(scores.index[50:100])
    expect(page.locator(".pager")).to_contain_text("51 to 100 of 129")
    page.get_by_role("button", name="Next").click()
    expect(page.locator(".pager")).to_contain_text("101 to 129 of 129")
    expect(page.get_by_role("button", name="Next")).to_be_disabled()
    page.reload()
    expect(page.locator(".pager")).to_contain_text("101 to 129 of 129")
    page.get_by_role("button", name="Previous").click()
    page.get_by_role("button", name="Previous").click()
    expect(page.locator(".pager")).to_contain_text("1 to 50 of 129")
    assert ids() == list(scores.index[:50])


def test_a_page_of_a_list_that_is_gone_leads_to_the_first_one(visit):
    expected = ("409", "400")
    page = visit(expected=expected).open("/")
    page.route(
        "**/ranking?*page_token=*",
        lambda route: route.fulfill(
            status=409,
            content_type="application/problem+json",
            body='{"type":"urn:evergreen:problem:command_refused","detail":"gone"}',
        ),
    )
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_text("so you are on its first page")).to_be_visible()
    expect(page.locator(".pager")).to_contain_text("1 to 50 of 129")


def test_a_customer_is_found_in_any_band(visit, scores):
    page = visit().open("/")
    low = scores.index[-1]
    page.get_by_label("Find a customer").fill(low.lower())
    expect(page.locator(f'.list tr[data-id="{low}"]')).to_be_visible()
    assert f"find={low.lower()}" in page.url
    page.get_by_label("Find a customer").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text(low)
    assert page.url.endswith(f"/customers/{low}")


def test_the_export_has_what_the_list_shows(visit, scores, tmp_path):
    page = visit().open("/")
    with page.expect_download() as download:
        page.get_by_role("link", name="Export CSV").click()
    path = tmp_path / "list.csv"
    download.value.save_as(path)
    table = pd.read_csv(path)
    assert list(table["id"]) == list(scores[scores >= 0.3].index)


def test_the_print_has_ids_reasons_and_room_for_the_outcome(visit):
    page = visit().open("/")
    page.emulate_media(media="print")
    expect(page.get_by_role("columnheader", name="Outcome")).to_be_visible()
    expect(page.locator(".bar")).to_be_hidden()
    expect(page.locator(".filters")).to_be_hidden()


def test_a_list_that_somebody_brings_is_ranked(visit, desk, scores, tmp_path):
    page = visit(expected=("413",)).open("/")
    page.get_by_role("link", name="Rank my own list").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Rank your own list")
    expect(page.get_by_role("button", name="Rank 0")).to_be_disabled()
    ids = list(scores.index[::301])
    page.get_by_role("textbox", name="Customer ids").fill("\n".join([*reversed(ids), "nobody", ids[0], ""]))
    page.get_by_role("button", name=f"Rank {len(ids) + 1}").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{len(ids)} customers of your list")
    expect(page.get_by_role("status").first).to_have_text("1 id is not known: nobody.")
    rows = page.locator(".list tbody tr")
    assert [row.get_attribute("data-id") for row in rows.all()] == ids
    # From a customer back to the list, which is still there; it is not in the address.
    rows.nth(1).get_by_role("link").click()
    expect(page.get_by_text(f"number 2 of {len(ids)}")).to_be_visible()
    page.get_by_role("link", name="Rank your own list").click()
    expect(rows).to_have_count(len(ids))
    assert ids[0] not in page.url
    # A table with other columns, as a spreadsheet writes it.
    table = tmp_path / "list.csv"
    table.write_bytes(f'"{ids[3]}";Berlin\r\n{ids[2]};Köln\r\n'.encode())
    page.get_by_label("Read a file").set_input_files(table)
    expect(rows).to_have_count(2)
    assert [row.get_attribute("data-id") for row in rows.all()] == [ids[2], ids[3]]
    # Who signs in next does not find it.
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("Key", exact=True).fill(desk.key)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Rank your own list")
    expect(page.get_by_role("textbox", name="Customer ids")).to_have_value("")
    # More than one request may hold.
    table.write_text("\n".join(f"X-{n}" for n in range(10_001)))
    page.get_by_label("Read a file").set_input_files(table)
    expect(page.get_by_text("limits.batch")).to_be_visible()


def test_a_band_in_the_summary_is_a_link(visit, scores):
    page = visit().open("/")
    page.locator(".bands").get_by_role("link", name="Low").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("in the low band")
    assert "band=low" in page.url


# ---- one customer ----------------------------------------------------------------------------------------------------


def test_a_customer_has_reasons_words_values_and_changes(visit, scores, customers):
    page = visit().open(f"/customers/{RISEN}")
    score = f"{100 * scores[RISEN]:.0f}"
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{RISEN} is likely to leave: {score} in 100")
    expect(page.get_by_role("heading", name="What to say")).to_be_visible()
    fall = page.locator(".fall")
    expect(fall.locator(".sum")).to_contain_text(f"{score} in 100")
    # The last bar ends at the score: all pushes are in the picture.
    bars = fall.locator("rect.up-bar, rect.down-bar").count()
    assert bars >= 4
    page.get_by_text("All 24 values beside what is usual").click()
    values = page.get_by_role("region", name="All 24 values")
    visits = values.get_by_role("row").filter(has_text="Visits to the site")
    expect(visits).to_contain_text(str(customers.loc[RISEN, "visits_30d"]))
    expect(visits).to_contain_text("usually 4 to 10")
    changed = page.locator("section", has=page.get_by_role("heading", name="What changed"))
    months = customers.loc[RISEN, "months_to_renewal"]
    row = changed.get_by_role("row").filter(has_text="Months until the yearly contract renews")
    expect(row.get_by_role("cell").nth(0)).to_have_text(f"{months + 1:.0f}")
    expect(row.get_by_role("cell").nth(1)).to_have_text(f"{months:.0f}")
    expect(page.locator("#data").locator("..")).to_contain_text("21 Nov")


def test_the_record_of_a_customer_elsewhere_is_a_link(visit, desk, scores):
    page = visit().open(f"/customers/{RISEN}")
    link = page.get_by_role("link", name="Open the customer record")
    expect(link).to_have_attribute("href", f"https://crm.example.com/customers/{RISEN}")
    expect(link).to_have_attribute("rel", "noopener noreferrer")
    page = visit().open("/")
    first = next(id for id in scores.index if id not in held_out(desk))
    link = page.locator(".first").get_by_role("link", name="Open the customer record")
    expect(link).to_have_attribute("href", f"https://crm.example.com/customers/{first}")
    # Who has not signed in learns nothing of it.
    assert httpx.get(desk.base + "/v1/session").json()["customer_link"] is None


def test_the_score_over_time_is_drawn_from_the_kept_scores(evergreen, browser, tmp_path, booster, customers):
    shim = clock.build(tmp_path)
    config = tmp_path / "e.toml"
    config.write_text("[outcomes]\nfolder = 'outcomes'\n[features]\nas_of = ''\n")
    frame, expected = pd.read_parquet(CUSTOMERS), []
    for week in (14, 7, 0):
        frame["visits_30d"] = (frame["visits_30d"] + 5).clip(upper=100)
        frame.to_parquet(tmp_path / "customers.parquet")
        by_id = frame.set_index("customer_id")
        expected.append(f"{100 * scored(booster, by_id)[RISEN]:.0f}")
        moved = {"LD_PRELOAD": str(shim), "SHIFT": str(-86400 * week), "SHIFTED": str(tmp_path)}
        with serving(
            evergreen, tmp_path, customers=tmp_path / "customers.parquet", config=config, **moved
        ) as server:
            # Without data before there are no changes.
            with visiting(browser, str(server.http.base_url), expected=("404",)) as visit:
                page = visit.open(f"/customers/{RISEN}")
                panel = page.locator("section", has=page.get_by_role("heading", name="The score over time"))
                if week == 14:
                    expect(panel).to_contain_text("the course shows from the second week on")
                if week == 0:
                    # Today's score comes from the server itself; the kept ones are those of the weeks before.
                    expect(panel).to_contain_text(f"From {expected[0]} in 100 on")
                    expect(panel).to_contain_text(f"to {expected[-1]} today")
                    panel.get_by_text("The scores as a table").click()
                    cells = panel.get_by_role("row").filter(has=page.get_by_role("rowheader"))
                    shown = [row.get_by_role("cell").first.inner_text() for row in cells.all()]
                    assert shown[-2:] == expected[1::-1]
            assert server.stop() == 0


def test_an_unknown_customer_is_explained(visit):
    page = visit(expected=("404",)).page
    page.goto("/customers/C-99999")
    expect(page.get_by_role("heading", name="C-99999 is not among the customers")).to_be_visible()
    page.get_by_role("link", name="All customers at risk").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("customers to call")


def test_what_if_gives_the_models_own_score(visit, desk):
    page = visit().open(f"/customers/{RISEN}")
    body = {"model": "churn", "entities": [{"id": RISEN, "features": {"visits_30d": 12}}]}
    wanted = desk.api.post("/v1/score", json=body).json()["results"][0]["score"]
    panel = page.locator("section.what-if")
    slider = panel.get_by_role("slider", name="Visits to the site")
    # A slider that is dragged asks for much; only the last answer counts.
    for value in (6, 9, 12):
        slider.fill(str(value))
    expect(panel.locator(".result b")).to_have_text(f"{100 * wanted:.0f}")
    expect(panel.locator(".result")).to_contain_text("instead of 64")
    panel.get_by_role("button", name="Back to today").click()
    expect(panel.locator(".result b")).to_have_text("64")


def test_the_smallest_changes_reach_a_lower_band(visit, booster, customers):
    page = visit().open(f"/customers/{RISEN}")
    panel = page.locator("section.what-if")
    table = panel.get_by_role("region", name="Smallest changes that reach medium")
    row = table.get_by_role("row").filter(has_text="Visits to the site").first
    expect(row).to_contain_text("proven")
    wanted = int(re.search(r"(\d+) instead of", row.inner_text()).group(1))
    # By the training library: with this many visits the customer is in the band below, with one less not yet.
    visits = {
        number: scored(booster, customers.loc[[RISEN]].assign(visits_30d=number)).iloc[0]
        for number in (wanted - 1, wanted)
    }
    assert visits[wanted] < 0.3 <= visits[wanted - 1]
    curve = panel.get_by_role("img", name=re.compile("^Score by Visits"))
    panel.get_by_label("Score by", exact=True).select_option("visits_30d")
    expect(curve).to_be_visible()
    panel.get_by_text("The curve as a table").click()
    points = panel.get_by_role("region", name="The curve as a table").get_by_role("row")
    assert points.count() > 5


# ---- contacts --------------------------------------------------------------------------------------------------------


def test_a_noted_customer_leaves_the_list_and_can_come_back(visit, desk, scores):
    page = visit().open("/")
    id = first_row(page).get_attribute("data-id")
    first_row(page).get_by_role("button", name="Note").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading", name=f"Note a contact with {id}")).to_be_visible()
    dialog.get_by_label("What became of it?").select_option("thinks")
    dialog.get_by_label("Note (may be empty)").fill("ten other mattresses")
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_text(f"{id} leaves the list for 14 days")).to_be_visible()
    expect(page.locator(f'.list tr[data-id="{id}"]')).to_have_count(0)
    expect(page.get_by_role("heading", level=1)).to_have_text("128 customers to call")
    expect(page.get_by_text("Hide contacted (1)")).to_be_visible()
    page.get_by_label("Hide contacted").uncheck()
    row = page.locator(f'.list tr[data-id="{id}"]')
    expect(row.locator(".k")).to_contain_text("call")
    expect(row.locator(".k")).to_contain_text("Wants to think: ten other mattresses")
    page.get_by_label("Hide contacted").check()
    expect(row).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(row).to_have_count(1)


def test_a_contact_is_noted_in_the_view_of_a_customer(visit, desk, scores):
    id = next(id for id in scores.index[60:] if id not in held_out(desk))
    page = visit().open(f"/customers/{id}")
    form = page.locator("form.form")
    form.get_by_text("Offer", exact=True).click()
    form.get_by_label("What became of it?").select_option("stays")
    form.get_by_label("Note (may be empty)").fill("x" * 129)
    expect(form.get_by_role("button", name="Save")).to_be_disabled()
    form.get_by_label("Note (may be empty)").fill("a fixed price")
    form.get_by_role("button", name="Save").click()
    expect(page.get_by_text(f"Noted for {id}.")).to_be_visible()
    item = desk.api.get("/v1/models/churn/ranking", params={"search": id, "fields": "id,contact"}).json()[
        "items"
    ][0]
    contact = item["contact"]
    assert (contact["action"], contact["detail"], contact["result"]) == ("offer", "a fixed price", "stayed")


def test_notes_wait_while_the_server_is_away(visit, desk, scores):
    id = next(id for id in scores.index[70:] if id not in held_out(desk))
    page = visit(expected=("ERR_INTERNET_DISCONNECTED", "ERR_FAILED")).open(f"/customers/{id}")
    page.locator(".fall").wait_for()
    page.context.set_offline(True)
    page.locator("form.form").get_by_role("button", name="Save").click()
    expect(page.get_by_text("The server does not answer.")).to_be_visible()
    expect(page.get_by_text("1 waits")).to_be_visible()
    page.context.set_offline(False)
    expect(page.get_by_text("The server does not answer.")).to_be_hidden()
    item = desk.api.get("/v1/models/churn/ranking", params={"search": id, "fields": "id,contact"}).json()[
        "items"
    ][0]
    assert item["contact"]["action"] == "call"


# ---- states ----------------------------------------------------------------------------------------------------------


def problem(status, kind, detail, **headers):
    return {
        "status": status,
        "content_type": "application/problem+json",
        "headers": headers,
        "body": f'{{"type":"urn:evergreen:problem:{kind}","title":"","status":{status},"detail":"{detail}"}}',
    }


def test_each_state_says_what_is_and_what_to_do(visit):
    page = visit(expected=("503", "400", "500")).page
    answers = []
    page.route("**/ranking?*", lambda route: route.fulfill(**answers[0]) if answers else route.continue_())
    answers.append(problem(503, "starting", "being ranked", **{"retry-after": "1"}))
    page.goto("/?handled=shown")
    expect(
        page.get_by_role("heading", name="The customers are being scored for the first time")
    ).to_be_visible()
    answers.clear()
    # It tries again by itself.
    expect(page.get_by_role("heading", name="129 customers to call")).to_be_visible()
    answers.append(problem(400, "invalid", "cannot be listed; send ids to POST /v1/models/churn/ranking"))
    page.get_by_label("Order").select_option("score asc")
    expect(page.get_by_role("heading", name="This server cannot list all customers")).to_be_visible()
    page.get_by_label("Find a customer").fill(RISEN)
    page.get_by_label("Find a customer").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text(RISEN)
    answers[0] = problem(500, "internal", "an internal error")
    page.goto("/?handled=shown")
    expect(page.get_by_role("heading", name="That did not work.")).to_be_visible()
    answers.clear()
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("heading", name="129 customers to call")).to_be_visible()


def test_stale_and_incomplete_data_are_marked(visit):
    page = visit().page

    def change(route, edit):
        answer = route.fetch()
        body = answer.json()
        edit(body)
        route.fulfill(response=answer, json=body)

    page.route("**/ranking?*", lambda route: change(route, lambda body: body.update(stale=True)))
    page.goto("/")
    expect(page.get_by_text("This is the list of 21 Nov.")).to_be_visible()

    def degrade(body):
        body["status"] = "degraded"
        body["features"] |= {"missing": ["nps"], "unavailable": ["support"]}

    page.route("**/scores/C-1042?*", lambda route: change(route, degrade))
    page.goto("/customers/C-1042")
    expect(page.get_by_text("This score is incomplete.")).to_be_visible()
    expect(page.get_by_text("Could not be looked up: support")).to_be_visible()


def test_without_outcomes_and_keys_the_page_still_shows_scores(browser, server):
    with visiting(browser, str(server.http.base_url), expected=("409", "404")) as visit:
        page = visit.open("/")
        expect(page.get_by_role("heading", level=1)).to_have_text("129 customers to call")
        expect(page.locator(".list tbody tr")).to_have_count(50)
        expect(page.get_by_label("Hide contacted")).to_have_count(0)
        page.goto(f"/customers/{RISEN}")
        expect(page.get_by_text("Contacts are not recorded on this server")).to_be_visible()
        page.goto("/model")
        expect(page.get_by_role("heading", name="What matters most")).to_be_visible()


# ---- everybody -------------------------------------------------------------------------------------------------------


def test_the_keyboard_alone_is_enough(visit, desk):
    page = visit().open("/")
    page.locator(".list").wait_for()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Find a customer")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    rows = page.locator(".list tbody tr")
    expect(rows.nth(0).get_by_role("link")).to_be_focused()
    page.keyboard.press("n")
    expect(page.get_by_role("dialog")).to_contain_text("Note a contact with")
    page.keyboard.press("Escape")
    expect(rows.nth(0).get_by_role("link")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    page.keyboard.press("l")
    expect(page.get_by_role("heading", level=1)).to_contain_text("customers to call")
    page.keyboard.press("/")
    expect(page.get_by_label("Find a customer")).to_be_focused()
    page.keyboard.type("C-1042")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("C-1042")
    page.keyboard.press("m")
    expect(page.get_by_role("heading", name="What matters most")).to_be_visible()
    # Single keys can be turned off.
    page.keyboard.press("?")
    page.get_by_label("Use single keys").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("l")
    assert page.url.endswith("/model")


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_shut_out(visit, axe, screen, scheme):
    here = visit(screen, color_scheme=scheme)
    # A few rows stand for fifty: the checks take long.
    few = lambda route: route.continue_(url=route.request.url.replace("page_size=50", "page_size=6"))  # noqa: E731
    here.page.route("**/ranking?*", few)
    for path, part in (
        ("/", ".list"),
        (f"/customers/{RISEN}", ".fall"),
        ("/model", ".hbar"),
        ("/?own=", ".own"),
    ):
        page = here.open(path)
        page.locator(part).first.wait_for()
        page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
        here.check_access(axe)
    page.goto("/")
    first_row(page).get_by_role("button", name="Note").click()
    here.check_access(axe)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("Key", exact=True).wait_for()
    here.check_access(axe)


def test_nothing_moves_while_it_loads(visit):
    page = visit().page
    page.add_init_script(
        "window.shift = 0; new PerformanceObserver((list) => list.getEntries().forEach((entry) =>"
        " { if (!entry.hadRecentInput) window.shift += entry.value; })).observe({type: 'layout-shift', buffered: true});"
    )
    for path, part in (("/", ".list"), (f"/customers/{RISEN}", ".fall")):
        page.goto(path)
        page.locator(part).wait_for()
        page.wait_for_timeout(400)
        assert page.evaluate("window.shift") < 0.1


def test_the_last_release_is_told_in_customers(visit):
    page = visit().page
    release = {"before": 7, "customers": 3000, "raised": 51, "lowered": 39}
    page.route(
        "**/ranking?*",
        lambda route: route.fulfill(
            response=(answer := route.fetch()), json=answer.json() | {"release": release}
        ),
    )
    page.goto("/model")
    expect(
        page.get_by_role("heading", name="The last release moved 90 customers across a band")
    ).to_be_visible()
    text = "Version 1 puts 3% of 3,000 customers into another band than version 7 did: 51 higher, 39 lower."
    expect(page.get_by_text(text)).to_be_visible()


def test_a_second_language_and_its_numbers(visit):
    page = visit(locale="de-DE").open("/?handled=shown")
    expect(page.get_by_role("heading", level=1)).to_have_text("129 Kunden anrufen")
    expect(page.get_by_role("heading", name="Alle 3.012 Kunden")).to_be_visible()
    assert page.evaluate("document.documentElement.lang") == "de"
    page.goto("/model")
    expect(page.get_by_role("heading", name="Was am meisten zählt")).to_be_visible()


def test_today_is_named(visit, desk):
    """The time of the data is said as people say it."""
    page = visit().page
    now = dt.datetime.now(dt.UTC).isoformat()

    def change(route):
        answer = route.fetch()
        route.fulfill(response=answer, json=answer.json() | {"data": {"snapshot": None, "as_of": now}})

    page.route("**/ranking?*", change)
    page.goto("/")
    expect(page.get_by_text(re.compile(r"Data of \d\d:\d\d today"))).to_be_visible()
