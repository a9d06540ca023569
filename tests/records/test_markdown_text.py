"""Whatever a user named something opens no cell, tag, link, line or code block."""

import pytest

from layer_distillation.records.markdown_text import clean_text, code_span, escape_markdown, fence_code, format_table


@pytest.mark.parametrize(
    ("name", "escaped"),
    [("[a](b)", "\\[a\\](b)"), ("see [a][b]", "see [a\\][b]"), ("[a]: b", "\\[a\\]: b"), ("[x] done", "\\[x] done")],
)
def test_brackets_make_no_link_definition_or_check_box(name, escaped):
    assert escape_markdown(name) == escaped


def test_plain_names_stay_as_they_are():
    plain = "macro_f1, top 0.85 ± 0.01 [0.8, 0.9] (3 seeds)"
    assert escape_markdown(plain) == plain


def test_control_characters_and_line_ends_are_gone():
    assert clean_text("a\nb\x1b[2J\u202ec") == "a b?[2J?c"


def test_a_cell_ends_where_the_table_says():
    assert format_table(["a", "b"], [["1|2", "x\ny"]]) == "| a | b |\n|---|---|\n| 1\\|2 | x y |"


@pytest.mark.parametrize(
    ("text", "span"), [("a", "`a`"), ("a`b", "`` a`b ``"), ("``", "``` `` ```"), ("<b>\n|", "`<b> |`")]
)
def test_backticks_do_not_end_a_code_span(text, span):
    assert code_span(text) == span


def test_backticks_do_not_end_a_code_block():
    assert fence_code("print(1)", "python") == "```python\nprint(1)\n```"
    assert fence_code("a\n````\nb\x1b") == "`````\na\n````\nb?\n`````"
