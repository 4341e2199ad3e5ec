"""The page at /: whole in itself; and, in a real browser, what a person does with it."""

import re

import pytest
from headless_browser import browser, program
from lm_generate.serving.page import page
from tiny_engines import tiny_engine
from tiny_server import serve

IDLE = "columns.every((column) => !column.abort)"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    seeds = {"early": 1, "late": 2}
    folder = tmp_path_factory.mktemp("page")
    limits = {"max_tokens": 10**7}  # so that what is to be stopped never ends by itself
    with serve(folder, *seeds, load=lambda each: tiny_engine(seeds[each.name]), limits=limits) as running:
        yield running


def test_the_page_is_one_file_that_loads_nothing(server):
    answer = server.client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.text == page()
    found = re.findall(
        r"""(?:src|href|action)\s*=\s*["']([^"']*)|url\(([^)]*)\)|@import|https?://[^\s"'<]*""", page()
    )
    addresses = [address for pair in found for address in pair if address]
    assert all(address.startswith("data:") for address in addresses), addresses
    assert set(re.findall(r"https?://[^'\"\s<]*", page())) <= {"http://www.w3.org/2000/svg"}
    assert "import(" not in page()


def test_no_script_but_the_pages_own_may_run(server):
    policy = server.client.get("/").headers["content-security-policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["connect-src"] == "'self'"
    for name in ("script-src", "style-src"):
        assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", rules[name])


def test_every_field_of_the_page_has_a_label():
    fields = set(re.findall(r'<(?:textarea|input|select) id="([a-z-]+)"', page()))
    labels = set(re.findall(r'<label[^>]*for="([a-z-]+)"', page()))
    wrapped = set(re.findall(r'<label[^>]*>[^<]*<(?:input|select) id="([a-z-]+)"', page()))
    assert fields >= {"prompt", "seed", "heal", "add", "token"}
    assert fields <= labels | wrapped


@pytest.fixture
def chromium(tmp_path):
    if program() is None:
        pytest.skip("no Chromium on this machine")
    with browser(tmp_path / "profile") as made:
        yield made
        assert made.complaints() == []


def set_up(chromium, server, prompt):
    chromium.open(server.address)
    chromium.wait("columns.length === 1")
    chromium.click("#prompt")
    chromium.value("document.getElementById('prompt').select()")
    chromium.type(prompt)


def texts(chromium):
    return chromium.value("columns.map((column) => column.tokens.map((token) => token.id))")


@pytest.mark.browser
def test_a_text_is_written_walked_through_and_branched_from(server, chromium, tmp_path):
    set_up(chromium, server, "def fin")
    chromium.key("Enter", control=True)
    chromium.wait(f"{IDLE} && columns[0].tokens.length > 5")
    options = {"max_tokens": 80, "temperature": 0.8, "seed": 1, "heal": True, "past_context": "roll"}
    own = tiny_engine(1).generate("def fin", **options)
    (written,) = texts(chromium)
    assert written[: len(own.ids)] == list(own.ids)
    assert "seed 1" in chromium.value("columns[0].figures.textContent")
    chromium.value("columns[0].text.querySelector('.t').focus()")
    for _ in range(3):
        chromium.key("ArrowRight")
    assert chromium.value("document.activeElement.token") == 3
    assert "probability" in chromium.value("document.getElementById('details-body').textContent")
    chromium.key("Enter")  # holds it and leads to the alternatives
    assert chromium.value("document.activeElement.closest('.alternatives') !== null")
    chromium.key("Escape")
    assert chromium.value("document.activeElement.token") == 3
    chromium.click(".t:nth-child(5)")  # token 3: the first child is the prompt
    other = chromium.value(
        "columns[0].tokens[3].alternatives.findIndex((one) => one.id !== columns[0].tokens[3].id)"
    )
    wanted = chromium.value(f"columns[0].tokens[3].alternatives[{other}].id")
    chromium.click(f".alternatives li:nth-child({other + 1}) button")
    chromium.wait(f"{IDLE} && columns[0].tokens.length > 5")
    (branched,) = texts(chromium)
    assert branched[:4] == [*written[:3], wanted]
    read = chromium.value("columns[0].read.ids")
    after = tiny_engine(1).generate([*read, *branched[:4]], **(options | {"heal": False}))
    assert branched[4:][: len(after.ids)] == list(after.ids)
    chromium.screenshot(tmp_path / "branch.png")
    chromium.click(".back")
    assert texts(chromium) == [written]


@pytest.mark.browser
def test_two_models_write_side_by_side_with_one_seed(server, chromium):
    set_up(chromium, server, "class ")
    chromium.value("(() => { const s = document.getElementById('add'); s.value = 'late'; s.onchange(); })()")
    chromium.value(
        "(() => { const s = document.getElementById('temperature'); s.value = 0; s.oninput(); })()"
    )
    chromium.click("#go")
    chromium.wait(f"columns.length === 2 && {IDLE} && columns.every((column) => column.tokens.length)")
    for ids, seed in zip(texts(chromium), (1, 2), strict=True):
        own = tiny_engine(seed).generate(
            "class ", max_tokens=80, temperature=0, heal=True, past_context="roll"
        )
        assert ids[: len(own.ids)] == list(own.ids)
    boxes = chromium.value(
        "[...document.querySelectorAll('.column')].map((c) => c.getBoundingClientRect()).map((r) => [r.left, r.top])"
    )
    assert boxes[0][0] < boxes[1][0]
    assert boxes[0][1] == boxes[1][1]


@pytest.mark.browser
def test_a_pasted_text_shows_where_the_model_is_surprised(server, chromium):
    set_up(chromium, server, "x")
    chromium.click("#tab-score")
    text = "def find(names):\n    return 日本\n"
    chromium.click("#prompt")
    chromium.type(text)
    chromium.click("#go")
    chromium.wait(f"{IDLE} && columns[0].tokens.length > 5")
    own = tiny_engine(1).score(text)
    assert texts(chromium) == [list(own.ids)]
    assert f"{own.bits_per_byte:.3f} bits a byte" in chromium.value("columns[0].figures.textContent")
    chromium.click(".figures button")
    worst = min(range(len(own.ids)), key=lambda place: own.logprobs[place])
    assert chromium.value("document.activeElement.token") == worst
    chromium.click(".alternatives li:first-child button")  # goes on from there in the other half of the page
    chromium.wait(f"mode === 'write' && {IDLE} && columns[0].tokens.length > 1")
    assert chromium.value("columns[0].read.ids") == list(own.ids[:worst])


@pytest.mark.browser
def test_stopping_frees_the_slot_and_errors_are_shown(server, chromium):
    set_up(chromium, server, "def ")
    chromium.value("(() => { const s = document.getElementById('max_tokens'); s.max = s.value = 1e7; })()")
    chromium.value(
        "(() => { const s = window.readSettings; window.readSettings = () => ({...s(), ignore_eos: true}); })()"
    )
    chromium.click("#go")
    chromium.wait("columns[0].tokens.length > 3")
    assert server.gauge("rows_running") == 1
    chromium.key("Escape")
    chromium.wait(IDLE)
    chromium.wait(
        "fetch('/metrics').then((a) => a.text()).then((t) => t.includes('\\nlm_generate_rows_running 0\\n'))"
    )
    chromium.value("document.getElementById('roll').checked = false")
    chromium.click("#go")
    chromium.wait("document.querySelector('.text .wrong') !== null")
    assert "context is 64" in chromium.value("document.querySelector('.text .wrong').textContent")
    chromium.events.clear()  # the browser itself reports the 400 that was asked for


@pytest.mark.browser
def test_a_server_with_a_token_asks_for_it(tmp_path, chromium):
    with serve(tmp_path, load=lambda _: tiny_engine(), token="open-sesame") as server:
        chromium.open(server.address)
        chromium.wait("!document.getElementById('token-field').hidden")
        assert chromium.value("document.activeElement.id") == "token"
        chromium.type("open-sesame")
        chromium.key("Enter")
        chromium.wait("columns.length === 1 && document.getElementById('token-field').hidden")
    chromium.events.clear()  # the browser itself reports the 401


@pytest.mark.browser
def test_a_screen_reader_is_told_of_every_control(server, chromium):
    set_up(chromium, server, "def ")
    chromium.click("#go")
    chromium.wait(f"{IDLE} && columns[0].tokens.length > 3")
    chromium.click(".t:nth-child(3)")
    nodes = chromium.call("Accessibility.getFullAXTree")["nodes"]
    told = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"]
    ]
    for role, name in told:
        if role in ("button", "slider", "textbox", "combobox", "checkbox", "spinbutton", "tab"):
            assert name.strip(), (role, name)
    roles = {role for role, _ in told}
    assert {"slider", "textbox", "combobox", "checkbox", "tab", "main", "complementary", "status"} <= roles
    names = {name for _, name in told}
    assert any(re.fullmatch(r".+, [\d.]+ %, rank \d+", name) for name in names)
    assert any(name.endswith("; go on from here with it") for name in names)
    assert {request.split("/", 3)[2] for request in chromium.requested() if request.startswith("http")} == {
        f"127.0.0.1:{server.port}"
    }
