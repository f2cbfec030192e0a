// Publishes the messages on standard input (a JSON list of {queue, body}) to RabbitMQ, with confirms, and none of
// Footfall's code: AMQP 0-9-1 over a socket, so that nothing has to be installed but Node.
//
//   node publish.mjs amqp://user:password@host:port/vhost < messages.json

import net from "node:net";
import { readFileSync } from "node:fs";

const url = new URL(process.argv[2]);
const messages = JSON.parse(readFileSync(0, "utf8"));
const FRAME_END = Buffer.from([0xce]);

const u8 = (n) => Buffer.from([n]);
const u16 = (n) => { const b = Buffer.alloc(2); b.writeUInt16BE(n); return b; };
const u32 = (n) => { const b = Buffer.alloc(4); b.writeUInt32BE(n); return b; };
const u64 = (n) => { const b = Buffer.alloc(8); b.writeBigUInt64BE(BigInt(n)); return b; };
const short = (s) => Buffer.concat([u8(Buffer.byteLength(s)), Buffer.from(s)]);
const long = (s) => Buffer.concat([u32(Buffer.byteLength(s)), Buffer.from(s)]);

const frame = (type, channel, payload) => Buffer.concat([u8(type), u16(channel), u32(payload.length), payload, FRAME_END]);
const method = (channel, cls, id, ...args) => frame(1, channel, Buffer.concat([u16(cls), u16(id), ...args]));

function publish(queue, body) {
  const bytes = Buffer.from(body);
  const persistent = Buffer.concat([u16(60), u16(0), u64(bytes.length), u16(1 << 12), u8(2)]);
  return Buffer.concat([
    method(1, 60, 40, u16(0), short(""), short(queue), u8(1)),
    frame(2, 1, persistent),
    frame(3, 1, bytes),
  ]);
}

const socket = net.connect(Number(url.port || 5672), url.hostname, () => socket.write("AMQP\0\0\x09\x01"));
const user = decodeURIComponent(url.username), password = decodeURIComponent(url.password);
const vhost = decodeURIComponent(url.pathname.slice(1)) || "/";
let confirmed = 0;

const replies = {
  "10.10": () => socket.write(method(0, 10, 11, u32(0), short("PLAIN"), long(`\0${user}\0${password}`), short("en_US"))),
  "10.30": (args) => {
    socket.write(method(0, 10, 31, args.subarray(0, 6), u16(0)));
    socket.write(method(0, 10, 40, short(vhost), short(""), u8(0)));
  },
  "10.41": () => socket.write(method(1, 20, 10, short(""))),
  "20.11": () => socket.write(method(1, 85, 10, u8(0))),
  "85.11": () => messages.forEach(({ queue, body }) => socket.write(publish(queue, body))),
  "60.80": (args) => {
    confirmed = args[8] ? Number(args.readBigUInt64BE(0)) : confirmed + 1;
    if (confirmed === messages.length) socket.write(method(0, 10, 50, u16(200), short("bye"), u16(0), u16(0)));
  },
  "10.51": () => socket.destroy(),
};

let waiting = Buffer.alloc(0);
socket.on("data", (data) => {
  waiting = Buffer.concat([waiting, data]);
  while (waiting.length >= 7 && waiting.length >= waiting.readUInt32BE(3) + 8) {
    const size = waiting.readUInt32BE(3);
    const payload = waiting.subarray(7, 7 + size), type = waiting[0];
    waiting = waiting.subarray(size + 8);
    if (type !== 1) continue;
    const name = `${payload.readUInt16BE(0)}.${payload.readUInt16BE(2)}`;
    if (!replies[name]) { console.error(`unexpected ${name}: ${payload.toString("latin1")}`); process.exit(1); }
    replies[name](payload.subarray(4));
  }
});
socket.on("error", (error) => { console.error(error.message); process.exit(1); });
socket.on("close", () => { console.log(`${confirmed} confirmed`); process.exit(confirmed === messages.length ? 0 : 1); });
