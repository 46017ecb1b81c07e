// Node's two clients: http2 with streams at once, https over HTTP/1.1.
// usage: node list.mjs URL CA_FILE TOKEN
import { readFileSync } from "node:fs";
import http2 from "node:http2";
import https from "node:https";

const [url, caFile, token] = process.argv.slice(2);
const { origin, pathname, hostname, port } = new URL(url);
const ca = readFileSync(caFile);
const headers = { authorization: `Bearer ${token}` };
const path = `${pathname}/api/v1/namespaces/default/pods`;

const fail = (why) => {
  console.error(why);
  process.exit(1);
};
setTimeout(() => fail("no answer in time"), 60_000).unref();

const session = http2.connect(origin, { ca });
session.on("error", fail);
const list = () =>
  new Promise((resolve) => {
    const stream = session.request({ ...headers, ":path": path });
    let status = 0;
    let body = "";
    stream.on("response", (head) => (status = head[":status"]));
    stream.on("data", (bytes) => (body += bytes));
    stream.on("error", fail);
    stream.on("end", () => (status === 200 && body.includes("demo") ? resolve() : fail(body)));
  });
await Promise.all(Array.from({ length: 200 }, list));
session.close();

await new Promise((resolve) =>
  https
    .get({ hostname, port, path, ca, headers }, (answer) => {
      if (answer.httpVersion !== "1.1" || answer.statusCode !== 200) fail(answer.statusCode);
      answer.resume().on("end", resolve);
    })
    .on("error", fail),
);
console.log("ok");
