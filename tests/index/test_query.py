"""The query language: it means what Python means, a missing name is no error, and a mistake is pointed at."""

from __future__ import annotations

import pickle
import time
from datetime import datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hypertuner.errors import QueryError
from hypertuner.index.fields import FACTS
from hypertuner.index.operators import NOTHING
from hypertuner.index.query import Query

NAN = float("nan")
ROW: dict[str, Any] = {
    "name": "brave-otter",
    "state": "finished",
    "tags": ["mnist", "baseline"],
    "age": 3 * 3600.0,
    "duration": 90.0,
    "created": datetime(2026, 3, 1, 12).timestamp(),
    "note": "first try",
    "starred": True,
    "parent": None,
    "lr": 0.01,
    "config.lr": 0.01,
    "metric.lr": 0.0001,
    "epochs": 10,
    "optimizer.name": "adam",
    "widths": [64, 32],
    "val_acc": 0.93,
    "train/loss": 0.2,
    "metric.train/loss": 0.2,
    "metric.val loss": 0.5,
    "min(train/loss)": 0.1,
    "best(val_acc)": 0.95,
    "diverged": NAN,
}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        'val_acc > 0.9 and lr < 0.1 and "mnist" in tags',
        "0.9 < val_acc <= 0.93",
        "not (val_acc < 0.9)",
        "starred",
        "lr == 1e-2",
        "epochs * 2 == 20 and epochs ** 2 == 100 and -epochs < 0 and epochs % 3 == 1 and epochs // 3 == 3",
        'state in ("finished", "failed") and state in ["finished"] and state in {"finished"}',
        '"cnn" not in tags',
        '"otter" in name',
        'name.startswith("brave") and name.endswith("otter") and note.contains("try") and tags.contains("mnist")',
        'optimizer.name == "adam"',
        "widths == [64, 32] and 64 in widths",
        "parent is None and parent == None",
        "starred is True",
        "starred is not False",
        "train/loss < 0.3",
        "2 * (train/loss) == 0.4",
        'metric["train/loss"] < 0.3 and metric["val loss"] == 0.5',
        'config["lr"] == 0.01 and metric["lr"] == 0.0001',
        "config.lr > metric.lr",
        "min(train/loss) == 0.1",
        'min(metric["train/loss"]) == 0.1',
        "best(val_acc) > val_acc",
        "epochs/lr == 1000",
        "lr / epochs == 0.001",
        'age < "12h" and age <= "3h" and age > "2h59m" and "1h" < age < "1.5d"',
        'duration == "90s" and duration == "1m 30s"',
        'created >= "2026-03-01" and created < "2026-03-01T12:30"',
        "diverged != diverged",
    ],
)
def test_a_query_finds_the_run_it_describes(text):
    assert Query(text).matches(ROW)


@pytest.mark.parametrize(
    "text",
    [
        "val_acc > 0.95",
        '"cnn" in tags',
        "not starred",
        "parent",
        'created > "2026-03-02T00:00:00Z"',
        "diverged < 1 or diverged > 1 or diverged == 1",
    ],
)
def test_a_query_leaves_out_the_run_it_does_not_describe(text):
    assert not Query(text).matches(ROW)


@pytest.mark.parametrize("operator", ["==", "!=", "<", "<=", ">", ">=", "in", "not in"])
def test_every_comparison_with_a_name_the_run_lacks_is_false(operator):
    assert not Query(f"test_acc {operator} 0.5").matches(ROW)
    assert not Query(f'"0.5" {operator} test_acc').matches(ROW)
    assert not Query(f"test_acc {operator} other_acc").matches(ROW)
    assert not Query(f"test_acc * 2 {operator} [1]").matches(ROW)


def test_a_name_the_run_lacks_is_none():
    assert Query("test_acc is None").matches(ROW)
    assert Query("test_acc == None").matches(ROW)
    assert Query("min(test_acc) is None").matches(ROW)
    assert not Query("test_acc is not None").matches(ROW)
    assert not Query("test_acc != None").matches(ROW)
    assert not Query("test_acc").matches(ROW)
    assert not Query("test/acc < 1").matches(ROW)


@pytest.mark.parametrize(
    "text",
    [
        "lr < 'a'",
        "lr >= state",
        "parent < 3",
        "widths > 3",
        "lr in state",
        "3 in lr",
        "'a' not in lr",
        "[1, 'a'] < [1, 2]",
    ],
)
def test_things_without_an_order_compare_false(text):
    assert not Query(text).matches(ROW)


@pytest.mark.parametrize(
    "text", ["1 / 0", "1 % 0", "9 ** 9 ** 9", "(-8) ** 0.5", "1e300 ** 2", "state * 1000000000", "state % 3", "-state"]
)
def test_arithmetic_without_a_result_is_none_and_costs_nothing(text):
    begun = time.process_time()
    assert Query(f"({text}) is None").matches(ROW)
    assert time.process_time() - begun < 1


def test_a_slash_without_spaces_is_the_name_where_there_is_one_else_a_division():
    query = Query("a/b == 2")
    assert query.matches({"a/b": 2})
    assert query.matches({"a": 4, "b": 2})
    assert query.matches({"a/b": 2, "a": 1, "b": 1})
    assert not query.matches({"a/b": 1, "a": 4, "b": 2})
    assert Query("a / b == 2").matches({"a/b": 1, "a": 4, "b": 2})
    assert Query("a/b/c == 2").matches({"a/b/c": 2})
    assert Query("a/b/c == 2").matches({"a/b": 4, "c": 2})
    assert Query("a/b.c/2 == 2").matches({"a/b.c": 4})


def test_names_are_those_the_query_asks_about():
    assert Query("optimizer.lr > 0.1 and not starred").names == {"optimizer.lr", "starred"}
    assert Query('config["lr"] < metric["train/loss"]').names == {"config.lr", "metric.train/loss"}
    assert Query("min(train/loss) < 1").names == {"min(train/loss)"}
    assert Query("train/loss < 1").names == {"train/loss", "train", "loss"}
    assert Query("").names == frozenset()


@pytest.mark.parametrize(
    ("text", "at", "says"),
    [
        ("lr = 0.1", "= ", "Write == "),
        ("lr > 1 && starred", "&&", "Write and"),
        ("lr > 1 || starred", "||", "Write or"),
        ("lr > 1 AND starred", "AND", "Write and"),
        ("NOT starred", "NOT", "Write not"),
        ("!starred", "!", "Write not"),
        ("lr => 1", "=>", "Write >="),
        ("lr <> 1", "<>", "Write !="),
        ("lr > 1 & starred", "&", "Write and"),
        ("lr << 3", "<<", "Write <"),
        ("lr > 1 | starred", "|", "Write or"),
        ("~starred", "~", "Write not"),
        ('"mnist in tags', '"', "never closed"),
        ("'é' == \"ü", '"', "never closed"),
        ("tags == “a”", "“", "not a quote"),
        ("(lr > 1", "(", "never closed"),
        ("lr > 1)", ")", "never opened"),
        ("state finished", "finished", "operator is missing"),
        ('tags contains "a"', "contains", "operator is missing"),
        ("name: otter", ":", "Write name == "),
        ("starred == true", "true", "Write True"),
        ("parent is null", "null", "Write None"),
        ("lr is 3", "3", "Write =="),
        ("age < 12h", "12h", 'age < "12h"'),
        ('age < "soon"', '"soon"', "not a duration"),
        ('created > "12h"', '"12h"', 'age < "12h"'),
        ("acc > 90%", "90%", "Write 0.9"),
        ("lambda > 3", "lambda", 'config["lambda"]'),
        ("`train/loss` < 3", "`train", 'metric["train/loss"]'),
        ("minn(loss) < 3", "minn", "'min'"),
        ("min(3) < 3", "3)", "name of a metric"),
        ("min(a, b) < 3", "min", "one value"),
        ('name.startwith("a")', "name", "'startswith'"),
        ('"otter"', '"otter', '"otter" in name'),
        ('state == "a" or "b"', '"b"', "state in"),
        ("lr > 1 # and more", "#", "comment"),
        ("x[3] > 1", "x", 'config["lr"]'),
        ("val_acc >", "", "before it is complete"),
        ("1j", "1j", "cannot hold"),
        ("[x for x in tags]", "[", "a loop"),
        ("lr if starred else 3", "lr", "an if"),
        ('f"{lr}"', "f", "an f-string"),
        ("   é == lr = 3", "= 3", "Write == "),
        ("'éé' in name & starred", "&", "Write and"),
    ],
)
def test_a_slip_is_pointed_at_and_says_what_to_write(text, at, says):
    with pytest.raises(QueryError) as caught:
        Query(text)
    position = text.rindex(at) if at else len(text)
    assert caught.value.position == position
    assert caught.value.query == text
    message = str(caught.value)
    assert says in message
    what, where, mark, todo = message.split("\n")
    assert mark.index("^") - 2 == position
    assert where[2:] == text
    assert what and todo.strip()


KNOWN = {"val_acc", "lr", "optimizer.lr", "train/loss", "epochs"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "val_acc > 0.9 and starred and tags",
        'config["lr"] == config.lr',
        'min(train/loss) < metric["train/loss"]',
        "train/loss < 3",
        "lr/epochs < 3",
        "train/loss/lr < 3",
        "best(val_acc) > 3",
        *sorted(FACTS),
    ],
)
def test_a_query_about_known_names_passes_the_check(text):
    Query(text).check(KNOWN)


@pytest.mark.parametrize(
    ("text", "at", "says"),
    [
        ("lr > 1 and val_ac > 0.9", "val_ac", "'val_acc'"),
        ("train/los < 3", "train", "'train/loss'"),
        ("lr/epoch < 3", "epoch ", "'epochs'"),
        ("min(val_ac) > 3", "val_ac", "'val_acc'"),
        ('metric["val_ac"] > 3', "metric", "'val_acc'"),
        ("mnist in tags", "mnist", 'in quotes: "mnist"'),
        ("state == finished", "finished", 'in quotes: "finished"'),
        ("otter", "otter", '"otter" in name'),
        ("2 * train/loss < 1", "train", 'metric["train/loss"]'),
    ],
)
def test_an_unknown_name_is_pointed_at_with_names_like_it(text, at, says):
    with pytest.raises(QueryError) as caught:
        Query(text).check(KNOWN)
    assert caught.value.position == text.index(at)
    assert says in str(caught.value)


def test_an_unknown_name_that_resembles_nothing_still_says_where_the_names_are():
    with pytest.raises(QueryError, match="hypertuner ls --json"):
        Query("zzz > 3").check(frozenset({"lr"}))


def test_a_query_that_is_too_long_or_too_deep_is_refused_at_once():
    for text in (
        "lr > 1 or " * 1000 + "lr",
        "-" * 9000 + "1",
        "(" * 4900 + "1" + ")" * 4900,
        "+".join(["lr"] * 3000),
        "a" + ".b" * 4000 + "()",
        "not " * 2000 + "a",
        "a/" * 4000 + "a",
        "[" * 4900 + "]" * 4900,
    ):
        begun = time.process_time()
        with pytest.raises(QueryError):
            Query(text)
        assert time.process_time() - begun < 2


def test_a_wide_query_is_answered():
    text = " or ".join(f'name == "run-{i}"' for i in range(400)) + ' or name == "brave-otter"'
    assert Query(text).matches(ROW)


def test_nothing_in_a_query_is_executed(tmp_path):
    target = tmp_path / "made"
    for text in (
        f'__import__("pathlib").Path({str(target)!r}).touch()',
        f'open({str(target)!r}, "w")',
        "name.__class__.__mro__[1].__subclasses__()",
        '"".__class__.__bases__',
        'name.format("{0.__class__}")',
        f"(lambda: open({str(target)!r}, 'w'))()",
        f"[open({str(target)!r}, 'w') for x in tags]",
    ):
        with pytest.raises(QueryError):
            Query(text)
    assert not target.exists()
    assert not Query("name.__class__").matches(ROW)


def test_two_queries_of_one_text_are_equal_and_a_query_can_be_sent_elsewhere():
    query = Query('lr > 0.1 and "a\\"b" in tags')
    assert query == Query(query.text)
    assert hash(query) == hash(Query(query.text))
    assert query != Query("lr")
    assert eval(repr(query)) == query
    assert pickle.loads(pickle.dumps(query)).names == query.names


# --- Python agrees -----------------------------------------------------------------------------------------------

numbers = st.one_of(st.integers(-20, 20), st.floats(-100, 100, width=32), st.booleans())
texts = st.sampled_from(["", "a", "mnist", "a'b", 'q"t', "é", "back\\slash"])
rows = st.fixed_dictionaries(
    {
        "lr": numbers,
        "loss": st.one_of(numbers, st.just(NAN), st.just(float("inf"))),
        "state": texts,
        "tags": st.lists(texts, max_size=3),
        "widths": st.lists(st.integers(-3, 3), max_size=3),
        "parent": st.none() | texts,
    }
)
number_names = st.sampled_from(["lr", "loss"])
number_exprs = st.recursive(
    number_names | numbers.map(repr),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(lambda it: f"({it[0]} {it[1]} {it[2]})"),
        st.tuples(st.sampled_from(["-", "+"]), inner).map(lambda it: f"({it[0]} {it[1]})"),
        inner.map(lambda it: f"({it} ** 2)"),
    ),
    max_leaves=6,
)
orders = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
equals = st.sampled_from(["==", "!="])
text_exprs = st.just("state") | texts.map(repr)
comparisons = st.one_of(
    st.tuples(number_exprs, orders, number_exprs).map(" ".join),
    st.tuples(number_exprs, orders, number_exprs, orders, number_exprs).map(" ".join),
    st.tuples(number_exprs, equals, text_exprs).map(" ".join),
    st.tuples(text_exprs, orders, text_exprs).map(" ".join),
    st.tuples(text_exprs, st.sampled_from(["in", "not in"]), st.just("tags") | text_exprs).map(" ".join),
    st.tuples(number_exprs, st.sampled_from(["in", "not in"]), st.just("widths")).map(" ".join),
    st.tuples(st.just("widths"), orders, st.lists(st.integers(-3, 3), max_size=2).map(repr)).map(" ".join),
    st.sampled_from(["parent is None", "parent is not None", "parent != 'a'", "None == parent", "lr in (1, 2, state)"]),
    st.sampled_from(["lr", "state", "tags", "parent", "widths", "state.startswith('a')", "state.endswith('')"]),
)
expressions = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda it: f"({it[0]}) {it[1]} ({it[2]})"),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(" ".join),
        inner.map(lambda it: f"not ({it})"),
        inner.map(lambda it: f"not {it}"),
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(expressions, rows)
def test_a_query_over_names_that_are_all_there_means_what_python_means(text, row):
    expected = bool(eval(text, {"__builtins__": {}}, dict(row)))
    query = Query(text)
    assert query.matches(row) == expected
    query.check(row)
    assert query.names <= row.keys()
    if query.tests is not None:  # the same, asked name by name
        assert all(test(row[name]) for name, test in query.tests) == expected


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("lr > 0.1", ["lr"]),
        ("lr > 0.1 and state == 'failed' and lr < 1", ["lr", "state", "lr"]),
        ('"a" in name and state in ["failed", "stopped"]', ["name", "state"]),
        ('metric["val loss"] < 1 and min(loss) < 0.1', ["metric.val loss", "min(loss)"]),
        ('age < "12h"', ["age"]),
    ],
)
def test_a_query_that_compares_names_with_values_can_be_asked_name_by_name(text, names):
    query = Query(text)
    assert [name for name, _ in query.tests] == names
    assert query.matches({}) == all(test(NOTHING) for _, test in query.tests)


@pytest.mark.parametrize(
    "text", ["", "lr", "lr > loss", "lr > 1 or lr < 2", "not lr > 1", "0 < lr < 1", "lr > 2 * 3", "name.contains('a')"]
)
def test_any_other_query_is_asked_run_by_run(text):
    assert Query(text).tests is None


@settings(max_examples=500, deadline=None)
@given(
    st.one_of(
        st.text(max_size=60),
        st.text(alphabet=st.sampled_from(list("ab01 ()[]{}.,:'\"\\#=<>!&|+-*/%@~^\n\t;é`$")), max_size=40),
        st.lists(
            st.sampled_from(["lr", "tags", "and", "or", "not", "in", "is", "None", "(", ")", "[", "]", "min", ".", "/",
                             "==", "<", '"a"', "'", "1", "1e9", "**", ",", "config", "lambda", ":", "if", "for", "=",
                             "age", "created", "startswith", "\x00", "\ud800", "ﬁ", "=="]),
            max_size=14,
        ).map(" ".join),
    )
)  # fmt: skip
@example("\x00")
@example("\ud800")
@example('"\\d" in name')
@example("'\\N{nope}'")
@example("0_0 or 08")
@example("9" * 5000)
@example("lr\n> 0.001")
@example("\ufeff lr")
@example("lr \\\n> 3")
def test_any_text_is_a_query_or_a_query_error(text):
    try:
        query = Query(text)
        query.matches(ROW)
        query.matches({})
        query.check(query.names)
        assert Query(query.text).names == query.names
        query.check([])
    except QueryError as error:
        assert 0 <= error.position <= len(text)
        assert error.query == text
        assert len(str(error).split("\n")) == 4
