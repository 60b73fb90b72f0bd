"""Templates: what they see, what they may not do, and how they fail."""

from pathlib import Path

import pytest

from captioner import resources
from captioner.errors import PromptError, UsageError
from captioner.prompts import Failure, Prompt, load_prompt
from captioner.tables import Labels
from captioner.triplets import make_triplet
from tests.small import small_schema

SCHEMA = small_schema()
TRIPLET = make_triplet(SCHEMA, Labels(("Effusion", "Nodule")), attributes={"view": "AP"})


def prompt_of(tmp_path: Path, body: str) -> Prompt:
    path = tmp_path / "mine.j2"
    path.write_text(body, encoding="utf-8")
    return Prompt(path)


def styled(tmp_path: Path, style: str) -> Prompt:
    return prompt_of(tmp_path, "{% extends '_base.j2' %}{% block style %}" + style + "{% endblock %}")


@pytest.mark.parametrize("name", resources.names("prompts"))
def test_every_shipped_prompt_names_all_findings_their_wordings_the_view_and_the_count(name):
    system, user = load_prompt(name).render(SCHEMA, TRIPLET, 7)
    assert system.role == "system"
    assert '{"captions": [' in system.content
    assert user.role == "user"
    for text in ("pleural effusion", "fluid in the pleural space", "lung nodule", "chest X-ray", "View: AP", "Write 7"):
        assert text in user.content


def test_there_are_three_styles_and_they_differ_only_in_the_system_message():
    styles = [load_prompt(n).render(SCHEMA, TRIPLET, 10) for n in ("template", "report", "plain")]
    assert len({s[0].content for s in styles}) == 3
    assert len({s[1].content for s in styles}) == 1


def test_the_system_message_is_the_same_for_every_triplet_so_that_servers_can_cache_it():
    other = make_triplet(SCHEMA, Labels(("Normal",)))
    prompt = load_prompt("report")
    assert prompt.render(SCHEMA, TRIPLET, 10)[0] == prompt.render(SCHEMA, other, 3)[0]


@pytest.mark.parametrize(
    "style",
    [
        "{{ findings | map(attribute='name') | join }}",
        "{% for finding in findings %}{{ finding.name }}{% endfor %}",
        "{{ self.facts() }}",
        "{% include '_own.j2' %}",
        "{% block inner %}{{ attributes.view }}{% endblock %}",
    ],
)
def test_a_system_message_that_speaks_of_the_triplet_speaks_of_each(tmp_path, style):
    (tmp_path / "_own.j2").write_text("{{ findings[0].name }}", encoding="utf-8")
    prompt = styled(tmp_path, style)
    others = [TRIPLET, make_triplet(SCHEMA, Labels(("Normal",)), attributes={"view": "PA"}), TRIPLET]
    first, second, third = [prompt.render(SCHEMA, t, 10)[0].content for t in others]
    assert first == third != second


def test_a_repair_shows_the_refused_caption_why_and_what_is_already_accepted():
    messages = load_prompt("plain").render_repair(
        SCHEMA,
        TRIPLET,
        2,
        failures=[Failure("A possible effusion.", ("hedged label: assert it",))],
        accepted=["Fine already."],
        answer='{"captions": []}',
    )
    assert [m.role for m in messages] == ["system", "user", "assistant", "user"]
    for text in ("A possible effusion.", "hedged label: assert it", "Fine already.", "Write 2 new captions"):
        assert text in messages[-1].content


def test_label_text_is_data_and_never_a_template():
    classes = [{"code": "x", "name": "{{ 7 * 7 }} <b>{% raw %}"}]
    schema = small_schema(classes=classes)
    user = load_prompt("template").render(schema, make_triplet(schema, Labels(("x",))), 1)[1]
    assert "{{ 7 * 7 }} <b>{% raw %}" in user.content


def test_the_hash_changes_with_the_template_and_with_what_it_extends(tmp_path):
    base = tmp_path / "_base.j2"
    base.write_text("{% block system %}a{% endblock %}{% block user %}b{% endblock %}{% block repair %}c{% endblock %}")
    first = styled(tmp_path, "x").hash
    assert styled(tmp_path, "x").hash == first
    assert styled(tmp_path, "y").hash != first
    base.write_text(base.read_text() + " ")
    assert styled(tmp_path, "x").hash != first


@pytest.mark.parametrize(
    ("style", "message"),
    [
        ("{{ findngs }}", r"mine\.j2:1: unknown name 'findngs'\. Did you mean 'findings'\?"),
        ("{% if %}", r"mine\.j2:1: Expected an expression"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ findings[0].nme }}", "has no attribute 'nme'"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{% include 'nowhere.j2' %}", "'nowhere.j2', which is in no prompts folder"),
        ("{% include '../../etc/passwd' %}", "in no prompts folder"),
    ],
)
def test_a_template_that_cannot_be_used_says_where_and_why(tmp_path, style, message):
    with pytest.raises(PromptError, match=message):
        styled(tmp_path, style).render(SCHEMA, TRIPLET, 1)


def test_a_prompt_without_a_needed_block_says_how_to_get_it(tmp_path):
    with pytest.raises(PromptError, match="block 'user' is missing"):
        prompt_of(tmp_path, "{% block system %}hello{% endblock %}")


def test_a_template_cannot_change_what_it_is_given(tmp_path):
    with pytest.raises(PromptError, match="unsafe"):
        styled(tmp_path, "{{ findings.append(1) }}").render(SCHEMA, TRIPLET, 1)


def test_an_unknown_prompt_names_those_that_there_are():
    with pytest.raises(UsageError, match=r"no prompt 'reprot'.*Did you mean 'report'"):
        load_prompt("reprot")


def test_a_prompts_folder_in_the_working_directory_comes_first(tmp_path, monkeypatch):
    (tmp_path / "prompts").mkdir()
    mine = tmp_path / "prompts" / "report.j2"
    mine.write_text("{% extends '_base.j2' %}{% block style %}Mine.{% endblock %}")
    monkeypatch.chdir(tmp_path)
    assert resources.find("prompts", "report") == mine
    assert "Mine." in Prompt(mine).render(SCHEMA, TRIPLET, 1)[0].content
