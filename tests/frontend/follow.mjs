/**
 * Follow exports as a Node program does. The argument is the site; stdin has the token and the STATEs as JSON. Prints
 * each state that it is told as a line of JSON.
 */

import { readFileSync } from "node:fs";
import { connectTo, follow } from "../../frontend/client.js";

const site = process.argv[2];
const { token, states } = JSON.parse(readFileSync(0, "utf8"));
const connection = connectTo(site, { token });
const print = (state) => console.log(JSON.stringify(state));

await Promise.all(states.map((state) => follow(connection, state, print)));
