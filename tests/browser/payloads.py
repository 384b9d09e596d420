"""Text that becomes more than text wherever a page is careless: each leaves a mark when it does."""

from __future__ import annotations

# What each does if it ever runs or becomes a node: `hacked` is set, a dialog opens, a node with data-xss stands there.
_DOES = "window.hacked=1,alert(1)"

_BODIES = (
    f"<script data-xss>{_DOES}</script>",
    f"<img data-xss src=x onerror={_DOES}>",
    f"<svg data-xss onload={_DOES}>",
    f"<svg data-xss><script>{_DOES}</script></svg>",
    f"<svg data-xss><animate onbegin={_DOES} attributeName=x dur=1s>",
    "<iframe data-xss srcdoc='<script>parent.hacked=1</script>'></iframe>",
    "<iframe data-xss src=javascript:parent.hacked=1></iframe>",
    f"<body data-xss onload={_DOES}>",
    f"<details data-xss open ontoggle={_DOES}><summary>x</summary></details>",
    f"<input data-xss autofocus onfocus={_DOES}>",
    f"<video data-xss><source onerror={_DOES}></video>",
    f"<audio data-xss src=x onerror={_DOES}></audio>",
    f"<marquee data-xss onstart={_DOES}>x</marquee>",
    f"<div data-xss style=animation-name:x onanimationstart={_DOES}>x</div>",
    f'<a data-xss href="javascript:{_DOES}">x</a>',
    "<a data-xss href='data:text/html,<script>opener.hacked=1</script>'>x</a>",
    "<form data-xss action=javascript:window.hacked=1><button>x</button></form>",
    "<math data-xss href=javascript:window.hacked=1>x</math>",
    "<object data-xss data=javascript:window.hacked=1></object>",
    "<embed data-xss src=javascript:window.hacked=1>",
    "<link data-xss rel=stylesheet href=//evil.test/x.css>",
    "<meta data-xss http-equiv=refresh content='0;url=//evil.test'>",
    "<base data-xss href=//evil.test/>",
    "<style data-xss>*{display:none}</style>",
    f"<template data-xss><img src=x onerror={_DOES}></template>",
    f"<noscript><p title='</noscript><img data-xss src=x onerror={_DOES}>'>",
    "{{constructor.constructor('window.hacked=1')()}}",
    "${window.hacked=1}",
    "javascript:window.hacked=1//",
    "\u202e<b data-xss>txet\u202c\u200b\ufeff",
)
_BREAKS = ("", '">', "'>", "</title></textarea></script></style>-->", '"><!---->', "\\u003c", "]]>", "`")

PAYLOADS = tuple(before + body for body in _BODIES for before in _BREAKS)

LOOKS = """() => ({
    hacked: window.hacked ?? null,
    nodes: [...document.querySelectorAll('[data-xss]')].map(one => one.outerHTML),
    handlers: [...document.querySelectorAll('*')].filter(one => [...one.attributes].some(
        ({ name, value }) => name.startsWith('on') || /^\\s*(javascript|data):/i.test(value) && name !== 'value'
            && (name === 'href' || name === 'src' || name === 'action')
    )).map(one => one.outerHTML.slice(0, 200)),
    foreign: [...document.querySelectorAll('script, iframe, object, embed, base, meta[http-equiv], link')]
        .filter(one => !(one.src ?? one.href ?? '').startsWith(location.origin + '/')).map(one => one.outerHTML),
})"""
"""What of them has come to life in a page."""
UNHARMED = {"hacked": None, "nodes": [], "handlers": [], "foreign": []}
