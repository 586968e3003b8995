// The official MCP SDK for Node: node mcp.mjs URL. Prints the server's name, its tools, the result of a call, and the
// error of one of no tool, as JSON.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const client = new Client({ name: "tests", version: "1.0.0" });
await client.connect(new StreamableHTTPClientTransport(new URL(process.argv[2])));
const { tools } = await client.listTools();
const result = await client.callTool({ name: "calculate", arguments: { expression: "6 * 7" } });
const refused = await client.callTool({ name: "nothing", arguments: {} }).catch((error) => error.code);
const server = client.getServerVersion().name;
console.log(JSON.stringify({ server, tools: tools.map((tool) => tool.name), result, refused }));
await client.close();
