"""HTML nobody vouches for, as HTML that can only be looked at."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify.admin.sanitizer import ADDRESS_LENGTH, FORMATS_OPEN, TAGS, inert

HEAD = "<style>:where(a){text-decoration:underline}</style>"
EVIL = "http://evil.example/x"
PICTURE = "data:image/png;base64,iVBORw0K"
# What a browser loads, follows, or runs by an attribute.
ACTIVE = {
    "href",
    "xlink:href",
    "action",
    "formaction",
    "ping",
    "srcset",
    "poster",
    "data",
    "target",
    "content",
    "srcdoc",
}
QUIET = "a b body br div font h1 html img li meta p span style table td tr ul".split()  # noqa: SIM905


def shown(html: str, **options: bool) -> str:
    return inert(html, **options).replace(HEAD, "", 1)


class Seen(HTMLParser):
    """What stands in HTML in its canonical form."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str | None]] = set()
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= set(attrs)


def assert_quiet(html: str) -> None:
    seen = Seen(html)
    assert seen.tags <= set(QUIET), html
    for name, value in seen.attributes:
        assert not name.startswith("on"), html
        assert name not in ACTIVE or (name, value) == ("content", "light dark"), html
        assert name not in ("src", "background") or str(value).startswith("data:image/"), html


@pytest.mark.parametrize(
    "link",
    [
        f'<a href="{EVIL}">x</a>',
        f"<A HREF={EVIL}>x</A>",
        f"<a/target='_self'/href='{EVIL}'>x</a>",
        f"<a title='>' target=_self href = \"{EVIL}\">x</a>",
        f"<a\nhref\n=\n'{EVIL}'\ntarget\x0c=\x0c_top>x</a>",
        f'<a href="{EVIL}" href="#">x</a>',
        f"<a ===x href={EVIL}>x</a>",
        f"<svg><a href={EVIL}>x</a></svg>",
        f"<svg><a xlink:href={EVIL}>x</a></svg>",
        f"<math href={EVIL}><mtext>x</mtext></math>",
        f"<map><area href={EVIL}></map>",
        f"<form action={EVIL}><button>x</button></form>",
        f"<button formaction={EVIL}>x</button>",
        f"<input type=image formaction={EVIL}>",
        f"<base href={EVIL} target=_self>",
        f"<meta http-equiv=refresh content='0; url={EVIL}'>",
        f"<meta http-equiv=Refresh name=viewport content='0; url={EVIL}'>",
        f"<a href={EVIL}>never closed",
        f"<a href={EVIL}><a href=#>x</a>",
    ],
)
def test_where_a_link_leads_is_text(link: str) -> None:
    html = shown(link)
    assert EVIL in html
    if "viewport" not in link:
        assert_quiet(html)
        assert EVIL not in "".join(f"{value}" for _, value in Seen(html).attributes)
    assert EVIL not in shown(link, addresses=False) or "viewport" in link


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        f"<script src={EVIL}>",
        f"<link rel=preconnect href={EVIL}>",
        f"<LINK/rel=stylesheet/href={EVIL}>",
        f"<iframe src={EVIL}></iframe>",
        "<iframe srcdoc='<script>alert(1)</script>'>",
        f"<object data={EVIL}></object><embed src={EVIL}><applet code={EVIL}>",
        f"<video src={EVIL} poster={EVIL}><source src={EVIL}></video><audio src={EVIL}>",
        f"<img src={EVIL} onerror=alert(1)>",
        f"<img srcset='{EVIL} 1x' src='data:image/svg+xml;base64,AAAA'>",
        f"<img src=' {EVIL}' lowsrc={EVIL} dynsrc={EVIL}>",
        f"<body background={EVIL} onload=alert(1)>",
        f"<table background={EVIL}><td background='{EVIL}'>",
        f"<svg onload=alert(1)><image href={EVIL} /><use xlink:href={EVIL} /><script>alert(1)</script></svg>",
        f"<frameset><frame src={EVIL}></frameset>",
        f"<noscript><img src={EVIL}></noscript>",
        f"<template><img src={EVIL}></template>",
        f"<style></style><img src={EVIL}>",
        f"<textarea></textarea><img src={EVIL}>",
        f"<title><style></title><img src={EVIL}>",
        f"<svg><style><img src={EVIL}></style></svg>",
        f"<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src={EVIL}&gt;'>",
        f"<!--><img src={EVIL}>-->",
        f"<!-- --!><img src={EVIL}>",
        f"<![CDATA[><img src={EVIL}>]]>",
        f"<?xml ><img src={EVIL}>",
        f"<a title='<img src={EVIL}>'>",
        f'<p title="&quot;><img src={EVIL}>">',
        f"<p title=`><img src={EVIL}>`>",
        f"<img src={EVIL} ",
        f"<plaintext><img src={EVIL}>",
        f"<xmp><img src={EVIL}></xmp>",
        f"<html manifest={EVIL}>",
        "<input autofocus onfocus=alert(1)><select><option></select><keygen><isindex>",
        "<marquee onstart=alert(1)>",
        "<p\x00onclick=alert(1)><p/onclick=alert(1)><p on\nclick=1>",
        "<meta name=referrer content=unsafe-url><meta http-equiv=set-cookie content=a=b>",
    ],
)
def test_nothing_loads_or_runs(hostile: str) -> None:
    assert_quiet(shown(hostile))


WORDS = st.sampled_from(
    [
        *(
            "<",
            "</",
            ">",
            "/>",
            '"',
            "'",
            "=",
            " ",
            "\n",
            "/",
            "<!--",
            "-->",
            "--!>",
            "<!",
            "<?",
            "<![CDATA[",
            "]]>",
            "&",
        ),
        *(
            "a",
            "img",
            "style",
            "title",
            "svg",
            "math",
            "script",
            "textarea",
            "p",
            "table",
            "b",
            "xmp",
            "iframe",
            "meta",
        ),
        *(f" href={EVIL}", f" src='{EVIL}'", f' style="x:url({EVIL})"', " onload=alert(1)", "<img src=x>", "x", "\0"),
        *("<style>", "</style>", "<title>", "</title", "<a ", "</a>", "<!doctype html>", "&lt;", "&quot;", "\u212a"),
    ]
)


@given(st.lists(WORDS, max_size=30).map("".join))
def test_no_mixture_of_tokens_is_more_than_quiet(html: str) -> None:
    assert_quiet(inert(html))


@given(st.lists(WORDS, max_size=30).map("".join))
def test_what_is_quiet_stays_as_it_is(html: str) -> None:
    once = shown(html, addresses=False)
    assert shown(once, addresses=False) == once


@pytest.mark.parametrize(
    "html",
    [
        '<p style="color: red" class="x">1 &lt; 2 &amp; &quot;3&quot;</p>',
        '<table width="100%" cellpadding="0"><tr><td align="center" bgcolor="#fff">x</td></tr></table>',
        f'<img src="{PICTURE}" alt="x" width="1">',
        '<style media="all">a > b { color: red } @media (min-width: 0) { p::after { content: "<b>" } }</style>',
        '<meta name="color-scheme" content="light dark">',
        '<html lang="zh" dir="ltr"><head></head><body style="margin: 0">李</body></html>',
    ],
)
def test_what_only_looks_like_something_is_kept(html: str) -> None:
    assert shown(html) == html


@pytest.mark.parametrize("doctype", ["<!DOCTYPE html>", '\n<!doctype html PUBLIC "-//W3C//DTD HTML 4.01//EN">'])
def test_a_page_is_laid_out_by_its_doctype(doctype: str) -> None:
    assert inert(f"{doctype}<p>x") == f"{doctype}{HEAD}<p>x"


def test_a_mere_sign_stays_what_it_is() -> None:
    assert shown("1 < 2 <3 <- > <") == "1 &lt; 2 &lt;3 &lt;- > &lt;"


def test_a_link_to_a_place_in_the_mail_shows_no_address() -> None:
    assert shown('<a href="#top">up</a>') == "<a>up</a>"


def test_an_address_is_shown_after_the_text_of_its_link_whatever_is_in_it() -> None:
    assert shown('<a href="//x"><b>a</b> button</a> b') == "<a><b>a</b> button [//x] </a> b"
    assert shown('<a href="//x"><img alt="y">') == '<a><img alt="y"> [//x] '


def test_a_long_address_is_cut() -> None:
    assert shown(f'<a href="{"x" * 1000}">y</a>') == f"<a>y [{'x' * ADDRESS_LENGTH}…] </a>"


def test_what_comes_after_very_many_tags_is_left_out() -> None:
    html = shown("<p>x" * (TAGS + 10))
    assert html.count("<p>") == TAGS
    assert html.endswith("<p> …")


def test_no_more_formats_are_open_than_a_browser_can_bear() -> None:
    assert shown("<font size=1>" * 1000 + "<p>x").count("<font") == FORMATS_OPEN
    assert shown("<font size=1>x</font>" * 1000).count("<font") == 1000
