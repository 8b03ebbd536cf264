"""The table of rules in the docs is that of the rules."""

from importlib.resources import files

import pytest

from resilient_agent.classify.knowledge import EXACT, UNKNOWN, WIDE
from resilient_agent.classify.table import markdown

TABLE = files("resilient_agent.classify").joinpath("RULES.md").read_text("utf-8")


def test_the_table_in_the_docs_is_generated_from_the_rules():
    """Whoever changes a rule writes the table anew: python -m resilient_agent.classify.table."""
    assert markdown() == TABLE


@pytest.mark.parametrize("rule", [*EXACT, *WIDE, *UNKNOWN], ids=lambda rule: rule.name)
def test_every_rule_stands_in_the_table_with_its_reason(rule):
    """A reader finds the name from a note or a log, what it means, and why."""
    line = next(line for line in TABLE.splitlines() if line.startswith(f"| `{rule.name}` |"))
    assert f"| {rule.then.value} |" in line
    assert rule.because in line


def test_no_cell_breaks_the_table():
    """Every row has its five cells, whatever stands in a phrase."""
    rows = [line for line in TABLE.splitlines() if line.startswith("| `")]
    assert len(rows) == len([*EXACT, *WIDE, *UNKNOWN])
    assert {line.replace("\\|", "").count("|") for line in rows} == {6}
