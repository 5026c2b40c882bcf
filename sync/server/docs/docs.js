// Shows /openapi.json and lets one try its routes. It fetches nothing from anywhere else, and makes elements of text only:
// nothing of the document or of an answer is ever taken for HTML.
"use strict";

const el = (name, attrs, ...children) => {
  const e = document.createElement(name);
  for (const [k, v] of Object.entries(attrs || {})) {
    if (k.startsWith("on")) e.addEventListener(k.slice(2), v);
    else e.setAttribute(k, v);
  }
  e.append(...children.filter(c => c !== undefined && c !== null));
  return e;
};

let doc;

const resolve = schema => {
  for (let i = 0; schema && schema.$ref && i < 10; i++) {
    schema = schema.$ref.slice(2).split("/").reduce((o, k) => o && o[k], doc);
  }
  return schema || {};
};

const typeOf = schema => {
  const s = resolve(schema);
  const t = [].concat(s.type || "any").join(" or ");
  if (s.type === "array" || [].concat(s.type).includes("array")) return "list of " + typeOf(s.items);
  return s.format ? t + " (" + s.format + ")" : t;
};

// example is a body to begin with: every field of a request, with a value of its type.
const example = (schema, depth = 0) => {
  const s = resolve(schema);
  const t = [].concat(s.type || "object")[0];
  if (s.example !== undefined) return s.example;
  if (s.default !== undefined) return s.default;
  if (t === "object") {
    const out = {};
    if (depth < 4) for (const [k, v] of Object.entries(s.properties || {})) out[k] = example(v, depth + 1);
    return out;
  }
  if (t === "array") return depth < 4 ? [example(s.items, depth + 1)] : [];
  if (t === "integer" || t === "number") return s.minimum || 0;
  if (t === "boolean") return false;
  if (s.format === "uuid") return "00000000-0000-0000-0000-000000000000";
  if (s.format === "date-time") return new Date().toISOString();
  return "";
};

const fields = schema => {
  const s = resolve(schema);
  if (!s.properties) return undefined;
  return el("table", {}, ...Object.entries(s.properties).map(([name, p]) =>
    el("tr", {}, el("td", {}, el("code", {}, name), (s.required || []).includes(name) ? " *" : ""), el("td", {}, typeOf(p)),
      el("td", {}, p.description || resolve(p).description || ""))));
};

const bodySchema = content => {
  const first = Object.values(content || {})[0];
  return first && first.schema;
};

const route = (path, method, op) => {
  const inputs = {};
  const params = (op.parameters || []).map(p => {
    const input = el("input", { "aria-label": p.name, placeholder: typeOf(p.schema) });
    inputs[p.name] = { p, input };
    return el("tr", {}, el("td", {}, el("code", {}, p.name), p.required ? " *" : ""), el("td", {}, p.in), el("td", {}, input),
      el("td", {}, p.description || ""));
  });
  const wants = op.requestBody && bodySchema(op.requestBody.content);
  const body = wants && el("textarea", { "aria-label": "Body", spellcheck: "false" });
  if (body) body.value = JSON.stringify(example(wants), null, 2);
  const answer = el("pre", { hidden: "" });
  const send = async () => {
    let url = path;
    const query = new URLSearchParams();
    const headers = {};
    for (const { p, input } of Object.values(inputs)) {
      if (input.value === "") continue;
      if (p.in === "path") url = url.replace("{" + p.name + "}", encodeURIComponent(input.value));
      else if (p.in === "query") query.set(p.name, input.value);
      else if (p.in === "header") headers[p.name] = input.value;
    }
    const token = document.getElementById("token").value.trim();
    if (token && (op.security || []).length) headers.Authorization = "Bearer " + token;
    const init = { method: method.toUpperCase(), headers, credentials: "omit" };
    if (body && body.value.trim()) {
      init.body = body.value;
      headers["Content-Type"] = "application/json";
    }
    answer.hidden = false;
    answer.textContent = "...";
    try {
      const r = await fetch(query.size ? url + "?" + query : url, init);
      let text = await r.text();
      try { text = JSON.stringify(JSON.parse(text), null, 2); } catch { /* it is no JSON */ }
      answer.textContent = r.status + " " + r.statusText + "\n\n" + text.slice(0, 200000);
    } catch (e) {
      answer.textContent = String(e);
    }
  };
  const answers = Object.entries(op.responses || {}).map(([status, r]) =>
    el("tr", {}, el("td", {}, status), el("td", {}, r.description || ""), el("td", {}, status < "400" ? fields(bodySchema(r.content)) : undefined)));
  return el("details", { "data-find": (method + " " + path + " " + (op.summary || "")).toLowerCase(), id: op.operationId || "" },
    el("summary", {}, el("span", { class: "method" }, method.toUpperCase()), " ", el("span", { class: "path" }, path), " ", op.summary || "",
      el("span", { class: "scope" }, op["x-scope"] || "")),
    el("div", {}, op.description ? el("p", {}, op.description) : undefined,
      params.length ? el("table", {}, ...params) : undefined, wants ? fields(wants) : undefined, body,
      path.startsWith("/ws/") ? undefined : el("p", {}, el("button", { type: "button", onclick: send }, "Send")), answer,
      el("table", {}, ...answers)));
};

const show = async () => {
  doc = await (await fetch("/openapi.json")).json();
  document.getElementById("about").textContent = (doc.info.description || "") + " Version " + doc.info.version + ".";
  const byTag = new Map();
  for (const [path, item] of Object.entries(doc.paths)) {
    for (const [method, op] of Object.entries(item)) {
      const tag = (op.tags || ["Other"])[0];
      if (!byTag.has(tag)) byTag.set(tag, []);
      byTag.get(tag).push(route(path, method, op));
    }
  }
  const main = document.getElementById("routes");
  main.replaceChildren(...[...byTag].flatMap(([tag, all]) => [el("h2", {}, tag), ...all]));
  document.getElementById("filter").addEventListener("input", e => {
    const want = e.target.value.toLowerCase();
    for (const d of main.querySelectorAll("details")) d.hidden = !d.dataset.find.includes(want);
  });
};

show().catch(e => { document.getElementById("routes").textContent = "openapi.json cannot be read: " + e; });
