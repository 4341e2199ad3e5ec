
// The panel beside the texts: one token, its numbers, and what else could have come there.

const REMOVED = {ban: "banned", temperature: "temperature", top_k: "top-k", top_p: "top-p", min_p: "min-p", typical_p: "typical"};

const details = {
  column: null, index: -1, held: false,

  clear() {
    this.release();
    this.column = null;
    $("details-body").replaceChildren(element("p", {className: "hint", textContent: "Point at a token to see what else could have come."}));
  },

  release() {
    this.held = false;
    document.querySelectorAll(".t.held").forEach((span) => span.classList.remove("held"));
  },

  hold(column, index) {
    this.release();
    this.show(column, index);
    this.held = true;
    column.text.children[index + 1].classList.add("held");
  },

  focus() { $("details-body").querySelector("button")?.focus(); },

  back() {
    const {column, index} = this;
    this.release();
    column?.text.children[index + 1]?.focus();
  },

  show(column, index) {
    this.column = column;
    this.index = index;
    const token = column.tokens[index];
    const body = [element("span", {className: `chip ${token.before == null ? "" : colour(token.before)}`, textContent: visible(token.text)})];
    if (token.before == null) {
      $("details-body").replaceChildren(...body, element("p", {className: "hint", textContent: "The first token: nothing stands before it to tell it from."}));
      return;
    }
    const sampled = token.after != null;
    const facts = [["id", token.id], ["probability", percent(token.before)]];
    if (sampled) facts.push(["after sampling", percent(token.after)]);
    facts.push(["surprise", bits(token.before)], ["rank", token.rank || "-"], ["entropy here", token.entropy_bits.toFixed(1) + " bits"]);
    body.push(element("dl", {className: "facts"}, ...facts.map(([name, value]) =>
      element("div", {}, element("dt", {textContent: name}), element("dd", {textContent: value})))));
    const listed = token.alternatives.some((other) => other.id === token.id) ? token.alternatives : [...token.alternatives, token];
    const most = Math.max(...listed.map((other) => Math.max(other.before, other.after ?? 0)));
    body.push(element("div", {className: "head", ariaHidden: "true"}, element("span", {textContent: "could have come"}),
      element("span", {textContent: "model"}), element("span", {textContent: sampled ? "sampled" : ""})));
    body.push(element("ul", {className: "alternatives"}, ...listed.map((other) => this.line(other, token, most, sampled))));
    $("details-body").replaceChildren(...body);
  },

  line(other, token, most, sampled) {
    const removed = other.removed_by ? `cut: ${REMOVED[other.removed_by] ?? other.removed_by}` : "";
    const bars = [[other.before, "bar"], ...(sampled ? [[other.after, "bar after"]] : [])].map(([p, name]) => {
      const bar = element("span", {className: name});
      bar.style.width = `calc((100% - .8rem) * ${most ? p / most : 0})`;
      return bar;
    });
    const button = element("button", {type: "button"},
      element("span", {className: "name", textContent: visible(other.text)}),
      element("span", {className: "number", textContent: percent(other.before)}),
      element("span", {className: removed ? "cut" : "number", textContent: !sampled ? "" : removed || percent(other.after)}), ...bars);
    const chosen = other.id === token.id;
    button.setAttribute("aria-label", `${visible(other.text)}, ${percent(other.before)}` +
      (sampled ? `, ${removed || percent(other.after) + " after sampling"}` : "") + (chosen ? ", this is what stands here" : "; go on from here with it"));
    button.onclick = () => {
      const {column, index} = this;
      if (chosen && !column.scored) return this.back();
      this.release();
      if (column.scored) goOnFrom(column, index, other);
      else column.branch(index, other);
    };
    return element("li", {className: chosen ? "chosen" : ""}, button);
  },
};
