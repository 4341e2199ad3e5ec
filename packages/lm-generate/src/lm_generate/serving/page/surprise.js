
// Where is a model surprised: a given text, each token coloured by the probability that the model gave it.

async function scoreInto(column, text) {
  column.stop();
  const abort = column.abort = new AbortController();
  column.past = [];
  column.clear();
  column.busy(true);
  try {
    const answer = await (await ask("/v1/score", {model: column.model, input: text, top: 10}, abort.signal)).json();
    column.setRead({text: "", ids: []});
    for (const token of answer.tokens) column.add(asToken(token));
    showWorst(column, answer);
  } catch (error) {
    if (!abort.signal.aborted) column.fail(error);
  }
  if (column.abort !== abort) return;
  column.abort = null;
  column.busy(false);
}

function asToken(token) {
  const p = (logprob) => logprob == null ? null : Math.exp(logprob);
  const alternatives = token.alternatives.map((other) => ({...other, before: p(other.logprob)}));
  return {...token, before: p(token.logprob), alternatives};
}

// The sums, and the tokens that surprised most: each a button that leads to its place.
function showWorst(column, answer) {
  const worst = column.tokens.map((token, index) => ({token, index})).filter(({token}) => token.before != null)
    .sort((one, other) => one.token.before - other.token.before).slice(0, 6);
  column.figures.replaceChildren(
    `${answer.bits_per_byte.toFixed(3)} bits a byte, perplexity ${answer.perplexity.toPrecision(3)}, ${answer.tokens.length} tokens; most surprising: `,
    ...worst.map(({token, index}) => {
      const button = element("button", {type: "button", className: colour(token.before), textContent: visible(token.text), title: bits(token.before)});
      button.onclick = () => {
        details.hold(column, index);
        column.text.children[index + 1].scrollIntoView({block: "center"});
        column.text.children[index + 1].focus();
      };
      return button;
    }));
}

// From a scored text to a written one: what stands before the token, then the other token, then what the model writes.
function goOnFrom(column, index, other) {
  const ids = [...column.tokens.slice(0, index).map((token) => token.id), other.id];
  const text = column.tokens.slice(0, index).map((token) => token.text.startsWith("bytes:") ? "\ufffd" : token.text).join("");
  const sampled = (one) => ({...one, after: one.before});
  const here = column.tokens[index];
  choose("write");
  $("prompt").value = text;
  column.read = {text, ids: ids.slice(0, -1)};
  column.show([{...here, ...sampled(other), alternatives: here.alternatives.map(sampled), byHand: true}]);
  const settings = readSettings();
  delete settings.heal;
  column.write(ids, settings);
}
