"""The translations are complete and right in form, and pages, mails and receipts are in the language of the user."""

import re
from collections import Counter
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.core import mail
from django.test import Client
from django.utils import translation

from bin.messages import FOLDERS, ROOT, catalogue_of, messages_of, update
from exports import housekeeping
from exports.conf import url_of
from exports.http import words
from exports.tabular.columns import ALTERATIONS
from tests.office import rows
from tests.office.markup import HtmlPage, check_page
from tests.test_notifications import ended

LANGUAGES = ("ar", "de", "es", "fr", "ja", "pt")
FORMS = {"ar": 6, "ja": 1}
FILES = [folder / "locale" / language / "LC_MESSAGES" / "django.po" for folder in FOLDERS for language in LANGUAGES]
PLACEHOLDER = re.compile(r"\{\w*\}|%\(\w+\)[sd]|%[sd]")
# Arabic has forms for exactly one and two, which say the number as a word.
ONE_AND_TWO = (1, 2)


@pytest.fixture(scope="module")
def sources() -> dict[Path, Catalog]:
    return {folder: messages_of(folder) for folder in FOLDERS}


@pytest.fixture(params=FILES, ids=lambda path: f"{path.parts[-5]}-{path.parts[-3]}")
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


def ids_of(catalogue: Catalog) -> set[tuple[object, object]]:
    return {(message.id, message.context) for message in catalogue if message.id}


def translated(path: Path) -> list[Message]:
    return [message for message in catalogue_of(path) if message.id]


def forms_of(texts: object) -> tuple[str, ...]:
    return (texts,) if isinstance(texts, str) else tuple(texts)


def test_a_translation_has_every_message_of_the_source_and_no_other(path: Path, sources: dict[Path, Catalog]):
    catalogue = catalogue_of(path)
    source, given = ids_of(sources[path.parents[3]]), ids_of(catalogue)
    assert (source - given, given - source) == (set(), set()), "Run python -m bin.messages, then translate what is new."
    assert not catalogue.obsolete


def test_every_message_is_translated_and_none_is_fuzzy(path: Path):
    assert [message.id for message in translated(path) if message.fuzzy or not all(forms_of(message.string))] == []


def test_every_plural_has_the_forms_of_its_language(path: Path):
    catalogue = catalogue_of(path)
    count = FORMS.get(path.parts[-3], 2)
    assert catalogue.num_plurals == count
    wrong = [each.id for each in translated(path) if each.pluralizable and len(forms_of(each.string)) != count]
    assert wrong == []


def test_every_form_keeps_the_placeholders(path: Path):
    wrong = []
    for message in translated(path):
        expected = Counter(PLACEHOLDER.findall(forms_of(message.id)[-1]))
        for index, text in enumerate(forms_of(message.string)):
            found = Counter(PLACEHOLDER.findall(text))
            says_number_as_word = path.parts[-3] == "ar" and message.pluralizable and index in ONE_AND_TWO
            is_kept = found < expected and "%d" not in expected if says_number_as_word else False
            if found != expected and not is_kept:
                wrong.append(text)
    assert wrong == []


def test_lines_and_spaces_at_the_ends_are_kept(path: Path):
    wrong = [
        message.id
        for message in translated(path)
        for text in forms_of(message.string)
        if text.strip() != text or text.count("\n") != forms_of(message.id)[0].count("\n")
    ]
    assert wrong == []


TAGS = re.compile(
    r"{% comment %}.*?{% endcomment %}|{% blocktranslate.*?{% endblocktranslate %}|<style>.*?</style>|{[%{#].*?[%}#]}",
    re.DOTALL,
)
# What a reader sees of a page: its text, and the attributes that screen readers and browsers say.
SEEN = re.compile(r"(?:aria-label|title|placeholder|alt)=\"([^\"]*)\"|<[^>]*>")
# Names, and the icon "download" of Material Symbols.
NAMES = {"Live Exports", "SHA", "rsaquo", "download"}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_templates_have_no_words_outside_the_catalogue(folder: Path):
    found = set()
    for template in folder.rglob("*.html"):
        text = SEEN.sub(r" \1 ", TAGS.sub("", template.read_text()))
        found |= {(template.name, seen.strip()) for seen in re.findall(r"[A-Za-z][A-Za-z ]{2,}", text)}
    assert {each for each in found if each[1] not in NAMES} == set()


def test_a_new_message_is_added_and_one_that_is_gone_is_deleted(tmp_path: Path):
    target = tmp_path / "locale" / "de" / "LC_MESSAGES" / "django.po"
    target.parent.mkdir(parents=True)
    header = 'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=utf-8\\n"\n\n'
    target.write_text(f'{header}msgid "Kept"\nmsgstr "Behalten"\n\nmsgid "Gone"\nmsgstr "Weg"\n')
    (tmp_path / "page.html").write_text('{% load i18n %}{% translate "Kept" %}')
    (tmp_path / "views.py").write_text('title = ngettext("{n} row", "{n} rows", 2)\n')
    update(tmp_path)
    found = {message.id: message.string for message in translated(target)}
    assert found == {"Kept": "Behalten", ("{n} row", "{n} rows"): ("", "")}


# What users see


@pytest.fixture
def owner(db: None) -> User:
    return User.objects.create_user("owner", "owner@office.example")


@pytest.fixture
def browser(owner: User) -> Client:
    client = Client()
    client.force_login(owner)
    return client


@pytest.mark.parametrize(("language", "said"), [("de", "Abgebrochen"), ("ar", "أُلغي")])
def test_a_page_and_its_card_are_in_the_language(
    browser: Client, owner: User, settings: LazySettings, language: str, said: str
):
    settings.LANGUAGE_CODE = language
    text = browser.get(url_of("page", rows.IN_STATUS["cancelled"](owner).pk)).content.decode()
    page = check_page(text, language=language)
    direction = "rtl" if language == "ar" else "ltr"
    [card] = page.all("export-progress")
    assert (card["lang"], card["dir"], page.config["language"]) == (language, direction, language)
    assert f">{said}</p>" in text
    assert page.config["words"]["cancelled"] == said


def test_the_list_and_the_form_have_the_direction_of_their_words(browser: Client, settings: LazySettings):
    settings.LANGUAGE_CODE = "ar"
    [shown] = HtmlPage(browser.get("/exports/").content.decode()).all("export-list")
    assert (shown["lang"], shown["dir"]) == ("ar", "rtl")


def test_arabic_has_its_own_form_for_each_kind_of_number():
    with translation.override("ar"):
        said = [words.rows_text(count) for count in (0, 1, 2, 3, 11, 100)]
    assert said == ["0 صف", "صف واحد", "صفان", "3 صفوف", "11 صفًا", "100 صف"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_alteration_of_the_receipt_is_translated(language: str):
    with translation.override(language):
        same = [sentence for kind, sentence in ALTERATIONS.items() if words.alteration_text(kind) == sentence]
    assert same == []


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.django_db
def test_a_mail_is_in_the_language_of_its_recipient(language: str, mailoutbox: list[mail.EmailMessage]):
    ended(requester_language=language, requester_timezone="Europe/Berlin", receipt={"rows": 2})
    housekeeping.send_mails()
    [sent] = mailoutbox
    [(html, _kind)] = sent.alternatives
    with translation.override(language):
        greeting = translation.gettext("The file that you asked for is ready.")
    assert greeting in sent.body
    assert greeting in html
    assert f'<html lang="{language}"' in html
    assert ".." not in sent.body


def test_style_sheets_have_a_start_and_an_end_instead_of_left_and_right():
    physical = re.compile(
        r"^\s*((margin|padding|border)-)?(left|right)\b.*:|(text-align|float): (left|right)|^\s*inset: \S+ "
    )
    sheets = [*(ROOT / "frontend").glob("*.css"), *(ROOT / "project" / "static").glob("*.css")]
    lines = [line for sheet in sheets for line in sheet.read_text().splitlines() if physical.search(line)]
    assert len(sheets) > 2
    assert lines == []
