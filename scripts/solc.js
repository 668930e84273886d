#!/usr/bin/env node
// The `solc` command over the npm package of the same name, as far as py-solc-x asks for it: `--version` and `--standard-json`.
// A copy of this file stands where SOLCX_BINARY_PATH points, so the package is looked for upwards from there and from the working folder.
"use strict";
const fs = require("fs");
const path = require("path");

const solc = require(require.resolve("solc", { paths: [process.cwd(), __dirname] }));
const options = process.argv.slice(2);

if (options.includes("--version")) {
  console.log(`solc, the solidity compiler commandline interface\nVersion: ${solc.version()}`);
} else if (options.includes("--standard-json")) {
  const read = (name) => {
    try {
      return { contents: fs.readFileSync(path.resolve(name), "utf8") };
    } catch (error) {
      return { error: `${name}: ${error.message}` };
    }
  };
  process.stdout.write(solc.compile(fs.readFileSync(0, "utf8"), { import: read }));
} else {
  console.error(`solc: only --version and --standard-json are served, not: ${options.join(" ")}`);
  process.exitCode = 1;
}
