// Hosts: `host[:port]` with `*.` in front, as `network` lists them. Must not know any proxy.
// Without a port an entry stands for ports 80 and 443.

const HOST =
  /^(?:(?:\*\.)?(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.?|\[[0-9a-f:.]{2,45}\])(?::([0-9]{1,5}))?$/i;

export const HOST_EXPECTED = "a host such as api.example.com, api.example.com:8443 or *.example.com";

/** What is wrong with one entry; undefined: nothing. */
export function hostProblem(text: string): string | undefined {
  if (text.includes("://")) return `expected ${HOST_EXPECTED}, without the scheme`;
  if (text === "*") return `"*" is not a host; \`network: full\` asks for every host`;
  const match = text.length <= 260 ? HOST.exec(text) : null;
  if (match === null) return `expected ${HOST_EXPECTED}`;
  const port = match[1] === undefined ? 443 : Number(match[1]);
  return port >= 1 && port <= 65_535 ? undefined : `port ${port} does not exist, expected 1 to 65535`;
}

/** Whether everything `asked` reaches is reached by `granted`, too. Both have no hostProblem. */
export function hostCovers(granted: string, asked: string): boolean {
  const grant = split(granted);
  const wish = split(asked);
  const ports = grant.port === undefined ? [undefined, "80", "443"] : [grant.port];
  if (!ports.includes(wish.port)) return false;
  if (grant.host === wish.host) return true;
  return grant.host.startsWith("*.") && wish.host.endsWith(grant.host.slice(1)) && wish.host !== grant.host;
}

function split(entry: string): { host: string; port: string | undefined } {
  const [, host = entry, port] = /^(.*?)(?::(\d+))?$/.exec(entry) ?? [];
  return { host: host.toLowerCase().replace(/\.$/, ""), port: port === undefined ? undefined : String(Number(port)) };
}
