/** The words of the page as exports/words.py has them, in English. */

import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const SCRIPT = "import django, json; django.setup(); from exports.words import catalogue; print(json.dumps(catalogue()))";
const env = { ...process.env, DJANGO_SETTINGS_MODULE: "tests.settings" };

export const catalogue = JSON.parse(execFileSync(`${ROOT}.venv/bin/python`, ["-c", SCRIPT], { cwd: ROOT, env }));
