// node run.mjs NPM_DIRECTORY CHECKS_DIRECTORY WHEEL...
// Starts Pyodide, loads the wheels and runs checks.py there. tests/pyodide/run.py calls it.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { Ai } from "./binding.mjs";

const [npm, checks, ...wheels] = process.argv.slice(2);
const { loadPyodide } = await import(pathToFileURL(join(npm, "node_modules", "pyodide", "pyodide.mjs")).href);

const refused = [];
globalThis.fetch = (url) => {
  refused.push(String(url));
  throw new TypeError(`no network in these checks: ${url}`);
};

const pyodide = await loadPyodide();
await pyodide.loadPackage(wheels, { messageCallback: () => {}, errorCallback: console.error });
pyodide.registerJsModule("worker", { newAi: () => new Ai() });
pyodide.FS.writeFile("checks.py", readFileSync(join(checks, "checks.py")));
const failed = await pyodide.runPythonAsync("import sys; sys.path.insert(0, '.'); import checks; await checks.main()");
if (refused.length) console.log(`the network was asked for: ${refused.join(", ")}`);
process.exit(failed || refused.length ? 1 : 0);
