"use strict";
const $ = (id) => document.getElementById(id);
const percent = (p) => `${(100 * p).toFixed(1)} %`; // to read
const place = (p) => `${100 * p}%`; // on the gauge
let about;
let newest = 0; // an answer that comes after a newer photograph was chosen is not shown

async function start() {
  about = await (await fetch("about")).json();
  $("trial").textContent = about.trial_id;
  $("low").textContent = about.class_names[0];
  $("high").textContent = about.class_names[1];
  $("band").style.left = place(about.band[0]);
  $("band").style.width = place(about.band[1] - about.band[0]);
  $("threshold").style.left = place(about.threshold);
  $("overlay-caption").textContent =
    `What the answer hangs on: orange speaks for ${about.class_names[1]}, blue against it`;
  $("generator").hidden = !about.has_generator;
  about.class_names.forEach((name, label) => $("label").append(new Option(name, label, false, label === 1)));
}

async function send(file) {
  const number = ++newest;
  $("answer").hidden = true;
  $("status").textContent = "Looking …";
  await ready;
  if (file.size > about.max_upload) {
    $("status").textContent = `The file is larger than ${about.max_upload / 2 ** 20} MB.`;
    return;
  }
  let answer;
  try {
    const headers = { "Content-Type": "application/octet-stream" };
    answer = await (await fetch("predict", { method: "POST", headers, body: file })).json();
  } catch {
    answer = { error: "no answer from the server: is it still running?" };
  }
  if (number !== newest) return;
  $("status").textContent = answer.error ?? "";
  if (!answer.error) show(answer);
}

function show(answer) {
  const positive = about.class_names[1];
  $("verdict").textContent = `${answer.uncertain ? "Uncertain, rather " : ""}${answer.label}`;
  $("gauge").ariaLabel = `Probability of ${positive}: ${percent(answer.probability)}`;
  $("mark").style.left = place(answer.probability);
  $("notes").replaceChildren();
  note(`Probability of ${positive}: ${percent(answer.probability)} (threshold ${percent(about.threshold)})`, true);
  if (answer.uncertain) note("Within the uncertain band: the model cannot settle this one.");
  if (answer.far_from_training) note("Far from the training photographs: do not rely on the answer.");
  $("seen").src = answer.seen;
  $("overlay").src = answer.overlay;
  $("nearest-part").hidden = answer.nearest.length === 0;
  $("nearest").replaceChildren(...answer.nearest.map(example));
  $("answer").hidden = false;
}

function note(text, plain = false) {
  const item = document.createElement("li");
  item.textContent = text;
  if (plain) item.className = "plain";
  $("notes").append(item);
}

function example({ image, label }) {
  const figure = document.createElement("figure");
  const picture = Object.assign(new Image(), { src: image, alt: `Synthetic image: ${label}` });
  const caption = document.createElement("figcaption");
  caption.textContent = label;
  figure.append(picture, caption);
  return figure;
}

async function generate() {
  $("grid-status").textContent = "Generating …";
  const query = new URLSearchParams({ label: $("label").value, seed: $("seed").value });
  try {
    const response = await fetch(`grid?${query}`);
    if (!response.ok) throw new Error((await response.json()).error);
    const old = $("grid").src;
    $("grid").src = URL.createObjectURL(await response.blob());
    if (old) URL.revokeObjectURL(old);
    const name = $("label").selectedOptions[0].text;
    $("grid").alt = `24 synthetic images of the class ${name}, seed ${$("seed").value}`;
    $("grid").hidden = false;
    $("grid-status").textContent = `Synthetic: ${name}, seed ${$("seed").value}, images 0 to 23. None is a photograph.`;
  } catch (error) {
    $("grid-status").textContent = error.message;
  }
}

$("file").addEventListener("change", () => $("file").files[0] && send($("file").files[0]));
$("drop").addEventListener("dragover", (event) => { event.preventDefault(); $("drop").classList.add("over"); });
$("drop").addEventListener("dragleave", () => $("drop").classList.remove("over"));
$("drop").addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  if (event.dataTransfer.files[0]) send(event.dataTransfer.files[0]);
});
$("request").addEventListener("submit", (event) => { event.preventDefault(); generate(); });
const ready = start();
