"""Untrusted HTML, turned into inert HTML: no links, forms, scripts or remote pictures.

The tokens are those of the HTML standard (13.2.5). Elements and attributes on the lists below are rewritten in one
form that every browser parses alike; all others are left out. The work is linear, which neither html.parser nor
sanitizers that build a tree can promise: see tests/security/test_hostile_mails.py.
"""

import re

TAGS = 20_000  # of a mail; the rest is left out
ADDRESS_LENGTH = 300  # characters shown of a link's address
FORMATS_OPEN = 50  # at a time: a browser opens all of them again in each paragraph

_ELEMENTS = frozenset(
    str.split(
        "a abbr acronym address article aside b bdi bdo big blockquote body br caption center cite code col "
        "colgroup dd del details dfn dir div dl dt em figcaption figure font footer h1 h2 h3 h4 h5 h6 head header "
        "hgroup hr html i img ins kbd li main mark meta nav ol p pre q rp rt ruby s samp section small span "
        "strike strong style sub summary sup table tbody td tfoot th thead time tr tt u ul var wbr"
    )
)
_FORMATS = frozenset(str.split("a b big code em font i s small strike strong tt u"))
_RAW = frozenset(str.split("iframe noembed noframes script style textarea title xmp"))  # they contain text, not tags
_SHOWN_RAW = frozenset(("textarea", "xmp"))
_ATTRIBUTES = frozenset(
    str.split(
        "abbr align alt aria-hidden aria-label axis background bgcolor border bordercolor cellpadding cellspacing "
        "char class clear color cols colspan compact dir face frame headers height hidden hspace id lang media "
        "noshade nowrap role rows rowspan rules scope size span src start style summary title type valign vspace "
        "width"
    )
)
_ADDRESSES = ("href", "xlink:href", "action", "formaction")
_READ = _ATTRIBUTES.union(_ADDRESSES, ("name", "content", "http-equiv"))
_META = frozenset(("color-scheme", "supported-color-schemes", "viewport"))

_BLANK = r"[\t\n\f\r ]"
_TAG = re.compile(r"</?([a-zA-Z][^\t\n\f\r />]*+)")
_ATTRIBUTE = re.compile(
    rf"""[\t\n\f\r /]*+(?:(?P<end>>)|(?P<name>=?[^\t\n\f\r />=]*+)"""
    rf"""(?:{_BLANK}*+(?P<equals>=){_BLANK}*+(?P<value>"[^"]*+"|'[^']*+'|[^\t\n\f\r >"'][^\t\n\f\r >]*+)?)?)"""
)
_COMMENT_END = re.compile(r"--!?>")
_RAW_END = {name: re.compile(rf"(?i)</{name}(?=[\t\n\f\r />])") for name in _RAW}
_DOCTYPE = re.compile(r"(?i)\s*+<!doctype[^<>]{0,200}>")  # without it browsers use quirks mode
_PICTURE = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]*+")

# Links lose their href, and browsers underline only those that have one.
_STYLE = "<style>:where(a){text-decoration:underline}</style>"


def inert(html: str, *, addresses: bool = True) -> str:
    """The HTML without anything that loads or navigates; with `addresses`, each link's address is shown after it."""
    return _Writer(html, addresses).write()


class _Writer:
    def __init__(self, html: str, addresses: bool) -> None:
        self.html = html
        self.addresses = addresses
        self.out: list[str] = []
        self.link = ""  # the address of the open link
        self.formats = 0  # open formatting elements

    def write(self) -> str:
        doctype = _DOCTYPE.match(self.html)
        at, tags = doctype.end() if doctype else 0, 0
        while (start := self.html.find("<", at)) >= 0 and tags < TAGS:
            self.text(self.html[at:start])
            tag = _TAG.match(self.html, start)
            at = self.tag(tag) if tag else self.markup(start)
            tags += 1
        self.text(self.html[at:] if start < 0 else " …")
        self.end_link()
        return (doctype[0] if doctype else "") + _STYLE + "".join(self.out)

    def text(self, text: str) -> None:
        self.out.append(text.replace("<", "&lt;"))

    def end_link(self) -> None:
        self.show(self.link)
        self.link = ""

    def show(self, address: str) -> None:
        if address and self.out[-1:] != [address]:  # not if it is the link's own text
            cut = "…" if len(address) > ADDRESS_LENGTH else ""
            self.text(f" [{address[:ADDRESS_LENGTH]}{cut}] ")

    def markup(self, start: int) -> int:
        """Skip a comment, or what browsers parse as one; write any other < as text. Returns where it ends."""
        if self.html.startswith("<!--", start):
            end = _COMMENT_END.search(self.html, start + 2)
            return end.end() if end else len(self.html)
        if self.html.startswith(("<!", "<?", "</"), start):
            return self.html.find(">", start) + 1 or len(self.html)
        self.text("<")
        return start + 1

    def tag(self, tag: re.Match[str]) -> int:
        """Write a tag or leave it out. Returns where it ends, including any raw text."""
        name, closes = tag[1].lower(), tag[0][1] == "/"
        attributes, end = _attributes(self.html, tag.end())
        if closes:
            self.close(name)
            return end
        address = _address(name, attributes) if self.addresses else ""
        if name == "a":
            self.end_link()
            self.link = address
        else:
            self.show(address)
        if name in _RAW:
            return self.raw(name, attributes, end)
        if name in _FORMATS:
            if self.formats >= FORMATS_OPEN:
                return end
            self.formats += 1
        if name in _ELEMENTS and (name != "meta" or attributes.get("name", "").lower() in _META):
            self.out.append(_opening(name, attributes))
        return end

    def close(self, name: str) -> None:
        if name == "a":
            self.end_link()  # inside the link, in its colour: a button's text is light on dark
        if name in _FORMATS:
            self.formats = max(self.formats - 1, 0)
        if name in _ELEMENTS and name not in ("meta", "style"):
            self.out.append(f"</{name}>")

    def raw(self, name: str, attributes: dict[str, str], start: int) -> int:
        end = _RAW_END[name].search(self.html, start)
        text = self.html[start : end.start() if end else len(self.html)]
        if name in _SHOWN_RAW:
            self.text(text)
        elif name == "style" and end:
            self.out.append(f"{_opening(name, attributes)}{text}</style>")
        return _attributes(self.html, end.end())[1] if end else len(self.html)


def _attributes(html: str, at: int) -> tuple[dict[str, str], int]:
    """A tag's known attributes, and where the tag ends. An unclosed tag extends to the end of the HTML."""
    found: dict[str, str] = {}
    while (attribute := _ATTRIBUTE.match(html, at)) and (attribute["end"] or attribute["name"]):
        at = attribute.end()
        if attribute["end"]:
            return found, at
        name, value = attribute["name"].lower(), attribute["value"] or ""
        if attribute["equals"] and not value and html.startswith(('"', "'"), at):
            break  # an unclosed quote
        if name in _READ:
            found.setdefault(name, value[1:-1] if value.startswith(('"', "'")) else value)
    return {}, len(html)


def _address(name: str, attributes: dict[str, str]) -> str:
    """Where the element leads, "" if nowhere or to a place in the mail itself."""
    found = [attributes[each] for each in _ADDRESSES if attributes.get(each, "").strip()]
    if name == "meta" and attributes.get("http-equiv", "").strip().lower() == "refresh":
        found.append(attributes.get("content", ""))
    return "" if name == "link" or (found and found[0].strip().startswith("#")) else " ".join(found)


def _opening(name: str, attributes: dict[str, str]) -> str:
    kept = {key: value for key, value in attributes.items() if key in _ATTRIBUTES}
    if name == "meta":
        kept = {key: attributes.get(key, "") for key in ("name", "content")}
    for key in ("src", "background"):
        if key in kept:
            kept[key] = "".join(kept[key].split())
            if not _PICTURE.fullmatch(kept[key]):
                del kept[key]
    written = "".join(f' {key}="{_quoted(value)}"' for key, value in kept.items())
    return f"<{name}{written}>"


def _quoted(value: str) -> str:
    return value.replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
