// The console's one page: log in, then a conversation that streams. Nothing is loaded from elsewhere, and what a
// model or a memory says is only ever put into the page as text.
"use strict";

const REFRESH_KEY = "mongars.refresh";
const DEGRADED = {
  "no-model": "No language model is configured or reachable: answers are quoted from memory. Add a model, then ask again.",
  "no-adapter": "The adapter that was to answer could not; its model answered without it.",
};

const element = (id) => document.getElementById(id);
const views = ["login", "choose-password", "chat"];
let accessToken = null;
let oneTimePassword = null;
let conversationId = null;
let degradedTold = null;
let asking = null;

function show(view) {
  for (const name of views) element(name).hidden = name !== view;
  element("session").hidden = view !== "chat";
  const first = element(view).querySelector("input, textarea");
  if (first) first.focus();
}

function tell(id, text) {
  element(id).textContent = text || "";
  element(id).hidden = !text;
}

function problemOf(body, status) {
  return (body && (body.detail || (body.error && body.error.message))) || `The server answered ${status}.`;
}

async function failure(response) {
  const body = await response.json().catch(() => null);
  const error = new Error(problemOf(body, response.status));
  error.code = body && (body.code || (body.error && body.error.code));
  return error;
}

function keep(tokens) {
  accessToken = tokens.access_token;
  sessionStorage.setItem(REFRESH_KEY, tokens.refresh_token);
}

function forget() {
  accessToken = null;
  conversationId = null;
  sessionStorage.removeItem(REFRESH_KEY);
  element("messages").replaceChildren();
}

async function refresh() {
  const token = sessionStorage.getItem(REFRESH_KEY);
  if (!token) return false;
  sessionStorage.removeItem(REFRESH_KEY); // it serves once
  const response = await fetch("/api/v1/auth/refresh", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ refresh_token: token }),
  });
  if (!response.ok) {
    // A server that is away has not used the token up: only a refusal means that it is spent.
    if (response.status >= 500) sessionStorage.setItem(REFRESH_KEY, token);
    return false;
  }
  const tokens = await response.json();
  keep(tokens);
  return !tokens.must_change_password;
}

async function authorised(path, options) {
  const call = () =>
    fetch(path, { ...options, headers: { ...options.headers, authorization: `Bearer ${accessToken}` } });
  const response = await call();
  return response.status === 401 && (await refresh()) ? call() : response;
}

function post(path, body, signal) {
  return authorised(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
}

function atEnd() {
  return window.innerHeight + window.scrollY >= document.body.scrollHeight - 40;
}

function scrollToEnd() {
  window.scrollTo(0, document.body.scrollHeight);
}

function addMessage(speaker, label, text) {
  const item = document.createElement("li");
  item.className = speaker;
  const who = document.createElement("span");
  who.className = "speaker";
  who.textContent = label;
  const said = document.createElement("span");
  said.className = "said";
  said.textContent = text;
  item.append(who, said);
  element("messages").append(item);
  scrollToEnd();
  return said;
}

// What the model thinks on the way: folded away above its answer, and never kept.
function addThought(said, piece) {
  let thinking = said.parentElement.querySelector(".thinking");
  if (!thinking) {
    thinking = document.createElement("details");
    thinking.className = "thinking";
    const title = document.createElement("summary");
    title.textContent = "Thinking";
    thinking.append(title, document.createElement("span"));
    said.before(thinking);
  }
  thinking.lastElementChild.textContent += piece;
}

function tellRemote(said, upstream) {
  if (!upstream) return;
  const who = said.parentElement.querySelector(".speaker");
  who.textContent += ` · answered by ${upstream}, a remote server`;
}

function tellDegraded(reason) {
  if (reason === degradedTold) return;
  degradedTold = reason;
  tell("degraded", reason ? DEGRADED[reason] || `Something runs degraded: ${reason}.` : "");
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    pending += value;
    const lines = pending.split("\n");
    pending = lines.pop();
    for (const line of lines) if (line.startsWith("data: ")) yield line.slice(6);
  }
}

async function readAnswer(response, said) {
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Error(chunk.error.message);
    const delta = chunk.choices.length ? chunk.choices[0].delta : {};
    if (delta.reasoning_content) addThought(said, delta.reasoning_content);
    if (delta.content) {
      const following = atEnd(); // whoever scrolled up to read is left there
      said.textContent += delta.content;
      if (following) scrollToEnd();
    }
  }
  throw new Error("The answer broke off.");
}

async function ask(text) {
  addMessage("user", "You", text);
  const said = addMessage("assistant", "monGARS", "");
  asking = new AbortController();
  element("stop").hidden = false;
  element("send").disabled = true;
  tell("problem", "");
  try {
    const metadata = conversationId ? { conversation_id: conversationId } : {};
    const body = { messages: [{ role: "user", content: text }], stream: true, metadata };
    const response = await post("/v1/chat/completions", body, asking.signal);
    if (!response.ok) throw await failure(response);
    conversationId = response.headers.get("x-mongars-conversation-id") || conversationId;
    tellDegraded(response.headers.get("x-mongars-degraded"));
    tellRemote(said, response.headers.get("x-mongars-remote"));
    await readAnswer(response, said);
  } catch (error) {
    if (error.name !== "AbortError") tell("problem", error.message);
    if (error.code === "invalid_token" || error.code === "not_authenticated") show("login");
  } finally {
    asking = null;
    element("stop").hidden = true;
    element("send").disabled = false;
  }
}

function guarded(handler) {
  return async (event) => {
    event.preventDefault();
    tell("problem", "");
    const button = event.target.querySelector("button[type=submit]");
    if (button) button.disabled = true;
    try {
      await handler();
    } catch (error) {
      tell("problem", error.message);
    } finally {
      if (button) button.disabled = false;
    }
  };
}

async function logIn() {
  const form = new URLSearchParams({
    grant_type: "password",
    username: element("name").value,
    password: element("password").value,
  });
  const response = await fetch("/api/v1/auth/token", { method: "POST", body: form });
  if (!response.ok) throw await failure(response);
  const tokens = await response.json();
  keep(tokens);
  oneTimePassword = tokens.must_change_password ? element("password").value : null;
  element("password").value = "";
  show(oneTimePassword ? "choose-password" : "chat");
}

async function choosePassword() {
  const body = { current_password: oneTimePassword, new_password: element("new-password").value };
  const response = await post("/api/v1/auth/password", body);
  if (!response.ok) throw await failure(response);
  keep(await response.json());
  oneTimePassword = null;
  element("new-password").value = "";
  show("chat");
}

async function logOut() {
  if (asking) asking.abort();
  await post("/api/v1/auth/logout", {}).catch(() => null);
  forget();
  show("login");
}

function newConversation() {
  if (asking) asking.abort();
  conversationId = null;
  element("messages").replaceChildren();
  element("question").focus();
}

function sendQuestion() {
  const text = element("question").value.trim();
  if (!text || asking) return;
  element("question").value = "";
  ask(text).finally(() => element("question").focus());
}

element("login").addEventListener("submit", guarded(logIn));
element("choose-password").addEventListener("submit", guarded(choosePassword));
element("log-out").addEventListener("click", logOut);
element("new-conversation").addEventListener("click", newConversation);
element("stop").addEventListener("click", () => asking && asking.abort());
element("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  sendQuestion();
});
element("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    sendQuestion();
  }
});

refresh()
  .catch(() => false)
  .then((known) => show(known ? "chat" : "login"));
