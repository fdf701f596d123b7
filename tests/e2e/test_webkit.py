"""The main job in WebKit, Safari's engine."""

import json

import pytest

from tests import asyncapi
from tests.e2e.stack import Stack
from tests.e2e.webkit import webkit

# The page has the cards of earlier exports as well.
CARDS = "[...document.querySelectorAll('export-progress')]"
CARD = f"{CARDS}.find((card) => card.state && !earlier.includes(card.state.id))"
WATCH = f"""
    window.earlier = arguments[0];
    window.bars = new Set();
    setInterval(() => bars.add({CARD}?.querySelector('progress')?.value), 50);
"""
LISTEN = """
    window.heard = [];
    const {get} = Object.getOwnPropertyDescriptor(MessageEvent.prototype, 'data');
    Object.defineProperty(MessageEvent.prototype, 'data', {get() {
        if (this.target instanceof WebSocket) heard.push(get.call(this));
        return get.call(this);
    }});
"""


@pytest.mark.slow
@pytest.mark.usefixtures("slowly")
@pytest.mark.shows("WebKit, the engine of Safari")
def test_an_export_is_requested_followed_and_downloadable_in_webkit(stack: Stack):
    with webkit() as browser:
        browser.go(f"{stack.url}/login/")
        for cookie in stack.client("grace").cookies.jar:
            browser.send("cookie", cookie={"name": cookie.name, "value": cookie.value, "path": "/"})
        browser.go(f"{stack.url}/")
        browser.wait_for("customElements.get('export-progress') !== undefined")
        browser.run(LISTEN)
        listed = stack.client("grace").get("/exports/", headers={"Accept": "application/json"}).json()
        browser.run(WATCH, [each["id"] for each in listed["exports"]])
        for name, value in (("month_from", "2"), ("month_to", "2"), ("format", "csv")):
            browser.run(
                "document.querySelector(`export-form [name=${arguments[0]}]`).value = arguments[1]", name, value
            )
        browser.press(".export-formats .export-button-main")
        browser.wait_for(f"{CARD}?.getAttribute('status') === 'ready'")
        state = browser.run(f"return {CARD}.state")
        assert state["receipt"]["rows"] == 24_951
        assert browser.run("return bars.size") > 3
        frames = [json.loads(frame) for frame in browser.run("return heard")]
        assert "export.changed" in [frame["type"] for frame in frames]
        assert [errors for frame in frames for errors in asyncapi.errors_of(frame)] == []
        link = browser.run(f"return {CARD}.querySelector('[data-part=download]').href")
        assert stack.client("grace").get(link, follow_redirects=True).status_code == 200
