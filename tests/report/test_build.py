"""A report says what the corpus holds, in the same bytes each time, escaped, and without a request."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from depthforge.corpus.store import open_for_writing
from depthforge.corpus.verify import verify_corpus
from depthforge.errors import IncompleteError, InputError, MissingDataError, StorageError
from depthforge.report import build_report, write_report
from depthforge.report.page import SCRIPTS, STYLE, asset
from tests.corpus.corpora import build, make_info
from tests.report.corpora import EVIL, build_corpus
from tests.report.pages import Page


def page_of(root: Path, **options: object) -> Page:
    return Page(build_report(root, **options).content.decode())  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def page(made: Path) -> Page:
    return page_of(made)


def test_the_page_is_whole_and_has_every_section(page: Page) -> None:
    assert not page.mistakes
    assert not page.open
    names = ["summary", "gallery", "cloud", "realism", "statistics", "rejects", "manifest", "provenance"]
    assert [attributes["id"] for attributes in page.named("section")] == names
    links = [attributes["href"] for attributes in page.named("a") if (attributes["href"] or "").startswith("#")]
    assert links == ["#content", *(f"#{name}" for name in names)]
    assert page.named("html") == [{"lang": "en"}]
    assert len(page.named("h1")) == 1


def test_it_says_what_the_corpus_holds(page: Page) -> None:
    summary = page.texts["summary"]
    for words in ("18frames", "4scenes", "64 × 48pixels", "2rejects", "farther of kinect", "CC BY-NC 4.0"):
        assert words in summary, words
    assert "non-commercial use only" in page.texts["provenance"]
    assert "the file is cut short" in page.texts["rejects"]
    assert "What to do: copy it again" in page.texts["rejects"]
    assert "seed: 1" in page.texts["manifest"]
    assert "depthforge report CORPUS --real SCANS" in page.texts["realism"]


def test_every_shown_frame_has_its_pictures_inside(page: Page) -> None:
    frames = [attributes for attributes in page.named("li") if attributes.get("class") == "frame"]
    assert len(frames) == 16
    pictures = [attributes for attributes in page.named("img") if attributes.get("id") != "viewer-picture"]
    assert len(pictures) == 16 * 7
    for attributes in pictures:
        kind, content = (attributes["src"] or "").split(",")
        assert kind == "data:image/webp;base64"
        assert base64.b64decode(content)[8:12] == b"WEBP"
        assert attributes["alt"]
    holes = [float(attributes["data-holes"] or "nan") for attributes in frames]
    assert min(holes) == pytest.approx(100 * 4 / 48, abs=0.001)
    assert {attributes["data-split"] for attributes in frames} == {"train", "val"}


def test_every_control_has_a_label(page: Page) -> None:
    named = {attributes.get("for") for attributes in page.named("label")}
    for attributes in (*page.named("select"), *page.named("input")):
        if attributes.get("type") not in ("checkbox", "radio"):  # these stand within their labels
            assert attributes["id"] in named


def test_the_same_corpus_gives_the_same_bytes(made: Path, tmp_path: Path) -> None:
    first = build_report(made).content
    assert build_report(made).content == first
    assert build_report(shutil.copytree(made, tmp_path / "copy")).content == first


def test_no_place_of_this_machine_is_told(made: Path) -> None:
    assert str(made.parent).encode() not in build_report(made).content


def test_hostile_names_are_text_and_nothing_else(evil: Path) -> None:
    text = build_report(evil).content.decode()
    page = Page(text)
    assert not page.mistakes
    assert len(page.named("script")) == len(SCRIPTS) + 1
    assert all(
        (attributes.get("src") or "data:image/webp").startswith("data:image/webp") for attributes in page.named("img")
    )
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        assert not (attributes.get("href") or "").startswith("javascript")
    for identity in ("summary", "rejects", "manifest", "provenance"):
        assert EVIL in page.texts[identity] or EVIL.replace("'", "''") in page.texts[identity], identity
    assert EVIL.replace("/", "") in page.texts["frames"]


def test_the_policy_lets_in_what_is_in_the_page_alone(page: Page) -> None:
    policy = next(attributes["content"] for attributes in page.named("meta") if "http-equiv" in attributes)
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    assert "unsafe" not in policy
    hashes = {
        f"'sha256-{base64.b64encode(hashlib.sha256(asset(name).encode()).digest()).decode()}'" for name in SCRIPTS
    }
    assert set(rules["script-src"].split()) == hashes
    assert rules["style-src"] in policy
    assert asset(STYLE)


def test_nothing_of_the_page_lies_elsewhere(page: Page) -> None:
    for element, attributes in page.elements:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            value = attributes.get(name) or ""
            is_inside = value.startswith(("data:", "#")) or not value
            assert is_inside or (element, value) == ("a", "https://example.org"), (element, name, value)
    assert not re.search(r"@import|url\(|@font-face", asset(STYLE))
    for script in SCRIPTS:
        assert not re.search(r"fetch\(|XMLHttpRequest|import\(|eval\(|innerHTML|document\.write", asset(script))


def test_verify_takes_a_corpus_with_its_report(made: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(made, tmp_path / "own"))
    place = write_report(root, build_report(root))
    assert place == f"{root}/report/index.html"
    report = verify_corpus(root)
    assert report.ok
    assert not report.notes
    assert build_report(root).content == Path(place).read_bytes()


def test_a_run_that_changes_the_corpus_takes_the_report_away(tmp_path: Path) -> None:
    info, plan_file = make_info(tmp_path, 4)
    root = build(tmp_path, 4, rejected=[1])
    write_report(root, build_report(root))
    with open_for_writing(root, info, plan_file) as corpus:
        assert corpus.forget_rejects() == 1
    assert not (root / "report" / "index.html").exists()


def test_a_page_elsewhere_leaves_the_corpus_as_it_is(made: Path, tmp_path: Path) -> None:
    assert write_report(made, build_report(made), tmp_path / "new" / "page.html") == str(tmp_path / "new" / "page.html")
    assert (tmp_path / "new" / "page.html").stat().st_size > 10_000
    assert not (made / "report").exists()


def test_where_it_cannot_be_written_is_said(made: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="not a directory"):
        write_report(made, build_report(made), tmp_path / "file" / "page.html")


def test_tables_of_tasks_are_shown_where_there_are_any(made: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(made, tmp_path / "own"))
    (root / "tasks").mkdir()
    pq.write_table(pa.table({"trained on": ["depth_noisy"], "mIoU": [0.625]}), root / "tasks" / "segmentation.parquet")
    text = page_of(root).texts["tasks"]
    assert "segmentation" in text
    assert "0.625" in text
    assert verify_corpus(root).ok
    given = page_of(made, tasks={"pose": [{"error, deg": 3.5}]}).texts["tasks"]
    assert "error, deg" in given
    (root / "tasks" / "broken.parquet").write_bytes(b"no table")
    with pytest.raises(InputError, match="a table of tasks cannot be read"):
        build_report(root)


def test_a_corpus_of_colour_alone_has_a_report(tmp_path: Path) -> None:
    page = page_of(build_corpus(tmp_path, num_frames=4, colour_only=True))
    assert not page.mistakes
    assert "rgb_noisy" in page.texts["gallery"]
    assert "holes, noisy" not in page.texts["summary"]


def test_an_unfinished_corpus_and_none_at_all_are_refused(made: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(made, tmp_path / "own"))
    (root / "index.parquet").unlink()
    with pytest.raises(IncompleteError, match="not finished"):
        build_report(root)
    with pytest.raises(MissingDataError, match="not a corpus"):
        build_report(tmp_path)
