
"use strict";
// What the page asks of the server, and how the answers are read.

const $ = (id) => document.getElementById(id);

async function ask(path, body, signal) {
  const headers = {};
  if (body) headers["content-type"] = "application/json";
  const token = sessionStorage.getItem("token");
  if (token) headers.authorization = `Bearer ${token}`;
  const answer = await fetch(path, {method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal});
  if (answer.ok) return answer;
  if (answer.status === 401) {
    $("token-field").hidden = false;
    $("token").focus();
  }
  const told = await answer.json().catch(() => null);
  throw new Error(told?.error?.message ?? `the server answered ${answer.status}`);
}

// Calls `take` with each event of a streamed completion; throws where the server tells of an error.
async function stream(body, signal, take) {
  const answer = await ask("/v1/completions", {...body, stream: true}, signal);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const {done, value} = await reader.read();
    if (done) throw new Error("the server went away");
    const lines = (rest + value).split("\n\n");
    rest = lines.pop();
    for (const line of lines) {
      const data = line.slice("data: ".length);
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw new Error(event.error.message);
      take(event);
    }
  }
}

function tell(text, wrong = false) {
  $("status").textContent = text;
  $("status").classList.toggle("wrong", wrong);
}

// How a probability looks: its colour, and its digits.
const STEPS = [0.5, 0.25, 0.1, 0.03, 0.01, 0.001];
const colour = (p) => `c${STEPS.findIndex((step) => p >= step) < 0 ? STEPS.length : STEPS.findIndex((step) => p >= step)}`;
const percent = (p) => (p >= 0.0995 ? (100 * p).toFixed(1) : p >= 0.0001 ? (100 * p).toPrecision(2) : "< 0.01") + " %";
const bits = (p) => (-Math.log2(Math.max(p, 1e-30))).toFixed(1) + " bits";

// A token as it is shown where it stands alone: spaces, line breaks and lone bytes visible.
const visible = (text) => text.startsWith("bytes:") ? text.slice(6)
  : text === "" ? "(nothing)" : text.replace(/ /g, "\u00b7").replace(/\n/g, "\u21b5").replace(/\t/g, "\u2192");

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}
