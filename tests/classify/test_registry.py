"""Tables that programs and plug-ins register: order, replacement, errors, and plug-ins that are broken."""

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import ClassVar

import pytest

import resilient_agent
from resilient_agent import BackoffConfig, ErrorClassifier, ErrorType, Rule, When, register, unregister
from resilient_agent.classify import registry


class Failure(Exception):
    def __init__(self, message="failed", **shown):
        super().__init__(message)
        self.__dict__.update(shown)


def rule(name, then=ErrorType.RETRYABLE, **asked):
    return Rule(name, When(**asked), then, because="so it is")


@pytest.fixture(autouse=True)
def empty():
    """What a test registers is gone after it."""
    registry.registered()
    before = dict(registry._REGISTRY.tables)
    yield
    for name in list(registry._REGISTRY.tables):
        unregister(name)
    for name, rules in before.items():
        register(name, rules)


def judged(error=None, **options):
    return ErrorClassifier(**options).classify(error or Failure(status_code=418)).rule


def test_a_registered_table_is_read_by_every_classifier():
    """Classifiers that exist already, new ones and those of a subclass read it, until it is taken out again."""

    class Own(ErrorClassifier):
        RETRYABLE_PATTERNS: ClassVar = {**ErrorClassifier.RETRYABLE_PATTERNS, "flux": BackoffConfig()}

    existing = ErrorClassifier()
    assert existing.classify(Failure(status_code=418)).rule == "http/bad-request"
    register("acme", [rule("acme/teapot", status=418)])
    found = {one.classify(Failure(status_code=418)).rule for one in (existing, ErrorClassifier(), Own())}
    assert found == {"acme/teapot"}
    unregister("acme")
    assert existing.classify(Failure(status_code=418)).rule == "http/bad-request"


def test_own_rules_go_before_registered_ones_and_those_before_ours():
    """What a classifier was given decides first, then what was registered, then what is built in."""
    own = rule("own/teapot", then=ErrorType.FATAL, status=418)
    register("acme", [rule("acme/teapot", status=418), rule("acme/bug", types=("TypeError",))])
    assert judged(rules=[own]) == "own/teapot"
    assert judged() == "acme/teapot"
    assert judged(TypeError()) == "acme/bug"
    assert judged(KeyError()) == "local/programming"


def test_own_patterns_go_before_registered_ones():
    """A phrase that a program added to a classifier's table is its own."""

    class Own(ErrorClassifier):
        NON_RETRYABLE_PATTERNS: ClassVar = [*ErrorClassifier.NON_RETRYABLE_PATTERNS, "flux gone"]

    register("acme", [rule("acme/flux", words=("flux",))])
    assert Own().classify(Failure("flux gone")).error_type is ErrorType.NON_RETRYABLE
    assert Own().classify(Failure("flux")).rule == "acme/flux"


def test_a_registered_rule_finds_its_evidence_behind_the_exception():
    """The causes are read for a registered rule before ours see the exception itself."""
    register("acme", [rule("acme/teapot", then=ErrorType.FATAL, status=418)])
    error = TimeoutError()
    error.__cause__ = Failure(status_code=418)
    assert judged(error) == "acme/teapot"


def test_tables_are_read_in_the_order_in_which_they_were_registered():
    """The first table that has a fitting rule decides."""
    register("one", [rule("one/teapot", status=418)])
    register("two", [rule("two/teapot", status=418), rule("two/busy", status=503)])
    assert judged() == "one/teapot"
    assert judged(Failure(status_code=503)) == "two/busy"
    unregister("one")
    assert judged() == "two/teapot"


def test_a_table_of_the_same_name_is_replaced():
    """Registering a name again leaves nothing of the former table, and keeps its place."""
    register("one", [rule("one/teapot", status=418), rule("one/busy", status=503)])
    register("two", [rule("two/teapot", status=418)])
    register("one", [rule("one/kettle", status=418)])
    assert judged() == "one/kettle"
    assert judged(Failure(status_code=503)) == "http/unavailable"


def test_a_table_may_be_empty():
    """No rules are a table too: it can be taken out again."""
    register("acme", [])
    assert judged() == "http/bad-request"
    unregister("acme")
    with pytest.raises(ValueError, match="'acme'"):
        unregister("acme")


def test_rules_may_come_from_a_generator():
    """Any iterable is a table."""
    register("acme", (rule(f"acme/{status}", status=status) for status in (418, 419)))
    assert judged() == "acme/418"
    assert judged(Failure(status_code=419)) == "acme/419"


def test_an_unknown_table_cannot_be_taken_out():
    """The ValueError names it and lists those that there are."""
    register("beta", [])
    register("acme", [])
    with pytest.raises(ValueError, match=r"'gamma'.*acme, beta"):
        unregister("gamma")


def test_where_there_is_no_table_the_message_says_so():
    """An empty list is said in a word."""
    with pytest.raises(ValueError, match="none"):
        unregister("gamma")


@pytest.mark.parametrize("rules", [["429"], [When(status=429)], [None], "rules", None, 5], ids=repr)
def test_what_are_no_rules_is_refused(rules):
    """Something else than rules is a TypeError, and nothing is registered."""
    with pytest.raises(TypeError):
        register("acme", rules)
    with pytest.raises(ValueError, match="acme"):
        unregister("acme")


def test_a_bare_rule_is_refused_with_what_to_write():
    """One rule in place of several, for the process or for a classifier."""
    alone = rule("acme/teapot", status=418)
    for give in (lambda: register("acme", alone), lambda: ErrorClassifier(rules=alone)):
        with pytest.raises(TypeError, match=r"write \[rule\] for one, here for 'acme/teapot'"):
            give()


def test_a_refused_table_leaves_the_former_one():
    """Where the new rules are none, the old ones stay."""
    register("acme", [rule("acme/teapot", status=418)])
    with pytest.raises(TypeError, match="rules must be Rule objects"):
        register("acme", [rule("acme/other", status=418), "more"])
    assert judged() == "acme/teapot"


@pytest.mark.parametrize("name", [None, 5, b"acme", ("acme",)], ids=repr)
def test_a_name_that_is_no_text_is_refused(name):
    """The TypeError shows it."""
    with pytest.raises(TypeError, match="name of a table"):
        register(name, [])


def test_threads_may_register_while_others_judge():
    """A judgement reads either the former or the new table, and never half of one."""
    found, stop = set(), threading.Event()

    def judge():
        classifier = ErrorClassifier()
        while not stop.is_set():
            found.add(classifier.classify(Failure(status_code=418)).rule)

    threads = [threading.Thread(target=judge) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(100):
        register("acme", [rule(f"acme/{number % 2}", status=418)])
    stop.set()
    for thread in threads:
        thread.join()
    assert found <= {"http/bad-request", "acme/0", "acme/1"}
    assert judged() == "acme/1"


# Plug-ins: a package that is installed beside the library, in a process of its own


GOOD = """
from resilient_agent import Rule, When
RULES = [Rule("plug/teapot", When(status=418), "retryable", "the pot is being filled")]
def made():
    yield from RULES
"""
ASK = """
import warnings
from resilient_agent import ErrorClassifier, Rule, When, register, unregister
class Failure(Exception):
    status_code = 418
def ask():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rule = ErrorClassifier().classify(Failure()).rule
    print(rule, *(f"{one.category.__name__}: {one.message}" for one in caught), sep="\\n")
"""


@pytest.fixture
def ask(tmp_path):
    """Install packages with an entry point each, run a script beside them, and give its lines."""

    def install(name, target, code):
        (tmp_path / f"{name}_plugin.py").write_text(textwrap.dedent(code), "utf-8")
        info = tmp_path / f"{name}_plugin-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-plugin\nVersion: 1.0\n", "utf-8")
        (info / "entry_points.txt").write_text(f"[{registry.GROUP}]\n{name} = {target}\n", "utf-8")

    def run(script, **plugins):
        for name, (target, code) in plugins.items():
            install(name, target, code)
        home = Path(resilient_agent.__file__).parent.parent
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(home)])}
        code = ASK + textwrap.dedent(script)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


def test_a_plugins_rules_are_read(ask):
    """A package with an entry point needs no line in the program that uses it."""
    assert ask("ask(); ask()", acme=("acme_plugin:RULES", GOOD)) == ["plug/teapot", "plug/teapot"]


def test_without_a_plugin_there_is_nothing_to_read(ask):
    """The same program without the package is judged by the built-in rules, without a warning."""
    assert ask("ask()") == ["http/bad-request"]


def test_a_plugin_can_be_taken_out(ask):
    """Its table has the entry point's name, and once taken out it does not come back."""
    assert ask("unregister('acme'); ask(); ask()", acme=("acme_plugin:RULES", GOOD)) == ["http/bad-request"] * 2


def test_importing_and_registering_loads_no_plugin(ask):
    """Plug-ins are looked for at the first judgement, and not before somebody needs them."""
    script = "import sys; register('other', []); print('acme_plugin' in sys.modules); ask(); print('acme_plugin' in sys.modules)"
    assert ask(script, acme=("acme_plugin:RULES", GOOD)) == ["False", "plug/teapot", "True"]


def test_the_programs_own_table_of_that_name_goes_first(ask):
    """Who registers a table under a plug-in's name has replaced the plug-in, before or after it was loaded."""
    script = """
    own = [Rule("own/teapot", When(status=418), "fatal", "ours")]
    register("acme", own)
    ask()
    """
    assert ask(script, acme=("acme_plugin:RULES", GOOD)) == ["own/teapot"]
    assert ask("ask()\n" + textwrap.dedent(script)) == ["plug/teapot", "own/teapot"]


BROKEN = {
    "no module": ("no_such_module:RULES", ""),
    "no attribute": ("bad_plugin:MISSING", "x = 1"),
    "raises": ("bad_plugin:RULES", "raise RuntimeError('no licence')"),
    "syntax": ("bad_plugin:RULES", "def"),
    "no rules": ("bad_plugin:RULES", "RULES = ['429']"),
    "no iterable": ("bad_plugin:RULES", "RULES = 5"),
    "function": ("bad_plugin:RULES", "def RULES(): return []"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_plugin_warns_once_and_harms_nothing(ask, kind):
    """The warning names the plug-in; the others are read, and the failure is judged."""
    lines = ask("ask(); ask()", bad=BROKEN[kind], acme=("acme_plugin:RULES", GOOD))
    assert lines[0] == lines[-1] == "plug/teapot"
    assert len(lines) == 3
    assert lines[1].startswith("RuntimeWarning:")
    assert "'bad'" in lines[1]


def test_a_broken_plugin_is_met_once_where_warnings_are_errors(ask):
    """With `-W error` it may take the place of one failure, and not of every one after it."""
    script = """
    warnings.simplefilter("error")
    for _ in range(3):
        try:
            print(ErrorClassifier().classify(Failure()).rule)
        except RuntimeWarning:
            print("warned")
    """
    lines = ask(script, bad=BROKEN["raises"])
    assert lines[-2:] == ["http/bad-request"] * 2


def test_a_plugin_that_judges_while_it_is_loaded_is_answered(ask):
    """A package that asks for a verdict at its import neither hangs nor loses its own rules."""
    code = (
        "from resilient_agent import ErrorClassifier\nErrorClassifier().classify(TimeoutError())\n"
        + textwrap.dedent(GOOD)
    )
    assert ask("ask()", acme=("acme_plugin:RULES", code)) == ["plug/teapot"]


def test_plugins_whose_loading_was_interrupted_are_looked_for_again(ask):
    """Ctrl-C while a package is imported, as in a notebook: the next judgement has its rules."""
    code = (
        "import builtins\nif not hasattr(builtins, 'tried'):\n    builtins.tried = True\n    raise KeyboardInterrupt\n"
        + textwrap.dedent(GOOD)
    )
    script = """
    try:
        ask()
    except KeyboardInterrupt:
        ask()
    """
    assert ask(script, acme=("acme_plugin:RULES", code)) == ["plug/teapot"]


def test_many_threads_load_the_plugins_once(ask):
    """Judgements that begin at the same time all see the plug-in's rules."""
    code = "import time\nprint('loaded')\ntime.sleep(0.2)\n" + textwrap.dedent(GOOD)
    script = """
    import threading
    found = []
    judge = lambda: found.append(ErrorClassifier().classify(Failure()).rule)
    threads = [threading.Thread(target=judge) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(*found, sep="\\n")
    """
    assert ask(script, acme=("acme_plugin:RULES", code)) == ["loaded"] + ["plug/teapot"] * 5
