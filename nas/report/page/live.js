"use strict";
// A page that is served follows its run: the line at its top at once, all else by loading it anew,
// when a network has finished. Where the reader is, and the trial that is told of, stay.
const KEPT = `nas ${location.href}`;
const EVERY = 2000; // milliseconds
const RELOAD_AFTER = 5000; // at most so often, or a fast search would make the page flicker
const strip = document.querySelector(".live");
const opened = Date.now();

function keep() {
  const folds = [...document.querySelectorAll("details")].map((each) => each.open);
  const trials = [...document.querySelectorAll(".detail input")].map((each) => each.value);
  sessionStorage.setItem(KEPT, JSON.stringify({ y: scrollY, folds, trials }));
}

function restore() {
  const kept = JSON.parse(sessionStorage.getItem(KEPT) || "null");
  if (!kept) return;
  sessionStorage.removeItem(KEPT);
  document.querySelectorAll("details").forEach((each, place) => {
    if (place in kept.folds) each.open = kept.folds[place];
  });
  kept.trials.forEach((number, which) => number !== "" && tell(which, Number(number)));
  scrollTo(0, kept.y);
}

async function look() {
  let now;
  try {
    now = await (await fetch("/state", { cache: "no-store" })).json();
  } catch {
    strip.textContent = "No longer served: this is what the run was at last.";
    strip.classList.add("gone");
    return;
  }
  strip.classList.remove("gone");
  strip.textContent = now.line;
  // Not under the hands of somebody who types or selects.
  const busy = document.activeElement.matches("input") || !getSelection().isCollapsed;
  if (now.stamp === strip.dataset.stamp || busy || document.hidden) return;
  if (Date.now() - opened < RELOAD_AFTER) return;
  keep();
  location.reload();
}

history.scrollRestoration = "manual";
restore();
setInterval(look, EVERY);
look();
