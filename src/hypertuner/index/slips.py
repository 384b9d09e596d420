"""What common slips in a query mean, and the message that shows where they are.

Text that is no expression is searched for what people write who think of another language: `&&`, `=`, `90%`, a missing
quote. The first slip found is named, with what to write instead.
"""

from __future__ import annotations

import ast
import keyword
import operator
import re

from hypertuner.errors import QueryError

EXAMPLE = 'A query is like Python: val_acc > 0.9 and "mnist" in tags'
NOT_IN_QUERIES: dict[type[ast.expr], str] = {
    ast.Lambda: "a lambda",
    ast.IfExp: "an if",
    ast.Dict: "a dict",
    ast.NamedExpr: "an assignment",
    ast.JoinedStr: "an f-string",
    ast.Starred: "a star",
    ast.ListComp: "a loop",
    ast.SetComp: "a loop",
    ast.DictComp: "a loop",
    ast.GeneratorExp: "a loop",
}
SPELLED = {"true": "True", "false": "False", "null": "None", "none": "None", "nil": "None"}
_WORDS = frozenset({"and", "or", "not", "in", "is", "True", "False", "None"})
FUNCTIONS = 'Functions are min(loss), max, first, last, best; name.startswith("a"), endswith, contains.'


def explain(text: str, code: str, indent: int, error: SyntaxError | None) -> QueryError:
    """What the user probably meant by `text`, which is no expression.

    `code` is `text` on one line; `error` is what Python said of it from `indent` on, None when it gave up.
    """
    what, position, todo = _meant(code, indent, error)
    return mistake(what, text, position, todo)


def quoted(text: str) -> str:
    """`text` as a query spells it, cut when it is long."""
    return '"' + (text if len(text) <= 20 else text[:20] + "…") + '"'


def mistake(what: str, query: str, position: int, todo: str) -> QueryError:
    """A QueryError that shows the query, or the stretch of a long one, with a mark under the mistake."""
    position = min(max(position, 0), len(query))
    begin = max(position - 60, 0)
    shown = "".join(sign if sign.isprintable() else " " for sign in query[begin : begin + 100])
    message = f"{what}\n  {shown}\n  {' ' * (position - begin)}^\n  {todo}"
    return QueryError(message, query=query, position=position)


def _meant(text: str, indent: int, error: SyntaxError | None) -> tuple[str, int, str]:
    """What is wrong, where, and what to write instead."""
    code, open_quote = _without_text(text)
    if open_quote is not None:
        return "This quote is never closed.", open_quote, f"Add {text[open_quote]} after the text."
    slips = [(found.start(), what, todo) for slip, what, todo in _SLIPS if (found := slip.search(code))]
    if slips:
        position, what, todo = min(slips, key=operator.itemgetter(0))
        return what, position, todo
    if (bracket := _unbalanced(code)) is not None:
        other = {"(": ")", "[": "]", "{": "}"}.get(code[bracket])
        what = f"This {code[bracket]!r} is never {'closed' if other else 'opened'}."
        return what, bracket, f"Add {other!r}." if other else "Remove it."
    for word in re.finditer(r"[^\W\d]\w*", code):
        if keyword.iskeyword(word[0]) and word[0] not in _WORDS:
            todo = f'Where it is a name, write config["{word[0]}"] or metric["{word[0]}"].'
            return f"{word[0]!r} is a word of Python.", word.start(), todo
    for pair in re.finditer(r"(?=(?<![\w\"'])([\w.]+|\"+|'+) +([\w.]+|\"+|'+))", code):
        if not {pair[1], pair[2]} & _WORDS:
            todo = 'Write, for instance: state == "finished", or: "mnist" in tags'
            return "An operator is missing here.", pair.start(2), todo
    position = len(text.rstrip()) if error is None else indent + max((error.offset or 1) - 1, 0)
    if error is None:
        return "The query is nested too deeply or holds a character that is none.", 0, EXAMPLE
    if ends := re.search(r"(?:[-+*/%<>=!]|\b(?:and|or|not|in|is))\s*$", code):
        return "The query ends before it is complete.", ends.end(), EXAMPLE
    return "The query cannot be read here.", position, EXAMPLE


_SLIPS: tuple[tuple[re.Pattern[str], str, str], ...] = tuple(
    (re.compile(pattern), what, todo)
    for pattern, what, todo in (
        (r"&&", "'&&' is spelled and.", "Write and."),
        (r"\|\|", "'||' is spelled or.", "Write or."),
        (r"!(?!=)", "'!' is spelled not.", "Write not."),
        (r"\bAND\b", "'AND' is spelled and.", "Write and."),
        (r"\bOR\b", "'OR' is spelled or.", "Write or."),
        (r"\bNOT\b", "'NOT' is spelled not.", "Write not."),
        (r"\bIN\b", "'IN' is spelled in.", "Write in."),
        (r"\bIS\b", "'IS' is spelled is.", "Write is."),
        (r"===|!==", "There is no comparison of three signs.", "Write == or !=."),
        (r"=>|=<", "The signs of this comparison are the wrong way round.", "Write >= or <=."),
        (r"<>", "'<>' is spelled !=.", "Write !=."),
        (r"(?<![=!<>:])=(?![=<>])", "'=' does not compare.", "Write == for equal."),
        (r"[“”‘’„«»]", "This is not a quote that a query knows.", "Write \" or '."),
        (r"`", "Backquotes are not for names.", 'Write metric["train/loss"].'),
        (r"\b[0-9.]+[smhdw]\b", "A number has no unit.", 'Write text for a duration: age < "12h"'),
        (r"\b[0-9.]+ ?%(?= *($|\)|and\b|or\b))", "A number has no percent sign.", "Write 0.9 for 90 %."),
        (r"(?<=\w) *:(?!=)", "':' does not compare.", 'Write name == "otter", or: "otter" in name'),
        (r"[?;$@]", "This sign has no meaning in a query.", EXAMPLE),
    )
)


def _without_text(code: str) -> tuple[str, int | None]:
    """`code` with what stands between quotes blanked out by quotes, and where a quote opens that none closes."""
    blank, start = list(code), 0
    while opening := re.search("[\"']", code[start:]):
        begin = start + opening.start()
        closing = re.compile(rf"(?:[^\\{code[begin]}]|\\.)*{code[begin]}").match(code, begin + 1)
        if closing is None:
            return "".join(blank), begin
        blank[begin : closing.end()] = code[begin] * (closing.end() - begin)
        start = closing.end()
    return "".join(blank), None


def _unbalanced(code: str) -> int | None:
    """Where a bracket stands that has no partner."""
    opened: list[int] = []
    for position, sign in enumerate(code):
        if sign in "([{":
            opened.append(position)
        elif sign in ")]}":
            if not opened or code[opened[-1]] + sign not in ("()", "[]", "{}"):
                return position
            opened.pop()
    return opened[0] if opened else None
