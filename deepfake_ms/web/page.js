// Uploads the chosen file and shows the lines of the answer as they come.
"use strict";

const input = document.querySelector("input[type=file]");
const status = document.querySelector(".status");
const result = document.querySelector("#result");

input.addEventListener("change", () => {
  if (input.files.length) score(input.files[0]);
});
addEventListener("resize", fit);
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault(); // the browser would open the file instead of the page
  const [file] = event.dataTransfer.files;
  if (file && !input.disabled) score(file);
});

async function score(file) {
  result.replaceChildren();
  if (file.size > Number(input.dataset.mostBytes)) return finish(input.dataset.tooLarge);
  input.disabled = true;
  say(`${file.name}: uploading …`);
  try {
    const headers = { "X-File-Name": encodeURIComponent(file.name) };
    const response = await fetch("score", { method: "POST", body: file, headers });
    for await (const message of messages(response.body)) show(message, file.name);
  } catch {
    finish("The connection to the server was lost: try again.");
  }
  if (input.disabled) finish("The server ended without an answer: try again.");
}

async function* messages(body) {
  let waiting = "";
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const lines = (waiting + part.value).split("\n");
    waiting = lines.pop();
    for (const line of lines) yield JSON.parse(line);
  }
}

function show(message, name) {
  if ("before" in message) {
    say(`${name}: waiting in the queue; ${message.before} ${message.before === 1 ? "file is" : "files are"} ahead of yours.`);
  } else if ("scoring" in message) {
    say(`${name}: scoring every face …`);
  } else if ("report" in message) {
    finish();
    const frame = document.createElement("iframe");
    frame.title = `Report on ${name}`;
    frame.setAttribute("sandbox", "allow-same-origin"); // no scripts
    frame.addEventListener("load", () => {
      fit();
      result.scrollIntoView();
    });
    frame.srcdoc = message.report;
    result.replaceChildren(frame);
  } else {
    finish(message.refused);
  }
}

function say(sentence) {
  status.classList.remove("refused");
  status.replaceChildren(sentence, document.createElement("progress"));
}

function finish(refusal = "") {
  status.classList.toggle("refused", Boolean(refusal));
  status.replaceChildren(refusal);
  input.disabled = false;
  input.value = "";
}

function fit() {
  const frame = result.querySelector("iframe");
  if (!frame) return;
  frame.style.height = "0";
  frame.style.height = `${frame.contentDocument.documentElement.scrollHeight + 4}px`;
}
