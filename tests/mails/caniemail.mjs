// Reads HTML from stdin; writes, as JSON, what the mail programs named as arguments do not support: [[program, feature], …].
import { readFileSync } from "node:fs";
import { caniemail } from "../node/node_modules/caniemail/dist/index.js";

const { issues } = caniemail({ clients: process.argv.slice(2), html: readFileSync(0, "utf8") });
const found = [...issues.errors].flatMap(([program, all]) => all.map((issue) => [program, issue.title]));
console.log(JSON.stringify(found));
