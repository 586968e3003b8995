// A React page as its users build it, with one version of the AI SDK: node bundle.mjs ai|ai6|ai5 < [App.jsx]
// Prints the script as JSON. The app stands in <StrictMode> and React is its development build, as in a new project:
// effects run twice, and what is wrong is said on the console.
import { readFileSync } from "node:fs";
import { build } from "esbuild";

const react = { ai: "@ai-sdk/react", ai6: "ai-sdk-react-6", ai5: "ai-sdk-react-5" };
const version = process.argv[2];
const main = `
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
createRoot(document.body).render(<StrictMode><App /></StrictMode>);`;

const { outputFiles } = await build({
  absWorkingDir: import.meta.dirname,
  stdin: { contents: JSON.parse(readFileSync(0, "utf8")) + main, loader: "jsx", resolveDir: import.meta.dirname },
  alias: { ai: version, "@ai-sdk/react": react[version] },
  define: { "process.env.NODE_ENV": '"development"' },
  jsx: "automatic",
  bundle: true,
  write: false,
});
console.log(JSON.stringify(outputFiles[0].text));
