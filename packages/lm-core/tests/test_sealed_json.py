import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_core.errors import ConfigError, DamagedFileError
from lm_core.sealed_json import canonical_json, read_sealed_json, write_sealed_json

text = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
payloads = st.dictionaries(text.filter(lambda key: key != "sha256"), values, max_size=4)


@settings(deadline=None)
@given(payload=payloads)
def test_what_is_written_is_read_back(tmp_path_factory, payload):
    path = tmp_path_factory.mktemp("sealed") / "file.json"
    write_sealed_json(path, payload)
    assert read_sealed_json(path) == payload
    assert canonical_json(read_sealed_json(path)) == canonical_json(payload)


def test_the_file_is_readable_and_its_seal_covers_the_canonical_rest(tmp_path):
    write_sealed_json(tmp_path / "a.json", {"b": (1, 2.5), "a": "ü"})
    assert canonical_json({"b": [1, 2.5], "a": "ü"}) == '{"a":"ü","b":[1,2.5]}'.encode()
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == (
        '{\n  "a": "ü",\n  "b": [\n    1,\n    2.5\n  ],\n  "sha256": "75151e181452ee19f62c437a12e96bbbe4453c199f041abfe6b18ab3cb8f3c4f"\n}\n'
    )


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({"sha256": "x"}, 'the key "sha256" is the seal itself'),
        ({"a": {"b": [0.0, float("nan")]}}, r"^a\.b\[1\] is nan, which JSON cannot hold"),
        ({"a": float("inf")}, "^a is inf"),
        ({"a": {1: 2}}, "^JSON keys are strings; a has the key 1$"),
        ({"a": object()}, "^a is of type object"),
        ({"a": "\ud800"}, "^a holds half a character"),
        ({"\ud800": 1}, "holds half a character"),
    ],
)
def test_what_json_cannot_hold_is_refused_by_its_place(tmp_path, payload, message):
    with pytest.raises(ConfigError, match=message):
        write_sealed_json(tmp_path / "a.json", payload)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b'{"sha256": 3}', b'{"a": NaN, "sha256": ""}', b'{"a": 1, "a": 1, "sha256": ""}', b"\xff", b"[" * 100_000,
     b'{"a": "\\ud800", "sha256": ""}', b'{"a": 1e999, "sha256": ""}'],
)  # fmt: skip
def test_anything_else_is_damage_in_the_named_file(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"a\.json is damaged"):
        read_sealed_json(tmp_path / "a.json")


def test_a_changed_value_key_or_space_is_noticed(tmp_path):
    path = tmp_path / "a.json"
    write_sealed_json(path, {"a": 1, "b": 1.0})
    original = path.read_bytes()
    for old, new in [
        (b'"a"', b'"c"'),
        (b": 1,", b": 2,"),
        (b"1.0", b"1.00"),
        (b"  ", b" \t"),
        (b"\n", b"\r\n"),
        (b"}\n", b"}"),
    ]:
        path.write_bytes(original.replace(old, new, 1))
        with pytest.raises(DamagedFileError, match=r"a\.json"):
            read_sealed_json(path)


def test_a_missing_file_is_a_file_not_found_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_sealed_json(tmp_path / "absent.json")


def test_an_old_file_stays_whole_when_the_new_one_cannot_be_written(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_sealed_json(path, {"a": 1})

    def fail(*_):
        raise OSError("no")

    for step in ["os.fsync", "os.replace"]:
        with monkeypatch.context() as patch:
            patch.setattr(step, fail)
            with pytest.raises(OSError, match="no"):
                write_sealed_json(path, {"a": 2})
        assert read_sealed_json(path) == {"a": 1}
        assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]
