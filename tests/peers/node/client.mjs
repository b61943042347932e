// The TypeScript SDK's client: lists the tools, makes one call, accepts or declines what it is asked, prints JSON.
// node client.mjs URL TOKEN legacy|auto ACTION '{"name": ..., "arguments": {...}}'
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

const [url, token, mode, action, call] = process.argv.slice(2);
const client = new Client(
  { name: 'typescript-peer', version: '1.0.0' },
  { capabilities: { elicitation: { form: {} } }, versionNegotiation: { mode } },
);
const forms = [];
client.setRequestHandler('elicitation/create', async (request) => {
  forms.push(request.params.message);
  return action === 'accept' ? { action, content: {} } : { action };
});
await client.connect(
  new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers: { Authorization: `Bearer ${token}` } } }),
);
const { tools } = await client.listTools();
const result = await client.callTool(JSON.parse(call));
console.log(JSON.stringify({ tools: tools.map((tool) => tool.name), result, forms }));
await client.close();
