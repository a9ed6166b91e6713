// node run.mjs NODE_MODULES CHECKS WHEEL...
// Start Pyodide, load the wheels and run the checks in it. run.py calls this script.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { Ai } from "./binding.mjs";

const [modules, checks, ...wheels] = process.argv.slice(2);
const { loadPyodide } = await import(pathToFileURL(join(modules, "pyodide", "pyodide.mjs")).href);

const requestedUrls = [];
globalThis.fetch = (url) => {
  requestedUrls.push(String(url));
  throw new TypeError(`These checks must not use the network: ${url}`);
};

const pyodide = await loadPyodide();
await pyodide.loadPackage(wheels, { messageCallback: () => {}, errorCallback: console.error });
pyodide.registerJsModule("worker", { newAi: () => new Ai() });
pyodide.FS.writeFile("checks.py", readFileSync(checks));
const failed = await pyodide.runPythonAsync(`
import sys

sys.modules["ssl"] = None  # some Python Workers have no ssl
sys.path.insert(0, ".")
import checks

await checks.main()
`);
if (requestedUrls.length) console.log(`requests to the network: ${requestedUrls.join(", ")}`);
process.exit(failed || requestedUrls.length ? 1 : 0);
