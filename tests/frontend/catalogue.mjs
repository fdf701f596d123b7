/** The words of the page and the status texts of the server, as exports/http/words.py has them in English. */

import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const SETUP = "import django, json, sys; django.setup(); from exports.http import words; ";
const env = { ...process.env, DJANGO_SETTINGS_MODULE: "tests.settings" };

const python = (code, input) =>
  JSON.parse(execFileSync(`${ROOT}.venv/bin/python`, ["-c", SETUP + code], { cwd: ROOT, env, input }));

export const catalogue = python("print(json.dumps(words.catalogue(for_staff=True)))", "");

/** Return the words in another language. */
export const catalogueIn = (language) =>
  python(
    "from django.utils import translation; translation.activate(sys.stdin.read()); print(json.dumps(words.catalogue()))",
    language,
  );

export const serverTexts = (states) =>
  python("print(json.dumps([words.status_text(state) for state in json.load(sys.stdin)]))", JSON.stringify(states));
