
// The controls, and what they set going.

const SLIDERS = [
  ["temperature", "Temperature", 0, 2, 0.05, 0.8, (v) => v === 0 ? "0, greedy" : v.toFixed(2), "0 takes the likeliest token, 1 is the model's own distribution"],
  ["top_k", "Top-k", 0, 200, 1, 0, (v) => v || "off", "keep the k likeliest tokens"],
  ["top_p", "Top-p", 0.05, 1, 0.01, 1, (v) => v === 1 ? "off" : v.toFixed(2), "keep the likeliest that reach this share"],
  ["min_p", "Min-p", 0, 0.5, 0.01, 0, (v) => v ? v.toFixed(2) : "off", "keep what is at least so many times as likely as the likeliest"],
  ["typical_p", "Typical", 0.05, 1, 0.01, 1, (v) => v === 1 ? "off" : v.toFixed(2), "keep what is about as surprising as expected"],
  ["repetition_penalty", "Repetition penalty", 1, 2, 0.05, 1, (v) => v === 1 ? "off" : v.toFixed(2), "make what was there less likely"],
  ["max_tokens", "Tokens", 1, 400, 1, 80, (v) => v, "how long the text may get"],
];

let models = [];
let mode = "write";
const columns = [];
const kept = {write: $("prompt").value, score: ""};

for (const [name, label, min, max, step, value, shown, title] of SLIDERS) {
  const input = element("input", {type: "range", id: name, min, max, step, value, title});
  const output = element("output");
  output.htmlFor = name;
  const field = element("div", {className: "field"}, element("label", {htmlFor: name}, label, output), input);
  input.oninput = () => {
    output.textContent = shown(Number(input.value));
    input.setAttribute("aria-valuetext", output.textContent);
    field.classList.toggle("on", name !== "max_tokens" && Number(input.value) !== value);
  };
  input.oninput();
  $("sliders").append(field);
}

function readSettings() {
  const settings = Object.fromEntries(SLIDERS.map(([name]) => [name, Number($(name).value)]));
  if ($("fresh").checked) drawSeed();
  settings.seed = Math.max(0, Math.floor(Number($("seed").value) || 0));
  settings.roll = $("roll").checked;
  settings.heal = $("heal").checked;
  return settings;
}

function drawSeed() { $("seed").value = crypto.getRandomValues(new Uint32Array(1))[0] % 1_000_000; }

async function refresh() {
  const answer = await (await ask("/v1/models")).json();
  models = answer.data.map((model) => model.id);
  $("add").replaceChildren(new Option("another model", ""), ...models.map((name) => new Option(name, name)));
  columns.forEach((column) => column.offer(models));
  if (!columns.length && models.length) add(models[0]);
}

function add(name) {
  const column = new Column(name);
  columns.push(column);
  $("columns").append(column.element);
  column.clear();
  changed();
  return column;
}

function remove(column) {
  column.stop();
  columns.splice(columns.indexOf(column), 1);
  column.element.remove();
  if (details.column === column) details.clear();
  changed();
}

// Called whenever a column starts or ends: what can be pressed now, and the news.
function changed() {
  const busy = columns.filter((column) => column.abort).length;
  $("stop").disabled = busy === 0;
  for (const column of columns) column.element.querySelector(".close").hidden = columns.length === 1;
  if (!$("status").classList.contains("wrong") || busy)
    tell(busy ? `${mode === "write" ? "writing" : "reading"} ...` : columns.some((column) => column.tokens.length) ? "done" : "");
}

async function run() {
  tell("");
  if ($("prompt").value === "" && mode === "score") return tell("paste a text first", true);
  details.clear();
  const settings = mode === "write" ? readSettings() : null;
  await Promise.all(columns.map((column) => {
    column.scored = mode === "score";
    return mode === "write" ? column.start($("prompt").value, settings) : scoreInto(column, $("prompt").value);
  }));
}

function choose(what) {
  if (what === mode) return;
  kept[mode] = $("prompt").value;
  mode = what;
  $("prompt").value = kept[mode];
  $("prompt").rows = mode === "write" ? 4 : 8;
  $("prompt").placeholder = mode === "write" ? "" : "Paste a text: every token is coloured by the probability that the model gave it.";
  $("prompt-label").textContent = mode === "write" ? "Prompt" : "Text";
  $("go").textContent = mode === "write" ? "Write" : "Where is it surprised?";
  for (const name of ["write", "score"]) {
    $(`tab-${name}`).setAttribute("aria-selected", name === mode);
    $(`tab-${name}`).tabIndex = name === mode ? 0 : -1;
  }
  $("work").setAttribute("aria-labelledby", `tab-${mode}`);
  $("settings").hidden = mode !== "write";
  document.body.classList.toggle("scoring", mode === "score");
  for (const column of columns) {
    column.stop();
    column.past = [];
    column.scored = mode === "score";
    column.clear();
    column.busy(false);
  }
  tell("");
}

const stopAll = () => columns.forEach((column) => column.stop());
$("ask").onsubmit = (event) => { event.preventDefault(); run(); };
$("settings").onsubmit = (event) => { event.preventDefault(); run(); };
$("stop").onclick = stopAll;
$("new-seed").onclick = drawSeed;
$("reset").onclick = () => SLIDERS.forEach(([name, , , , , value]) => { $(name).value = value; $(name).oninput(); });
$("add").onchange = () => {
  if ($("add").value) add($("add").value);
  $("add").value = "";
};
$("add").onfocus = () => refresh().catch((error) => tell(error.message, true));
$("token").onchange = () => {
  sessionStorage.setItem("token", $("token").value);
  $("token-field").hidden = true;
  refresh().then(() => tell("")).catch((error) => tell(error.message, true));
};
for (const name of ["write", "score"]) {
  $(`tab-${name}`).onclick = () => choose(name);
  $(`tab-${name}`).onkeydown = (event) => {
    if (event.key !== "ArrowRight" && event.key !== "ArrowLeft") return;
    choose(name === "write" ? "score" : "write");
    $(`tab-${mode}`).focus();
  };
}
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); run(); }
  if (event.key !== "Escape") return;
  if (details.held) details.back();
  else stopAll();
});
refresh().catch((error) => tell(error.message, true));
