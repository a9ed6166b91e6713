// node run.mjs NODE_MODULES CHECKS WHEEL...
// Starts Pyodide, loads the wheels and runs the checks there. run.py calls it.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { Ai } from "./binding.mjs";

const [modules, checks, ...wheels] = process.argv.slice(2);
const { loadPyodide } = await import(pathToFileURL(join(modules, "pyodide", "pyodide.mjs")).href);

const refused = [];
globalThis.fetch = (url) => {
  refused.push(String(url));
  throw new TypeError(`no network in these checks: ${url}`);
};

const pyodide = await loadPyodide();
await pyodide.loadPackage(wheels, { messageCallback: () => {}, errorCallback: console.error });
pyodide.registerJsModule("worker", { newAi: () => new Ai() });
pyodide.FS.writeFile("checks.py", readFileSync(checks));
const failed = await pyodide.runPythonAsync(`
import sys

sys.modules["ssl"] = None  # some Python Workers have none
sys.path.insert(0, ".")
import checks

await checks.main()
`);
if (refused.length) console.log(`the network was asked for: ${refused.join(", ")}`);
process.exit(failed || refused.length ? 1 : 0);
