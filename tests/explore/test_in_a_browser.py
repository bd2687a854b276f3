"""Does the page, opened from a file, show Python's numbers, whatever is chosen and moved?"""

import re
from pathlib import Path

import msgspec
import pytest

from perfmodel.explore.page import make_page
from perfmodel.parameters import Parameter, ParameterSet, load_parameters
from tests.support.browser import open_page
from tests.support.explored import agrees, choose, guest_of, shown_headline, shown_times

FIRST = {"backing": "hugetlb-1g", "shattered": "0", "memory": "1GiB", "guest": "linux-lazy"}


@pytest.fixture(scope="module")
def opened(browser, page_file):
    page, complaints = open_page(browser, page_file)
    yield page, complaints
    page.close()


@pytest.fixture
def page(opened):
    """Return the page, once it is as it was when it was opened; that takes a tenth of the time of opening it."""
    page, complaints = opened
    page.locator("#reset-all").click()
    page.locator("#search").fill("")
    page.locator("#as-shares").uncheck()
    choose(page, memory="1 GiB", shattered="0", backing="hugetlb-1g", guest="linux-lazy")
    choose(page, fast="pfn", slow="folio-strict")
    page.evaluate("""() => { document.querySelectorAll("#prices details, #results details").forEach(
        one => one.open = false); document.getElementById("file-text").value = ""; scrollTo(0, 0); }""")
    yield page
    assert complaints == []


def set_number(page, name, value):
    """Type into the number beside a slider; its group is opened for that."""
    page.evaluate("name => document.getElementById(name).closest('.group').open = true", f"price-{name}")
    page.get_by_label(f"{name}, number").fill(str(value))


def press(page, name, key, times=1):
    page.evaluate("name => document.getElementById(name).closest('.group').open = true", f"price-{name}")
    page.focus(f"#price-{name}")
    for _ in range(times):
        page.keyboard.press(key)
    return page.get_by_label(f"{name}, number").input_value()


def file_text(page):
    page.locator("#file-details summary").click()
    page.wait_for_function("document.getElementById('file-text').value !== ''")
    return page.locator("#file-text").input_value()


def test_it_shows_what_python_computes(page, guests, parameters):
    agrees(page, guest_of(guests, **FIRST), parameters)


@pytest.mark.parametrize(
    "choice", [{"shattered": "0.5", "memory": "2 GiB"}, {"guest": "prefault"}, {"backing": "order0"}]
)
def test_any_guest_can_be_chosen(page, guests, parameters, choice):
    choose(page, **choice)
    labels = FIRST | {name: label.replace(" ", "") for name, label in choice.items()}
    agrees(page, guest_of(guests, **labels), parameters)


def test_a_choice_takes_others_along_to_a_guest_that_was_counted(page, guests, parameters):
    choose(page, shattered="0.5", memory="2 GiB", guest="prefault")
    choose(page, backing="order0")  # known with one memory, share and guest only
    assert "1 GiB, 0 % of the 1G folios shattered, order0, linux-lazy" in page.locator("#headline").inner_text()
    chosen = page.locator("#choices select").evaluate_all("all => all.map(one => one.selectedOptions[0].text)")
    assert chosen[:4] == ["linux-lazy", "order0", "0", "1 GiB"]
    agrees(page, guest_of(guests, backing="order0"), parameters)
    choose(page, memory="2 GiB")
    assert page.locator("#choice-backing").input_value() == "0"
    agrees(page, guest_of(guests, **FIRST | {"memory": "2GiB"}), parameters)


def test_any_two_interfaces_can_be_compared(page, guests, parameters):
    choose(page, fast="folio-lenient", slow="page-4k")
    agrees(page, guest_of(guests, **FIRST), parameters, "folio-lenient", "page-4k")
    choose(page, slow="folio-lenient")  # the other one makes room
    assert page.locator("#choice-fast").input_value() == "page-4k"
    agrees(page, guest_of(guests, **FIRST), parameters, "page-4k", "folio-lenient")


def test_a_slider_moved_by_keyboard_counts_as_known_exactly(page, guests):
    before = shown_headline(page)
    value = press(page, "flush_line", "ArrowRight", 40)
    assert float(value) > 10.6
    assert shown_headline(page) != before
    agrees(page, guest_of(guests, **FIRST), load_parameters(overrides=[f"flush_line={value}"]))
    assert page.locator("#price-flush_line").get_attribute("aria-valuetext") == f"{value} ns"


def test_a_number_that_is_typed_moves_the_slider(page, guests):
    set_number(page, "seam_transition", 1234.5)
    set_number(page, "core_ghz", 2.1)
    changed = load_parameters(overrides=["seam_transition=1234.5", "core_ghz=2.1"])
    agrees(page, guest_of(guests, **FIRST), changed)
    place = float(page.locator("#price-seam_transition").input_value())
    assert place == pytest.approx(1000 * 0.6545, abs=1)  # log(1234.5 / 350) / log(2400 / 350)


def test_the_ends_of_a_slider_are_the_limits(page, parameters):
    assert float(press(page, "clear_line", "Home")) == parameters["clear_line"].low
    assert float(press(page, "clear_line", "End")) == parameters["clear_line"].high


@pytest.mark.parametrize("typed", ["1e9", "-1", ""])
def test_a_number_out_of_range_is_refused_with_what_is_accepted(page, guests, parameters, typed):
    set_number(page, "clear_line", typed)
    assert page.get_by_label("clear_line, number").get_attribute("aria-invalid") == "true"
    assert page.locator("#error-clear_line").inner_text() == "accepted is 2 to 12 ns; 8 stands"
    agrees(page, guest_of(guests, **FIRST), parameters)


def test_reset_gives_back_value_and_distribution(page, guests, parameters):
    press(page, "flush_line", "ArrowLeft", 10)
    set_number(page, "clear_line", 3)
    page.get_by_label("reset flush_line").click()
    agrees(page, guest_of(guests, **FIRST), load_parameters(overrides=["clear_line=3"]))
    page.locator("#reset-all").click()
    agrees(page, guest_of(guests, **FIRST), parameters)
    assert page.locator("#moved").inner_text() == "nothing was moved"


def test_the_parameter_file_gives_the_same_prices_and_intervals(page, guests, parameters, tmp_path):
    set_number(page, "flush_line", 4.75)
    set_number(page, "seam_transition", 400)
    set_number(page, "core_ghz", 2.5)
    with page.expect_download() as begun:
        page.locator("#download").click()
    assert begun.value.suggested_filename == "parameters.toml"
    begun.value.save_as(tmp_path / "parameters.toml")
    assert file_text(page) == (tmp_path / "parameters.toml").read_text()
    loaded = load_parameters(file=tmp_path / "parameters.toml")
    agrees(page, guest_of(guests, **FIRST), loaded)
    moved = load_parameters(overrides=["flush_line=4.75", "seam_transition=400", "core_ghz=2.5"])
    assert (loaded.sha256, loaded.name) == (moved.sha256, moved.name)


def test_an_unmoved_file_is_the_set_itself(page, parameters, tmp_path):
    (tmp_path / "parameters.toml").write_text(file_text(page))
    assert load_parameters(file=tmp_path / "parameters.toml") == parameters


HOSTILE = '</script><img src=x onerror=alert(1)> & "quotes" \\ value = 3 \U0001f600 $data ${1+1}'


def hostile(parameters):
    rows = [msgspec.structs.replace(one, source=HOSTILE) for one in parameters.parameters]
    return msgspec.structs.replace(parameters, name=HOSTILE, parameters=tuple(rows))


def test_texts_of_files_stay_texts(browser, guests, tmp_path):
    parameters = hostile(load_parameters())
    again = guests._replace(
        axes=guests.axes | {"guest": [HOSTILE]},
        guests=[one._replace(choice=one.choice | {"guest": HOSTILE}) for one in guests.guests[:2]],
    )
    (tmp_path / "page.html").write_bytes(make_page(again, parameters))
    opened, complaints = open_page(browser, tmp_path / "page.html")
    assert HOSTILE in opened.locator("#headline").text_content()
    assert HOSTILE in opened.locator("#source").text_content()
    assert HOSTILE in opened.locator("#about-flush_line ~ .source").text_content()
    set_number(opened, "clear_line", 4)
    (tmp_path / "parameters.toml").write_text(file_text(opened))
    loaded = load_parameters(file=tmp_path / "parameters.toml")
    assert loaded["flush_line"].source == HOSTILE
    assert loaded["clear_line"].value == 4
    assert loaded.name == HOSTILE + "+set"
    opened.close()
    assert complaints == []


@pytest.mark.parametrize("case", ["priors", "uniform down to zero", "several kinds"])
def test_other_sets_agree_too(browser, guests, tmp_path, case):
    parameters = load_parameters(calibrated=False)
    if case == "uniform down to zero":
        parameters = replaced(parameters, "flush_line", value=0.0, low=0.0, distribution="uniform")
    if case == "several kinds":
        parameters = replaced(load_parameters(), "clear_line", distribution="uniform")
        parameters = replaced(parameters, "dram_read", distribution="lognormal", sigma=0.3)
    (tmp_path / "page.html").write_bytes(make_page(guests, parameters))
    opened, complaints = open_page(browser, tmp_path / "page.html")
    agrees(opened, guest_of(guests, **FIRST), parameters)
    set_number(opened, "flush_line", 3.25)
    set_number(opened, "core_ghz", 2)
    (tmp_path / "parameters.toml").write_text(file_text(opened))
    agrees(opened, guest_of(guests, **FIRST), load_parameters(file=tmp_path / "parameters.toml"))
    opened.close()
    assert complaints == []


def replaced(parameters: ParameterSet, name: str, **fields: object) -> ParameterSet:
    def changed(one: Parameter) -> Parameter:
        return msgspec.structs.replace(one, **fields) if one.name == name else one

    return msgspec.structs.replace(parameters, parameters=tuple(map(changed, parameters.parameters)))


def test_charts_hold_the_numbers_of_the_table(page):
    choose(page, shattered="0.5")
    bars, speeds = page.evaluate("""() => {
        const model = type => [...Bokeh.documents[0]._all_models.values()].filter(one => one.type === type);
        const sources = model("ColumnDataSource").map(one => one.data);
        return [sources.find(one => "left TD exit" in one), sources.filter(one => "speed" in one)];
    }""")
    times = shown_times(page)
    rights = [values for name, values in bars.items() if name.startswith("right ")]
    for row, name in enumerate(bars["y"]):
        assert max(values[row] for values in rights) * 1e9 == pytest.approx(times[name][0][0], rel=1e-9)
    for (value, low, high), source in zip((one[1] for one in times.values()), speeds, strict=True):
        assert (source["speed"][0], source["low"][0], source["high"][0]) == (value, low, high)
        assert source["memory"] == [1, 2]
    page.locator("#as-shares").check()
    shares = page.evaluate("""() => [...Bokeh.documents[0]._all_models.values()]
        .find(one => one.data && "left TD exit" in one.data).data""")
    widest = [max(shares[name][row] for name in shares if name.startswith("right ")) for row in range(4)]
    assert widest == pytest.approx([100] * 4)


def test_counts_are_those_of_the_guest(page, guests):
    choose(page, backing="order0")
    guest = guest_of(guests, backing="order0")
    rows = page.locator("#counts tbody tr").evaluate_all(
        """rows => rows.map(row => [row.children[0].textContent,
            [...row.querySelectorAll('data')].map(one => +one.value)])"""
    )
    assert rows == [[title, [work.counts[title] for work in guest.work.values()]] for title, _ in rows]
    assert {"TD exits", "TDH.MEM.PAGE.AUG", "TDG.MEM.PAGE.ACCEPT"} <= {title for title, _ in rows}


def test_what_matters_leads_to_its_slider(page):
    first = page.locator("#largest button").first
    name = first.inner_text()
    page.evaluate("document.querySelectorAll('.group').forEach(one => one.open = false)")
    first.click()
    assert page.evaluate("document.activeElement.id") == f"price-{name}"
    assert page.locator(f"#price-{name}").is_visible()


def test_every_price_has_a_slider_that_can_be_found(page, parameters):
    ids = page.locator("input[type=range]").evaluate_all("all => all.map(one => one.id)")
    assert sorted(ids) == sorted(f"price-{name}" for name in (*parameters.names, "core_ghz"))
    page.locator("#search").fill("sha384")
    assert page.locator(".price:visible").count() == 1
    page.locator("#search").fill("no such price")
    assert page.locator(".found").inner_text() == "0 of 67 found"


def test_everything_is_reached_and_named_by_keyboard(page):
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    for _ in range(3):
        page.keyboard.press("Tab")  # the skip link, and the first choices
    controls = """all => all.filter(one => !one.disabled && one.offsetParent !== null).map(one =>
        one.id || one.getAttribute('aria-label') || one.textContent)"""
    expected = page.locator("a, select, button, input, textarea, summary").evaluate_all(controls)
    page.evaluate("document.activeElement.blur()")
    page.locator(".skip").focus()
    reached = []
    for _ in range(2 * len(expected)):
        at = page.evaluate("""() => { const one = document.activeElement;
            return [one.id || one.getAttribute('aria-label') || one.textContent,
                    getComputedStyle(one).outlineStyle, one.tagName] }""")
        if at[2] == "BODY":
            break
        assert at[1] == "solid", at
        reached.append(at[0])
        page.keyboard.press("Tab")
    assert [name for name in reached if name in expected] == expected  # in the order of the page
    unnamed = page.locator("select, input, textarea").evaluate_all(
        "all => all.filter(one => !one.labels?.length && !one.getAttribute('aria-label')).map(one => one.outerHTML)"
    )
    assert unnamed == []


@pytest.mark.parametrize("width", [320, 360, 768, 1100])
def test_nothing_is_cut_on_narrow_screens(browser, page_file, width):
    opened, complaints = open_page(browser, page_file, width, 780)
    opened.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    wide = opened.evaluate("""() => [...document.querySelectorAll("body *")].filter(one =>
        one.getBoundingClientRect().right > innerWidth + 0.5 && !one.closest(".scroll, .skip, textarea")
        && getComputedStyle(one).position !== "absolute").map(one => one.outerHTML.slice(0, 120))""")
    assert wide == []
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    opened.close()
    assert complaints == []


def test_the_file_asks_for_nothing(page_file: Path):
    text = page_file.read_text()
    assert "default-src 'none'" in text.split("<script", 1)[0]
    assert (
        re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=[\"'](?!data:)", text.split("<script>", 1)[0]) == []
    )
