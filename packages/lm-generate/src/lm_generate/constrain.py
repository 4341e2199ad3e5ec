"""Constrained output: every text matches a regular expression or a JSON schema. Needs the extra `constrain` (llguidance).

    constraint = read_constraint(regex="[a-z]+", json_schema=None)      checked; None where both are None
    grammars = Grammars(tokenizer, vocab_size)              once for a tokenizer
    follower = grammars.follow(constraint)                  one for each text, told every token by `take`
    follower.may_come(ends)                                 the ids that may come next

A token may come if what is written, with the token's bytes behind it, begins some matching text; an id that ends the
text may come if what is written matches as a whole. All others are banned before the sampling filters, so the
distribution is the model's own, renormalised over what may come. Nothing is forced: where the pattern leaves one text
only, its tokens are still chosen one by one, among all ways of cutting it. Where nothing can follow, the text ends by itself.

llguidance (https://github.com/guidance-ai/llguidance, MIT) keeps the automaton and finds the tokens in a trie of the
vocabulary's bytes. Regular expressions are those of Rust's `regex`, without look-around and back references and with [0-9] for
\\d, and match the whole text; JSON is written on one line, with ", " and ": ", keys in the schema's order.
"""

import json
import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from lm_tokenizer import Tokenizer

from lm_generate.errors import ConstraintError, SettingError
from lm_generate.sampling import IdArray

if TYPE_CHECKING:
    from llguidance import LLMatcher

KEPT = 16
"""Grammars that stay compiled."""
LAYOUT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
JsonSchema = Mapping[str, Any] | str | bool


@dataclass(frozen=True)
class Constraint:
    """What a text must match, as it was given."""

    kind: Literal["regex", "json_schema"]
    text: str
    """The expression, or the schema as JSON."""

    @property
    def grammar(self) -> str:
        """In llguidance's notation. Without `no_forcing` it would write forced text in the tokenizer's own cut."""
        llguidance = import_llguidance()
        if self.kind == "regex":
            start = "/" + llguidance.regex_to_lark(self.text, "d") + "/"
        else:
            schema = json.loads(self.text)
            if isinstance(schema, dict):
                schema = {**schema, "x-guidance": LAYOUT}
            start = f"%json {json.dumps(schema)}"
        grammar: str = llguidance.LLMatcher.grammar_from_lark(
            f'%llguidance {{"no_forcing": true}}\nstart: {start}\n'
        )
        return grammar


def read_constraint(*, regex: str | None, json_schema: JsonSchema | None) -> Constraint | None:
    """What the two settings ask for; None where neither is given.

    Raises `SettingError` for both at once, for what cannot be compiled, and where the library is not installed.
    """
    if regex is None and json_schema is None:
        return None
    if regex is not None and json_schema is not None:
        raise SettingError(
            "regex and json_schema cannot both be given: one text matches one of them; leave the other out"
        )
    if regex is not None:
        if not isinstance(regex, str):
            raise SettingError(f"regex must be a string, got {type(regex).__name__}")
        ends_open = (len(regex) - len(regex.rstrip("\\"))) % 2 == 1
        if ends_open:  # the library would drop it
            raise SettingError(f"regex {_short(regex)} ends in a lone backslash; write two of them")
        constraint = Constraint("regex", regex)
    else:
        constraint = Constraint("json_schema", _schema_text(json_schema))
    if not _is_text(constraint.text):
        raise SettingError(f"{constraint.kind} holds half a character (a lone surrogate); take it out")
    library = import_llguidance()
    problem = library.LLMatcher.validate_grammar(constraint.grammar)
    if problem and not problem.startswith("WARNING"):
        raise SettingError(f"{constraint.kind} {_short(constraint.text)} cannot be used: {_reason(problem)}")
    return constraint


def import_llguidance() -> Any:
    """The library. Raises `SettingError` naming the extra where it is not installed."""
    try:
        import llguidance
    except ImportError as error:
        raise SettingError(
            "regex and json_schema need llguidance, which an extra brings: pip install 'lm-generate[constrain]'"
        ) from error
    return llguidance


class Grammars:
    """The constraints of one tokenizer, compiled when they are first used; the newest `KEPT` are kept.

    Safe for several threads. Making one costs a pass over the vocabulary.
    """

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        vocab, special = tokenizer.vocab, sorted(tokenizer.special_tokens.values())
        self.vocab_size = vocab_size
        self._unwritten = np.array(special, dtype=np.int64)
        self._tokens = [vocab.get(id, b"") for id in range(vocab_size)]
        self._tokenizer = import_llguidance().LLTokenizer(
            _Vocabulary(self._tokens, special, tokenizer), n_vocab=vocab_size
        )
        self._compiled: OrderedDict[Constraint, LLMatcher] = OrderedDict()
        self._lock = threading.Lock()

    def follow(self, constraint: Constraint) -> "Follower":
        """At the beginning of a text. Raises `SettingError` where no text of this vocabulary could match."""
        with self._lock:
            if constraint not in self._compiled:
                self._compiled[constraint] = self._compile(constraint)
            self._compiled.move_to_end(constraint)
            while len(self._compiled) > KEPT:
                self._compiled.popitem(last=False)
            return Follower(self._compiled[constraint], self.vocab_size, self._unwritten, constraint).copy()

    def _compile(self, constraint: Constraint) -> "LLMatcher":
        library = import_llguidance()
        matcher: LLMatcher = library.LLMatcher(self._tokenizer, constraint.grammar, log_level=0)
        if matcher.is_error():
            raise SettingError(
                f"{constraint.kind} {_short(constraint.text)} cannot be used: {_reason(matcher.get_error())}"
            )
        first = Follower(matcher, self.vocab_size, self._unwritten, constraint)
        if not first.written_next().any():
            only = "only the empty text matches" if matcher.is_accepting() else "no text matches it"
            raise SettingError(f"{constraint.kind} {_short(constraint.text)} leaves nothing to write: {only}")
        return matcher


class Follower:
    """One text on its way through a grammar."""

    def __init__(
        self, matcher: "LLMatcher", vocab_size: int, unwritten: IdArray, constraint: Constraint
    ) -> None:
        self._matcher, self._vocab_size = matcher, vocab_size
        self._unwritten, self._constraint = unwritten, constraint
        self._next: npt.NDArray[np.bool_] | None = None

    def copy(self) -> "Follower":
        """One at the same place, which goes its own way."""
        return Follower(self._matcher.deep_copy(), self._vocab_size, self._unwritten, self._constraint)

    @property
    def matches(self) -> bool:
        """Whether what is written matches as a whole."""
        return bool(self._matcher.is_accepting())

    @property
    def complete(self) -> bool:
        """Whether it matches and nothing can follow."""
        return self.matches and not self.written_next().any()

    def written_next(self) -> npt.NDArray[np.bool_]:
        """For each id, whether its bytes may follow."""
        if self._next is None:
            bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
            self._next = np.unpackbits(bits, bitorder="little")[: self._vocab_size].astype(np.bool_)
            self._next[self._unwritten] = False
        return self._next

    def may_come(self, ends: Collection[int]) -> IdArray:
        """The ids that may be chosen now, `ends` being those that end the text. Raises `ConstraintError` for none."""
        may = self.written_next().copy()
        may[[id for id in ends if 0 <= id < may.size]] = self.matches
        ids = np.flatnonzero(may)
        problem = _reason(self._matcher.get_error())  # a bound of the library on the work for one token
        if problem and not problem.startswith("NoExtension"):
            raise ConstraintError(
                f"{self._constraint.kind} {_short(self._constraint.text)} is too costly to follow here: {problem}"
            )
        if not ids.size:
            raise ConstraintError(
                f"no token of the vocabulary can go on towards a match of {_short(self._constraint.text)}"
            )
        return ids

    def take(self, id: int) -> None:
        """Told of a token that was written. Raises `ConstraintError` for one that could not come."""
        self._next = None
        if not self._matcher.consume_token(id):
            raise ConstraintError(f"{self._constraint.kind} failed: {_reason(self._matcher.get_error())}")


class _Vocabulary:
    """A tokenizer as llguidance wants it."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, tokens: list[bytes], special: list[int], tokenizer: Tokenizer) -> None:
        self.tokens, self.special_token_ids = tokens, special
        self.eos_token_id = special[0] if special else None  # ends are ours to tell (`Follower.may_come`)
        self._tokenizer = tokenizer

    def __call__(self, text: str) -> list[int]:
        return list(self._tokenizer.encode_ordinary(text))


def _schema_text(schema: Any) -> str:
    """A schema as JSON, keys in their order."""
    try:
        value = json.loads(schema) if isinstance(schema, str) else schema
        text = json.dumps(value, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise SettingError(f"json_schema is not JSON: {error}") from error
    if not isinstance(value, dict | bool):
        raise SettingError(f"json_schema must be an object, got {_short(text)}")
    return text


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _short(text: str) -> str:
    shown = json.dumps(text, ensure_ascii=False)
    return shown if len(shown) <= 80 else shown[:77] + '..."'


def _reason(message: str) -> str:
    """The telling line of an error of the library, which also shows the grammar and the state of its parser."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    telling = next((line for line in lines if line.startswith("error: ")), lines[0] if lines else "")
    if telling.startswith("at ") and ": " in telling:  # a place in a grammar that the user has not seen
        telling = telling.partition(": ")[2]
    return telling.removeprefix("error: ")
