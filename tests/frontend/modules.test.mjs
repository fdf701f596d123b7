import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

const FOLDER = new URL("../../frontend/", import.meta.url);
// plain.js is no module: it helps pages whose modules were not loaded. bundle.js is made of the modules.
const OTHERS = ["plain.js", "bundle.js"];
// The entry of pages, and that of programs.
const ENTRIES = ["exports.js", "client.js"];
const modules = readdirSync(FOLDER).filter((name) => name.endsWith(".js") && !OTHERS.includes(name));
const importsOf = (name) => [...read(name).matchAll(/ from "\.\/(.+?)";/g)].map(([, path]) => path);
const read = (name) => readFileSync(new URL(name, FOLDER), "utf8");

// Django's ManifestStaticFilesStorage takes everything from that word to the next `from "./..."` for a re-export, and
// writes the hash into the file name twice (checked with Django 5.2).
test("no comment before the imports contains the word export", () => {
  for (const name of modules) {
    const text = read(name);
    const head = text.slice(0, Math.max(0, text.lastIndexOf(' from "./')));
    assert.doesNotMatch(head, /export[\s{]/, name);
  }
});

test("every import names a file that exists", () => {
  for (const name of modules) {
    for (const path of importsOf(name)) assert.ok(modules.includes(path), `${name}: ${path}`);
  }
});

test("the entries reach every module", () => {
  const reached = new Set(ENTRIES);
  for (const name of reached) {
    for (const path of importsOf(name)) reached.add(path);
  }
  assert.deepEqual([...reached].sort(), modules.sort());
});

test("nothing writes markup, styles or code from text", () => {
  const forbidden = /innerHTML|outerHTML|insertAdjacentHTML|\.style\b|\beval\(|new Function/;
  for (const name of modules) assert.doesNotMatch(read(name), forbidden, name);
});
