
// One model and its text: tokens that can be pointed at, walked through and branched from.

class Column {
  constructor(model) {
    const made = $("column").content.cloneNode(true).firstElementChild;
    this.element = made;
    this.text = made.querySelector(".text");
    this.figures = made.querySelector(".figures");
    this.select = made.querySelector(".model");
    this.select.id = `model-${Column.made = (Column.made ?? 0) + 1}`;
    made.querySelector("label").htmlFor = this.select.id;
    this.tokens = [];       // {id, text, before, after, rank, entropy_bits, alternatives, byHand}
    this.read = {text: "", ids: []};
    this.past = [];         // what was there before each branch
    this.abort = null;
    this.model = model;
    made.querySelector(".close").onclick = () => remove(this);
    made.querySelector(".back").onclick = () => this.goBack();
    made.querySelector(".copy").onclick = () => this.copy();
    this.select.onchange = () => { this.model = this.select.value; this.label(); };
    this.text.addEventListener("keydown", (event) => this.walk(event));
    this.text.addEventListener("mouseover", (event) => this.pointed(event, false));
    this.text.addEventListener("focusin", (event) => this.pointed(event, false));
    this.text.addEventListener("click", (event) => this.pointed(event, true));
    this.offer(models);
  }

  offer(names) {
    const all = names.includes(this.model) ? names : [this.model, ...names];
    this.select.replaceChildren(...all.map((name) => new Option(name, name, false, name === this.model)));
    this.label();
  }

  label() { this.text.setAttribute("aria-label", `Text of ${this.model}. Arrow keys walk through its tokens.`); }

  // The request for what comes behind `prompt`, a text or ids. Tokens are added to those that are there.
  async write(prompt, settings) {
    this.stop();
    const abort = this.abort = new AbortController();
    const started = performance.now();
    let first = 0, reason = "", seed = settings.seed;
    const before = this.tokens.length;
    this.busy(true);
    try {
      await stream({...settings, model: this.model, prompt, explain: 10}, abort.signal, (event) => {
        seed = event.seed;
        for (const choice of event.choices) {
          if (choice.read && before === 0) this.setRead(choice.read);
          for (const token of choice.explained ?? []) {
            first ||= performance.now();
            this.add(token);
          }
          reason = choice.finish_reason ?? reason;
        }
        this.follow();
      });
    } catch (error) {
      if (abort.signal.aborted) reason = "stopped";
      else this.fail(error);
    }
    if (this.abort !== abort) return;  // another request has begun here
    this.abort = null;
    this.busy(false);
    const count = this.tokens.length - before, seconds = (performance.now() - first) / 1000;
    if (!count) return;
    const why = {stop: "end of text", length: "as long as asked for", stopped: "stopped"}[reason] ?? reason;
    const speed = count > 1 && seconds > 0 ? `${Math.round((count - 1) / seconds)} tokens/s, ` : "";
    const mean = this.tokens.reduce((sum, token) => sum - Math.log2(Math.max(token.before, 1e-30)), 0) / this.tokens.length;
    this.figures.textContent = `${count} tokens, ${speed}first after ${Math.round(first - started)} ms; ${why}; seed ${seed}; ` +
      `${mean.toFixed(2)} bits of surprise a token`;
  }

  start(prompt, settings) {
    this.past = [];
    this.clear();
    return this.write(prompt, settings);
  }

  // Goes on from token `index` with another one in its place.
  branch(index, alternative) {
    const here = this.tokens[index];
    this.past.push({tokens: this.tokens, figures: this.figures.textContent});
    const kept = this.tokens.slice(0, index);
    this.show([...kept, {...here, ...alternative, rank: here.alternatives.indexOf(alternative) + 1, byHand: true}]);
    const settings = readSettings();
    delete settings.heal;  // ids, not text
    this.text.children[index + 1]?.focus();
    return this.write([...this.read.ids, ...this.tokens.map((token) => token.id)], settings);
  }

  goBack() {
    this.stop();
    const {tokens, figures} = this.past.pop();
    this.show(tokens);
    this.figures.textContent = figures;
  }

  stop() {
    this.abort?.abort();
    this.abort = null;
    this.busy(false);
  }

  busy(yes) {
    this.element.classList.toggle("busy", yes);
    this.text.setAttribute("aria-busy", yes);
    this.element.querySelector(".back").hidden = this.past.length === 0;
    changed();
  }

  clear() {
    this.tokens = [];
    this.text.replaceChildren(element("span", {className: "read"}));
    this.figures.textContent = "";
    if (details.column === this) details.clear();
  }

  setRead(read) {
    this.read = read;
    this.text.firstElementChild.textContent = read.text;
  }

  show(tokens) {
    this.clear();
    this.setRead(this.read);
    tokens.forEach((token) => this.add(token));
  }

  add(token) {
    const span = element("span", {className: `t ${token.before == null ? "" : colour(token.before)}`, tabIndex: this.tokens.length ? -1 : 0});
    span.setAttribute("role", "button");
    const told = token.before == null ? "" : `, ${percent(token.before)}, rank ${token.rank}`;
    span.setAttribute("aria-label", `${visible(token.text)}${told}${token.byHand ? ", chosen by hand" : ""}`);
    if (token.byHand) span.classList.add("by-hand");
    if (token.text.startsWith("bytes:")) span.append(element("span", {className: "mark", textContent: token.text.slice(6)}));
    else for (const part of token.text.split(/(\n)/)) {
      if (part === "\n") span.append(element("span", {className: "mark", textContent: "\u21b5", ariaHidden: "true"}), "\n");
      else span.append(part);
    }
    span.token = this.tokens.length;
    this.tokens.push(token);
    this.text.append(span);
  }

  fail(error) {
    this.text.append(element("p", {className: "wrong", textContent: error.message}));
    tell("it did not work: see the column", true);
  }

  follow() {
    const away = this.text.scrollHeight - this.text.scrollTop - this.text.clientHeight;
    if (away < 80) this.text.scrollTop = this.text.scrollHeight;
  }

  pointed(event, hold) {
    const span = event.target.closest(".t");
    if (!span) return;
    if (hold) details.hold(this, span.token);
    else if (!details.held) details.show(this, span.token);
    for (const other of this.text.querySelectorAll('.t[tabindex="0"]')) other.tabIndex = -1;
    span.tabIndex = 0;
  }

  walk(event) {
    const span = event.target.closest(".t");
    if (!span) return;
    const move = {ArrowRight: 1, ArrowLeft: -1, ArrowDown: 10, ArrowUp: -10, Home: -1e9, End: 1e9}[event.key];
    if (move) {
      event.preventDefault();
      const to = Math.min(Math.max(span.token + move, 0), this.tokens.length - 1);
      details.release();
      this.text.children[to + 1].focus();
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      details.hold(this, span.token);
      details.focus();
    }
  }

  async copy() {
    const text = this.read.text + this.tokens.map((token) => token.text.startsWith("bytes:") ? "\ufffd" : token.text).join("");
    try {
      await navigator.clipboard.writeText(text);
      tell("copied");
    } catch {
      tell("this browser does not let the page copy", true);
    }
  }
}
