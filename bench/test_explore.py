"""How long the page of `perfmodel explore` takes to answer: from the move of a slider to the painted charts."""

from pathlib import Path
from typing import Any

import pytest
from browser import CHROMIUM, chromium, open_page
from ratio import thp

from perfmodel.explore.guests import read_guests
from perfmodel.explore.page import make_page
from perfmodel.parameters import load_parameters
from perfmodel.sweep.grid import Asked, build_grid
from perfmodel.sweep.sweep import sweep

_MOVE = """async step => {
    const range = document.getElementById("price-flush_line");
    await new Promise(done => requestAnimationFrame(done));
    const painted = new MessageChannel();
    const begun = performance.now();
    range.value = String(300 + step);
    range.dispatchEvent(new Event("input", {bubbles: true}));
    await new Promise(done => requestAnimationFrame(done));
    await new Promise(done => { painted.port1.onmessage = done; painted.port2.postMessage(0); });
    return [performance.now() - begun, Number(document.documentElement.dataset.answerMs)];
}"""


@pytest.mark.benchmark(group="end-to-end page")
def test_answer(benchmark: Any, tmp_path: Path) -> None:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is missing: apt-get install chromium")
    memory = tuple(size << 30 for size in (1, 2, 4, 8, 16, 32, 64))  # as many as the default page has
    guests = read_guests([sweep(build_grid(Asked({"memory": memory, "shattered": (0.1,)})), samples=1)])
    (tmp_path / "page.html").write_bytes(make_page(guests, load_parameters()))
    answers = []
    with chromium() as browser:
        page, complaints = open_page(browser, tmp_path / "page.html")
        moves = iter(range(1000))
        benchmark.pedantic(lambda: answers.append(page.evaluate(_MOVE, next(moves))), rounds=40, warmup_rounds=20)
        assert not complaints
    shown, computed = (sorted(one[k] for one in answers[20:]) for k in (0, 1))
    benchmark.extra_info.update(
        items=1, unit="moves", thp=thp(), shown_ms=shown[len(shown) // 2], computed_ms=computed[len(computed) // 2],
        least_shown_ms=shown[0],
    )  # fmt: skip
