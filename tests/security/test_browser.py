"""Hostile mails in a real browser, in their frame and opened alone: nothing is loaded, and no click leads anywhere."""

from typing import Any

import pytest
from django.conf import settings
from playwright.sync_api import BrowserContext, Page

from notify.admin import sanitizer
from notify.models import Message
from tests.browser import Trap
from tests.desk import OPERATE, login, store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.service("chromium"),
    pytest.mark.django_db(transaction=True),
    pytest.mark.parametrize("context", [{"java_script_enabled": True}], indirect=True, ids=["js"]),
]

# Each leads or loads somewhere in a page without a policy; {0} is the trap.
LINKS = (
    '<a href="{0}/1">1</a><a target=_self href={0}/2>2</a><a/target="_self"/href="{0}/3">3</a>',
    "<a title='>' target=_self href={0}/4>4</a><A\nHREF\n=\n'{0}/5'\nTARGET=_top>5</A><a href=//{1}/6>6</a>",
    '<svg width=99 height=99><a href="{0}/7"><text y=20>7</text></a>'
    '<a xlink:href="{0}/8"><text y=40>8</text></a></svg>',
    '<svg width=99 height=99><a target=_self><set attributeName=href to="{0}/9"/><text y=20>9</text></a></svg>',
    '<math><mtext href="{0}/10">10</mtext></math><a href="{0}/11" download>11</a><a ping={0}/12 href="#">12</a>',
    '<img usemap="#m" src="data:image/gif;base64,R0lGODlhAQABAAAAACw=" width=50 height=50>'
    "<map name=m><area shape=default href={0}/13></map>",
    "<form action={0}/14><button>14</button><input type=image><input type=submit></form><button form=f>15</button>",
    "<form id=f action={0}/15></form><form><button formaction={0}/16 formtarget=_self>16</button></form>",
    "<a href=\"javascript:location='{0}/17'\">17</a>"
    "<a href=\"data:text/html,<script>location='{0}/18'</script>\">18</a>",
    '<a href="?reveal=yes">19</a><a target=_self href="../download/">20</a><a target=_top href="/admin/logout/">21</a>',
    "<details open ontoggle=\"location='{0}/22'\"><summary>22</summary></details><label for=x>23</label>",
    "<object data={0}/24 type=text/html>24</object><embed src={0}/25><iframe src={0}/26></iframe><portal src={0}/27>",
)
LOADS = (
    "<base href={0}/base/ target=_self><meta http-equiv=refresh content='0; url={0}/refresh'>"
    "<META/HTTP-EQUIV=refresh/content='0;{0}/refresh2'><link rel=preconnect href={0}><link rel=dns-prefetch href={0}>"
    "<LINK/rel=prefetch/href={0}/prefetch><link rel=stylesheet href={0}/css><link rel=modulepreload href={0}/m>"
    "<link rel=preload as=image imagesrcset='{0}/set 1x'><link rel=manifest href={0}/manifest>",
    "<body background={0}/body><table background={0}/table><td background={0}/td>x</table>",
    "<img src={0}/img><img srcset='{0}/srcset 1x'><picture><source srcset={0}/source><img></picture><input type=image "
    "src={0}/input><video src={0}/video poster={0}/poster autoplay></video><audio src={0}/audio autoplay></audio>",
    "<svg><image href={0}/svg /><use href={0}/use#x /><feImage xlink:href={0}/fe /><script href={0}/script /></svg>",
    "<script src={0}/js></script><script>fetch('{0}/fetch');new Image().src='{0}/image'</script><img src=x "
    "onerror=\"location='{0}/onerror'\"><svg onload=\"location='{0}/onload'\">"
    "<iframe srcdoc='<img src={0}/srcdoc>'></iframe>",
    "<template shadowrootmode=open><img src={0}/shadow></template><noscript><img src={0}/noscript></noscript>",
    "<!--><img src={0}/comment>--><![CDATA[><img src={0}/cdata>]]><title></title><img src={0}/title><xmp></xmp>",
    "<frameset><frame src={0}/frame></frameset>",
)
STYLES = (
    "<style>@import '{0}/import';@font-face{{font-family:x;src:url({0}/font)}}*{{background:url({0}/bg);font-family:x}}"
    "a{{cursor:url({0}/cursor),auto}}p::after{{content:url({0}/after)}}</style>"
    "<p style='background:url({0}/style)'>x</p>"
)
HOSTILE = {"links": "".join(LINKS), "loads": "".join(LOADS), "styles": STYLES, "frames": LOADS[-1]}


def watch(context: BrowserContext, client: Any, url: str) -> tuple[Page, list[str]]:
    """A page of somebody who has logged in, and what opens or asks beside it."""
    cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": url}])
    page = context.new_page()
    seen: list[str] = []
    page.on("dialog", lambda dialog: (seen.append(dialog.message), dialog.dismiss()))
    context.on("page", lambda opened: seen.append(f"opened {opened.url}"))
    page.on("download", lambda download: seen.append(f"downloads {download.url}"))
    return page, seen


def click_everywhere(page: Page, frame: Any) -> None:
    """Click all that could be a link or a button."""
    for element in frame.query_selector_all("a, area, button, input, img, summary, svg *, label, object, mtext"):
        element.evaluate("e => e.dispatchEvent(new MouseEvent('click', {bubbles: true, cancelable: true}))")
        if element.is_visible():
            element.click(force=True, no_wait_after=True, timeout=1000)
    page.wait_for_timeout(300)


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("view", ["change", "html"])
def test_a_hostile_mail_loads_nothing_and_leads_nowhere(
    context: BrowserContext, live_server: Any, trap: Trap, settings: Any, name: str, view: str
) -> None:
    settings.FLASKY_ADMIN = []
    html = HOSTILE[name].format(trap.url, trap.url.removeprefix("http://"))
    row: Message = store(html=f"<!doctype html><html><body>{html}<p>the end</p></body></html>")
    page, seen = watch(context, login(*OPERATE), live_server.url)
    url = f"{live_server.url}/admin/notify/message/{row.pk}/{view}/"
    page.goto(url)
    frames = page.frames[1:] if view == "change" else [page.main_frame]
    assert len(frames) == 1
    before = frames[0].url
    click_everywhere(page, frames[0])
    assert (page.url, frames[0].url) == (url, before)
    assert (seen, trap.asked, trap.connected) == ([], [], 0)


@pytest.mark.parametrize("name", ["links", "loads", "frames"])
def test_a_written_page_is_quiet_without_any_policy(context: BrowserContext, trap: Trap, name: str) -> None:
    """What the sanitizer alone is worth: styles apart, which the frame's policy holds."""
    html = HOSTILE[name].format(trap.url, trap.url.removeprefix("http://"))
    page = context.new_page()
    page.set_content(sanitizer.inert(html))
    click_everywhere(page, page.main_frame)
    assert (page.url, trap.asked, trap.connected) == ("about:blank", [], 0)


def test_the_trap_hears_what_such_mails_do_elsewhere(context: BrowserContext, trap: Trap) -> None:
    for html in LOADS[1:4]:
        page = context.new_page()
        page.set_content(html.format(trap.url, ""), wait_until="commit")
        page.wait_for_timeout(300)
    assert {"/body", "/table", "/td", "/img", "/poster", "/svg"} <= set(trap.asked)
