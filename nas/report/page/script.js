"use strict";
// Points at networks of the front's chart, and tells of the one that is picked. All text is set as
// text: what a run brings along is never taken for HTML.
const runs = JSON.parse(document.getElementById("data").textContent);
const NEAR = 28; // pixels

function element(tag, text, parent, name) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (name) made.className = name;
  if (parent) parent.append(made);
  return made;
}

const shown = (value) => (value === null ? "" : String(value));

// What is told of a trial: lines of name and value.
function facts(run, place) {
  const rows = [];
  const number = run.trial[place];
  if (run.state[place] !== "complete") rows.push(["state", run.state[place]]);
  if (run.reason[number]) rows.push(["reason", run.reason[number]]);
  if (run.began[number]) rows.push(["began with", run.began[number]]);
  // Of the front more is known: figures with their deviations.
  const known = { ...run.front[number] };
  run.names.forEach((name, column) => {
    const value = run.figures[place][column];
    if (name in known || value === null) return;
    known[name] = value.toLocaleString("en");
  });
  return rows.concat(Object.entries(known));
}

const exported = (run, number) => `nas export ${quotedTrial(run, number)} --out exported-${number}`;
const quotedTrial = (run, number) =>
  run.quoted.endsWith("'") ? `${run.quoted.slice(0, -1)}:${number}'` : `${run.quoted}:${number}`;

function tip(run, place) {
  const number = run.trial[place];
  const lines = [`trial ${number}   ${run.digest[place]}`];
  facts(run, place).forEach(([name, value]) => lines.push(`${name}  ${shown(value)}`));
  lines.push(exported(run, number));
  return lines.join("\n");
}

function command(words, parent) {
  const box = element("span", undefined, parent, "command");
  element("code", words, box);
  element("button", "copy", box, "copy").type = "button";
}

// -- the details of one trial ------------------------------------------------------------------

function tell(which, number) {
  const run = runs[which];
  const place = run.trial.indexOf(number);
  const told = document.querySelector(`#r${which}-detail .told`);
  told.replaceChildren();
  mark(which, place);
  if (place < 0) {
    element("p", `There is no finished trial ${number}.`, told);
    return;
  }
  document.querySelector(`#r${which}-detail input`).value = number;
  element("h4", `Trial ${number}, ${run.digest[place]}`, told);
  const list = element("dl", undefined, told, "facts");
  facts(run, place).forEach(([name, value]) => {
    element("dt", name, list);
    element("dd", shown(value), list);
  });
  element("dt", "network", list);
  const labels = run.genes[place].map((gene, choice) => {
    const [name, options] = run.choices[choice];
    return `${name} ${options[gene]}`;
  });
  element("dd", labels.join(", "), list);
  const next = element("ul", undefined, told, "next");
  command(exported(run, number), element("li", "export it: ", next));
  command(`nas explain ${quotedTrial(run, number)}`, element("li", "where its time goes: ", next));
}

function mark(which, place) {
  const plot = document.querySelector(`[data-chart="r${which}"]`);
  if (!plot) return;
  plot.querySelectorAll(".here").forEach((old) => old.remove());
  const run = runs[which];
  if (place < 0 || run.x[place] === null) return;
  const here = element("span", undefined, plot, "here");
  here.style.left = `${run.x[place]}%`;
  here.style.top = `${run.y[place]}%`;
}

// -- pointing ----------------------------------------------------------------------------------

function nearest(run, plot, event) {
  const area = plot.getBoundingClientRect();
  const x = event.clientX - area.left;
  const y = event.clientY - area.top;
  let best = -1;
  let least = NEAR * NEAR;
  for (let place = 0; place < run.x.length; place++) {
    if (run.x[place] === null) continue;
    const dx = (run.x[place] * area.width) / 100 - x;
    const dy = (run.y[place] * area.height) / 100 - y;
    // Of networks in one place the front's is meant, and it is drawn on top.
    const far = dx * dx + dy * dy - (run.front[run.trial[place]] ? 9 : 0);
    if (far < least) [best, least] = [place, far];
  }
  return best;
}

function showTip(plot, run, place) {
  hideTip(plot);
  const box = element("div", tip(run, place), plot, "tip");
  box.setAttribute("aria-hidden", "true");
  const right = run.x[place] > 50;
  box.style[right ? "right" : "left"] = `calc(${right ? 100 - run.x[place] : run.x[place]}% + 12px)`;
  const below = run.y[place] < 50;
  box.style[below ? "top" : "bottom"] = `calc(${below ? run.y[place] : 100 - run.y[place]}% + 12px)`;
}

const hideTip = (plot) => plot.querySelectorAll(".tip").forEach((old) => old.remove());

document.querySelectorAll("[data-chart]").forEach((plot) => {
  const which = Number(plot.dataset.chart.slice(1));
  const run = runs[which];
  let pointed = -1;
  plot.addEventListener("pointermove", (event) => {
    const place = nearest(run, plot, event);
    // Most movements stay with a network, or with none.
    if (place === pointed) return;
    pointed = place;
    if (place < 0) hideTip(plot);
    else showTip(plot, run, place);
  });
  plot.addEventListener("pointerleave", () => {
    pointed = -1;
    hideTip(plot);
  });
  plot.addEventListener("click", (event) => {
    // By keyboard a press has no place of its own.
    const button = event.target.closest(".mark");
    if (button && event.detail === 0) return tell(which, Number(button.dataset.trial));
    const place = nearest(run, plot, event);
    if (place >= 0) tell(which, run.trial[place]);
  });
  plot.addEventListener("focusin", (event) => {
    const button = event.target.closest(".mark[data-trial]");
    if (button) showTip(plot, run, run.trial.indexOf(Number(button.dataset.trial)));
  });
  plot.addEventListener("focusout", () => hideTip(plot));
});

// Charts whose marks tell their own label.
document.querySelectorAll(".plot:not([data-chart])").forEach((plot) => {
  const show = (event) => {
    const button = event.target.closest(".mark");
    hideTip(plot);
    if (!button) return;
    const box = element("div", button.getAttribute("aria-label"), plot, "tip");
    const right = parseFloat(button.style.left) > 50;
    box.style[right ? "right" : "left"] = right
      ? `calc(${100 - parseFloat(button.style.left)}% + 12px)`
      : `calc(${button.style.left} + 12px)`;
    box.style.top = `calc(${button.style.top} + 10px)`;
  };
  plot.addEventListener("pointerover", show);
  plot.addEventListener("focusin", show);
  plot.addEventListener("pointerleave", () => hideTip(plot));
  plot.addEventListener("focusout", () => hideTip(plot));
});

document.querySelectorAll(".detail input").forEach((input) => {
  input.addEventListener("change", () => {
    if (input.value !== "") tell(Number(input.dataset.run), Number(input.value));
  });
});

// -- the rest ----------------------------------------------------------------------------------

document.addEventListener("click", async (event) => {
  const button = event.target.closest(".copy");
  if (!button) return;
  const code = button.previousElementSibling;
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "copied";
  } catch {
    // A page from a disk may not be allowed to: then the text is at least selected.
    getSelection().selectAllChildren(code);
    button.textContent = "selected";
  }
  setTimeout(() => (button.textContent = "copy"), 1500);
});

// On paper there is nothing to open.
addEventListener("beforeprint", () =>
  document.querySelectorAll("details:not(.long)").forEach((each) => (each.open = true)));
