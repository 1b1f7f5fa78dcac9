"use strict";
// Every text of a document, a question or the server is set as text, never as HTML.

const $ = (id) => document.getElementById(id);
const state = { token: "", collection: "", user: null, talk: [] };

function el(tag, given = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(given)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "on") for (const [name, act] of Object.entries(value)) made.addEventListener(name, act);
    else if (key === "class") made.className = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  for (const child of children.flat(9)) if (child !== null && child !== undefined && child !== false) made.append(child);
  return made;
}

function say(text) {
  $("status").textContent = text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { $("status").textContent = ""; }, 4000);
}

// Offsets count code points; JavaScript's strings count halves of them.
function slice(text, start, end) {
  return Array.from(text).slice(start, end).join("");
}

async function call(method, path, body, raw) {
  const headers = { Authorization: `Bearer ${state.token}` };
  if (body !== undefined && !raw) headers["Content-Type"] = "application/json";
  let reply;
  try {
    reply = await fetch(path, { method, headers, body: raw ? body : body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    throw new Error("The server cannot be reached: is it still running?");
  }
  if (reply.ok) return reply;
  let reason = `The server replied ${reply.status}.`;
  try { reason = (await reply.json()).error.message; } catch (error) { /* It was no JSON. */ }
  const failure = new Error(reason);
  failure.status = reply.status;
  throw failure;
}
const get = async (path) => (await call("GET", path)).json();
const post = async (path, body) => (await call("POST", path, body)).json();
const within = (path) => `${path}${path.includes("?") ? "&" : "?"}collection=${encodeURIComponent(state.collection)}`;

async function* events(reply) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    held += value;
    for (let at; (at = held.indexOf("\n\n")) >= 0; held = held.slice(at + 2)) {
      const lines = held.slice(0, at).split("\n");
      const name = (lines.find((line) => line.startsWith("event: ")) || "event: message").slice(7);
      const data = lines.filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)).join("\n");
      if (data && data !== "[DONE]") yield { name, data: JSON.parse(data) };
    }
  }
}

function failureCard(error) {
  return el("div", { class: "card error", role: "alert" }, el("strong", {}, "That did not work. "), error.message);
}

function download(name, text, type) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

async function copy(text, told) {
  try { await navigator.clipboard.writeText(text); say(told); } catch (error) { say("The browser does not let this page copy."); }
}

// The source beside the answer, opened at the words.
let opener = null;
async function openSource(documentId, start, end) {
  opener = document.activeElement;
  const panel = $("source");
  const close = el("button", { class: "small", type: "button", on: { click: closeSource } }, "Close");
  const title = el("h2", { tabindex: "-1" }, "Opening…");
  const body = el("div", { class: "body", tabindex: "0", role: "region", "aria-label": "Text of the source" });
  panel.replaceChildren(el("div", { class: "head" }, title, close), body);
  panel.hidden = false;
  document.body.classList.add("open");
  title.focus();
  try {
    const around = 40000;
    const from = Math.max(0, start - around);
    const found = await get(within(`/documents/${encodeURIComponent(documentId)}?start=${from}&end=${end + around}`));
    const page = (found.pages.filter((each) => each.start <= start).pop() || {}).number;
    title.textContent = page ? `${found.source}, page ${page}` : found.source;
    const trail = [];
    for (const heading of found.headings) {
      if (heading.start > start) break;
      while (trail.length && trail[trail.length - 1].level >= heading.level) trail.pop();
      trail.push(heading);
    }
    if (trail.length) body.append(el("p", { class: "place" }, trail.map((each) => each.title).join(" › ")));
    if (/^(application\/pdf|image\/)/.test(found.media_type) && page && end > start) await showSheet(body, documentId, start, end);
    const points = Array.from(found.text);
    const cut = (a, b) => points.slice(Math.max(0, a - found.start), Math.max(0, b - found.start)).join("");
    const marked = end > start ? el("mark", { id: "here", tabindex: "-1" }, cut(start, end)) : null;
    const code = found.verbatim && !["markdown", "plain"].includes(found.markup);
    body.append(el("pre", { class: code ? "code" : "" },
      found.start > 0 ? "…" : "", cut(found.start, start), marked, cut(end, found.end), found.end < found.characters ? "…" : ""));
    const here = body.querySelector(".sheet i") || marked;
    // Only the source scrolls, not the page around it.
    if (here) body.scrollTop += here.getBoundingClientRect().top - body.getBoundingClientRect().top - body.clientHeight / 3;
  } catch (error) {
    title.textContent = "Source";
    body.replaceChildren(failureCard(error));
  }
}

async function showSheet(body, documentId, start, end) {
  try {
    const drawn = await get(within(`/documents/${encodeURIComponent(documentId)}/picture?start=${start}&end=${end}`));
    const sheet = el("div", { class: "sheet" }, el("img", { src: drawn.picture, alt: "The page, with the quoted words marked" }));
    for (const [left, top, right, bottom] of drawn.boxes) {
      const box = el("i");
      Object.assign(box.style, { left: `${left * 100}%`, top: `${top * 100}%`, width: `${(right - left) * 100}%`, height: `${(bottom - top) * 100}%` });
      sheet.append(box);
    }
    body.append(sheet);
  } catch (error) { /* The text below shows the words all the same. */ }
}

function closeSource() {
  $("source").hidden = true;
  document.body.classList.remove("open");
  if (opener) opener.focus();
}

function citeButton(citation) {
  return el("button", { class: "cite", type: "button", title: citation.location, "aria-label": `Open source ${citation.number}: ${citation.location}`,
    on: { click: () => openSource(citation.document_id, citation.start, citation.end) } }, String(citation.number));
}

function sourceItem(citation) {
  return el("li", {},
    el("div", { class: "place" }, citeButton(citation), " ", el("a", { href: citation.url, on: { click: (event) => { event.preventDefault(); openSource(citation.document_id, citation.start, citation.end); } } }, citation.location)),
    el("blockquote", { tabindex: "0" }, citation.quote));
}

// An answer's text, with its numbers as buttons and doubtful sentences underlined.
function renderAnswer(answer) {
  const byNumber = new Map(answer.citations.map((each) => [String(each.number), each]));
  const points = Array.from(answer.text);
  const doubtful = answer.sentences.filter((each) => !answer.abstained && (each.support < 0.5 || each.flagged.length)).map((each) => [each.start, each.end]);
  const inside = (spans, at) => spans.some(([start, end]) => start <= at && at < end);
  const emit = (text) => text.split(/(\[\d{1,4}\])/).map((part) => {
    const number = /^\[(\d+)\]$/.exec(part);
    return number && byNumber.has(number[1]) ? citeButton(byNumber.get(number[1])) : part;
  });
  // The text is cut wherever the part that answers, or a doubtful sentence, begins or ends.
  const cuts = [...new Set([0, points.length, ...answer.spans.flat(), ...doubtful.flat()])].sort((one, other) => one - other);
  const pieces = cuts.slice(0, -1).map((start, number) => {
    let piece = emit(points.slice(start, cuts[number + 1]).join(""));
    if (inside(answer.spans, start)) piece = el("strong", {}, piece);
    return inside(doubtful, start) ? el("span", { class: "doubt", title: "No passage bears this out" }, piece) : piece;
  });
  return el("div", { class: "answer" }, pieces);
}

function withSources(answer) {
  return `${answer.text}\n\n${answer.citations.map((each) => `[${each.number}] ${each.location}: “${each.quote}”`).join("\n")}\n`;
}

function answerCard(answer) {
  const card = el("article", { class: `card${answer.abstained ? " silent" : ""}` }, el("p", { class: "question" }, answer.question), renderAnswer(answer));
  if (answer.read_as) card.append(el("p", { class: "place" }, `Read as: ${answer.read_as}`));
  if (answer.missing) card.append(el("p", { class: "place" }, answer.missing));
  if (answer.interrupted) card.append(el("p", { class: "refuted" }, `The answer is not complete: ${answer.interrupted}`));
  if (answer.citations.length) card.append(el("ol", { class: "sources" }, answer.citations.map(sourceItem)));
  else if (answer.abstained && answer.passages.length) {
    card.append(el("details", {}, el("summary", {}, "The nearest passages"), el("ol", { class: "sources" }, answer.passages.slice(0, 3).map(hitItem))));
  }
  const rate = (rating) => async () => {
    try {
      await post("/feedback", { question: answer.question, answer: answer.text, rating, collection: state.collection, documents: answer.citations.map((each) => each.document_id) });
      say("Thank you: it is kept beside the index.");
    } catch (error) { say(error.message); }
  };
  const share = `${location.origin}/#ask?q=${encodeURIComponent(answer.question)}&c=${encodeURIComponent(state.collection)}`;
  card.append(el("div", { class: "row" },
    el("button", { class: "small", type: "button", on: { click: () => copy(withSources(answer), "Copied with its sources.") } }, "Copy"),
    el("button", { class: "small", type: "button", on: { click: () => copy(share, "The link asks this question again, for whoever has a token.") } }, "Link"),
    el("button", { class: "small", type: "button", on: { click: () => download("answer.json", JSON.stringify(answer.proof, null, 1), "application/json") } }, "Save"),
    el("button", { class: "small", type: "button", "aria-label": "This answer is right", on: { click: rate("good") } }, "Right"),
    el("button", { class: "small", type: "button", "aria-label": "This answer is wrong", on: { click: rate("bad") } }, "Wrong")));
  const way = { extract: "quoted from the documents", generate: `written by ${answer.model}`, none: "nothing was written" }[answer.way];
  card.append(el("p", { class: "facts" }, el("span", {}, way), el("span", {}, `confidence ${Math.round(answer.confidence * 100)} %`),
    el("span", {}, `${Math.round(Object.values(answer.timings).reduce((sum, each) => sum + each, 0))} ms`)));
  return card;
}

function whereBox() {
  return el("details", {}, el("summary", {}, "Only some documents"),
    el("label", {}, "Filter, such as type:pdf after:2024 path:contracts/**", el("input", { type: "text", name: "where", autocomplete: "off", spellcheck: "false" })));
}

function showAsk(main, asked) {
  const answers = el("div", { "aria-live": "polite" });
  const box = el("textarea", { name: "question", rows: "2", required: true, placeholder: "What do you want to know?" });
  const button = el("button", { class: "main" }, "Ask");
  const where = whereBox();
  const form = el("form", { class: "line", on: { submit: async (event) => {
    event.preventDefault();
    const question = box.value.trim();
    if (!question) return;
    button.disabled = true;
    const text = el("div", { class: "answer typing" });
    const waiting = el("article", { class: "card", "aria-busy": "true" }, el("p", { class: "question" }, question), text);
    answers.prepend(waiting);
    try {
      const filter = where.querySelector("input").value;
      const reply = await call("POST", "/ask", { question, collection: state.collection, where: filter, history: state.talk.slice(-12), stream: true });
      for await (const each of events(reply)) {
        if (each.name === "message") text.append(each.data.text);
        else if (each.name === "error") throw new Error(each.data.message);
        else if (each.name === "final_answer") {
          waiting.replaceWith(answerCard({ ...each.data, question }));
          state.talk.push({ role: "user", content: question });
          if (!each.data.abstained) state.talk.push({ role: "assistant", content: each.data.text });
        }
      }
      box.value = "";
    } catch (error) { waiting.replaceWith(failureCard(error)); }
    button.disabled = false;
    box.focus();
  } } }, el("label", {}, "Question; it may lean on those before it", box), button);
  box.addEventListener("keydown", (event) => { if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); form.requestSubmit(); } });
  const fresh = el("button", { class: "small", type: "button", on: { click: () => { state.talk = []; answers.replaceChildren(); box.focus(); } } }, "New conversation");
  main.append(el("h1", {}, "Ask your documents"), form, where, el("div", { class: "row" }, fresh), el("br"), answers);
  box.focus();
  if (asked) { box.value = asked; form.requestSubmit(); }
}

function hitItem(hit) {
  const points = Array.from(hit.text);
  const pieces = [];
  let at = 0;
  for (const [start, end] of hit.matches) {
    pieces.push(points.slice(at, start).join(""), el("mark", {}, points.slice(start, end).join("")));
    at = end;
  }
  pieces.push(points.slice(at).join(""));
  return el("li", {},
    el("div", { class: "place" }, el("a", { href: hit.url, on: { click: (event) => { event.preventDefault(); openSource(hit.document_id, hit.start, hit.end); } } }, hit.location)),
    el("blockquote", { tabindex: "0" }, pieces),
    el("details", {}, el("summary", {}, `Rank ${hit.rank}, score ${hit.score.toFixed(3)}: why`),
      el("div", { class: "wide" }, el("table", {}, el("thead", {}, el("tr", {}, ["Stage", "Rank", "Score"].map((name) => el("th", { scope: "col" }, name)))),
        el("tbody", {}, hit.trace.map((each) => el("tr", {}, el("td", {}, each.stage), el("td", { class: "number" }, String(each.rank)), el("td", { class: "number" }, each.score.toFixed(3)))))))));
}

function showSearch(main) {
  const results = el("div", { "aria-live": "polite" });
  const box = el("input", { type: "search", name: "question", required: true });
  const where = whereBox();
  const form = el("form", { class: "line", on: { submit: async (event) => {
    event.preventDefault();
    try {
      const found = await post("/search", { question: box.value, collection: state.collection, k: 10, where: where.querySelector("input").value });
      const related = Object.entries(found.related).map(([word, weight]) => `${word} (${weight.toFixed(2)})`).join(", ");
      results.replaceChildren(el("div", { class: "card" },
        el("p", { class: "facts" }, el("span", {}, `${found.hits.length} passages`), found.read_as ? el("span", {}, `read as: ${found.read_as}`) : "",
          el("span", {}, `searched for: ${found.words.join(", ") || "meaning alone"}`), related ? el("span", {}, `also: ${related}`) : ""),
        found.hits.length ? el("ol", { class: "sources" }, found.hits.map(hitItem)) : el("p", {}, found.filter_matched ? "No passage was found." : "No document matches the filter.")));
    } catch (error) { results.replaceChildren(failureCard(error)); }
  } } }, el("label", {}, "Words, a question, or “a phrase” in quotation marks", box), el("button", { class: "main" }, "Search"));
  main.append(el("h1", {}, "Search"), form, where, results);
  box.focus();
}

const classes = { supported: "supported", refuted: "refuted", "not enough information": "unknown" };
function verdictBlock(verdict) {
  return [el("p", {}, el("span", { class: `label ${classes[verdict.label]}` }, verdict.label), ` (${verdict.score.toFixed(2)}, by ${verdict.judge})`),
    verdict.evidence.length ? el("ol", { class: "sources" }, verdict.evidence.map((each, at) => el("li", {},
      el("div", { class: "place" }, `${each.relation} `, citeButton({ ...each, number: at + 1 }), " ", each.location), el("blockquote", { tabindex: "0" }, each.quote)))) : ""];
}

function showCheck(main) {
  const results = el("div", { "aria-live": "polite" });
  const box = el("textarea", { name: "text", rows: "4", required: true });
  const form = el("form", { on: { submit: async (event) => {
    event.preventDefault();
    results.replaceChildren(el("p", { "aria-busy": "true" }, "Reading…"));
    try {
      const found = await post("/verify", { text: box.value, collection: state.collection });
      results.replaceChildren(...found.sentences.map((each) => el("article", { class: "card" }, el("p", { class: "question" }, each.text),
        each.verdict ? verdictBlock(each.verdict) : el("p", { class: "place" }, "This claims nothing that could be checked."))));
    } catch (error) { results.replaceChildren(failureCard(error)); }
  } } }, el("label", {}, "A claim, or a whole text: another model's answer, a draft, a summary", box), el("div", { class: "row" }, el("button", { class: "main" }, "Check each sentence")));
  main.append(el("h1", {}, "Check a text against the documents"), form, el("br"), results);
  box.focus();
}

async function send(files, list) {
  for (const file of files) {
    const bar = el("progress", { max: "1", "aria-label": `Progress of ${file.name}` });
    const told = el("span", {}, "sending");
    list.prepend(el("li", {}, el("div", { class: "place" }, file.name, ": ", told), bar));
    try {
      const reply = await call("PUT", `/collections/${encodeURIComponent(state.collection)}/files/${encodeURIComponent(file.name)}`, file, true);
      const job = await reply.json();
      for await (const each of events(await call("GET", `${job.url}?stream=true`))) {
        const progress = each.data.progress;
        told.textContent = progress ? progress.stage : each.data.state;
        if (progress && progress.total) { bar.max = progress.total; bar.value = progress.done; }
        if (each.name === "done") {
          const failed = ((each.data.report || {}).failed || []).map((one) => one.reason).join("; ");
          const skipped = ((each.data.report || {}).skipped || []).map((one) => one.reason).join("; ");
          told.textContent = each.data.error || failed || skipped || "indexed";
          told.className = each.data.error || failed || skipped ? "refuted" : "supported";
        }
      }
    } catch (error) { told.textContent = error.message; told.className = "refuted"; }
    bar.remove();
  }
}

async function showFiles(main) {
  main.append(el("h1", {}, "Files"));
  const list = el("ol", { class: "sources", "aria-live": "polite" });
  const table = el("div");
  if (state.user.write) {
    const input = el("input", { type: "file", multiple: true, id: "upload" });
    const drop = el("div", { class: "drop" }, el("label", { for: "upload" }, "Drop files here, or choose them: PDF, Word, PowerPoint, Excel, HTML, Markdown, mail, and more"), input);
    const take = async (files) => { await send(files, list); await fill(0); };
    input.addEventListener("change", () => take([...input.files]));
    for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
    for (const name of ["dragleave", "drop"]) drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.remove("over"); });
    drop.addEventListener("drop", (event) => take([...event.dataTransfer.files]));
    main.append(drop, list);
  }
  const where = el("input", { type: "search", name: "where", placeholder: "path:reports/** type:pdf" });
  main.append(el("form", { class: "line", on: { submit: (event) => { event.preventDefault(); fill(0); } } }, el("label", {}, "Filter", where), el("button", {}, "Show")), table);
  async function fill(offset) {
    try {
      const found = await get(within(`/documents?limit=50&offset=${offset}&where=${encodeURIComponent(where.value)}`));
      const rows = found.documents.map((each) => el("tr", {},
        el("td", {}, el("a", { href: each.url, on: { click: (event) => { event.preventDefault(); openSource(each.id, 0, 0); } } }, each.source)),
        el("td", {}, each.media_type.split("/").pop().split(".").pop()), el("td", { class: "number" }, each.characters.toLocaleString("en")), el("td", { class: "number" }, String(each.passages)),
        el("td", {}, state.user.write ? el("button", { class: "small", type: "button", "aria-label": `Remove ${each.source}`, on: { click: async () => {
          if (!confirm(`Remove ${each.source} from the index?`)) return;
          try { await call("DELETE", within(`/documents/${encodeURIComponent(each.id)}`)); say("It is being removed."); setTimeout(() => fill(offset), 1200); } catch (error) { say(error.message); }
        } } }, "Remove") : "")));
      const turn = el("div", { class: "row" }, offset > 0 ? el("button", { class: "small", type: "button", on: { click: () => fill(offset - 50) } }, "Earlier") : "",
        offset + 50 < found.total ? el("button", { class: "small", type: "button", on: { click: () => fill(offset + 50) } }, "Later") : "");
      table.replaceChildren(el("p", { class: "place" }, `${found.total.toLocaleString("en")} document${found.total === 1 ? "" : "s"}`),
        el("div", { class: "wide card" }, el("table", {}, el("thead", {}, el("tr", {}, ["Document", "Type", "Characters", "Passages", "Actions"].map((name) => el("th", { scope: "col" }, name)))), el("tbody", {}, rows))), turn);
    } catch (error) { table.replaceChildren(error.status === 409 ? el("p", {}, "There is nothing yet: add the first file.") : failureCard(error)); }
  }
  await fill(0);
}

async function showHealth(main) {
  main.append(el("h1", {}, "Health"));
  try {
    const jobs = (await get("/jobs?limit=20")).jobs;
    if (state.user.admin) {
      const found = await get(within("/examination"));
      const facts = Object.entries(found.info).filter(([, value]) => ["string", "number"].includes(typeof value));
      main.append(el("div", { class: "card" }, el("h2", {}, found.examination.well ? "The index is well" : "The index has a problem"),
        el("div", { class: "wide" }, el("table", {}, el("tbody", {}, facts.map(([name, value]) => el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, typeof value === "number" ? value.toLocaleString("en") : value)))))),
        el("details", {}, el("summary", {}, `${found.examination.findings.length} checks`), el("ul", {}, found.examination.findings.map((each) => el("li", {}, `${each.status}: ${each.check}: ${each.text}`))))));
    }
    main.append(el("div", { class: "card" }, el("h2", {}, "Jobs"), jobs.length ? el("ul", { class: "sources" }, jobs.map((job) => el("li", {},
      `${job.kind} ${job.sources.map((source) => source.split("/").pop()).join(", ")}: ${job.state}`, job.error ? el("p", { class: "refuted" }, job.error) : "",
      ["failed", "cancelled"].includes(job.state) && state.user.write ? el("button", { class: "small", type: "button", on: { click: async () => { await post(`/jobs/${job.id}/retry`, {}); route(); } } }, "Try again") : ""))) : el("p", {}, "None so far.")));
  } catch (error) { main.append(failureCard(error)); }
}

function showSettings(main) {
  main.append(el("h1", {}, "Settings"), el("div", { class: "card" },
    el("p", {}, `You are ${state.user.user}: you may read${state.user.write ? ", add and remove" : ""}${state.user.admin ? ", and see everything" : ""}.`),
    el("p", {}, "The same answers for programs: ", el("a", { href: "/api" }, "the API"), `, OpenAI's clients at ${location.origin}/v1, and agents at ${location.origin}/mcp.`),
    el("button", { type: "button", on: { click: () => { sessionStorage.removeItem("token"); state.token = ""; location.hash = ""; location.reload(); } } }, "Forget the token")));
}

function showToken(reason) {
  const main = $("main");
  const box = el("input", { type: "password", autocomplete: "off", required: true });
  main.replaceChildren(el("h1", {}, "Enter"), reason ? el("p", { class: "refuted", role: "alert" }, reason) : "",
    el("form", { class: "line", on: { submit: (event) => { event.preventDefault(); state.token = box.value.trim(); sessionStorage.setItem("token", state.token); begin(); } } },
      el("label", {}, "The token that `rag serve` printed, or that you were given", box), el("button", { class: "main" }, "Enter")));
  box.focus();
}

const pages = { ask: showAsk, search: showSearch, check: showCheck, files: showFiles, health: showHealth, settings: showSettings };
function route() {
  const [name, query] = location.hash.slice(1).split("?");
  const page = pages[name] ? name : "ask";
  const given = new URLSearchParams(query || "");
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${page}`) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  document.title = `${page[0].toUpperCase()}${page.slice(1)} · rag`;
  const main = $("main");
  main.replaceChildren();
  if (given.get("c") && [...$("collection").options].some((each) => each.value === given.get("c"))) {
    state.collection = $("collection").value = given.get("c");
  }
  pages[page](main, given.get("q") || "");
}

async function begin() {
  try {
    state.user = await get("/collections");
  } catch (error) {
    showToken(error.status === 401 ? (state.token ? "This token is not valid." : "") : error.message);
    return;
  }
  const names = state.user.collections.map((each) => each.name);
  $("collection").replaceChildren(...names.map((name) => el("option", { value: name }, name)));
  state.collection = names[0] || "";
  $("collection").addEventListener("change", (event) => { state.collection = event.target.value; state.talk = []; closeSource(); route(); });
  const place = /^\/d\/([^/]+)\/(.+)$/.exec(location.pathname);
  if (place) {
    state.collection = $("collection").value = decodeURIComponent(place[1]);
    const span = /char=(\d+),(\d+)/.exec(location.hash);
    const [start, end] = span ? [Number(span[1]), Number(span[2])] : [0, 0];
    history.replaceState(null, "", "/");
    route();
    await openSource(decodeURIComponent(place[2]), start, end);
    return;
  }
  route();
}

const given = /^#token=(.+)$/.exec(location.hash);
if (given) {
  sessionStorage.setItem("token", decodeURIComponent(given[1]));
  history.replaceState(null, "", location.pathname);
}
state.token = sessionStorage.getItem("token") || "";
window.addEventListener("hashchange", () => { if (state.user) route(); });
window.addEventListener("keydown", (event) => { if (event.key === "Escape" && !$("source").hidden) closeSource(); });
begin();
