#!/usr/bin/env node
// A bridge for Node.js, with ioredis (5 or newer), written from docs/bridge-protocol.md.
// Its devices are in this process: they answer a call with its params.  For real ones call
// connect() and disconnect() from your transport, and put it into writeToDevice().
//     REDIS_URL=redis://user:password@127.0.0.1:6379 node bridge.js NAME DEVICE-ID ...
const { randomUUID } = require('node:crypto');
const { Redis } = require('ioredis');
const [PREFIX, TTL, SWEEP] = ['tb:', 60000, 5000];      // ms a session lives, between looks
const REFUSED = /^(ERR (?!Function not found)|WRONGTYPE)/;      // all others pass by themselves
const [name, ...devices] = process.argv.slice(2);
if (!name) throw new Error('usage: node bridge.js NAME DEVICE-ID ...');
const options = {                               // what has no reply is sent again, in order
    maxRetriesPerRequest: null, autoResubscribe: false, enableReadyCheck: false, keepAlive: 5000,
    retryStrategy: (n) => Math.min(100 * 2 ** Math.min(n, 6), 5000) * (0.5 + Math.random() / 2),
};
const report = (e) => console.log(e.message || e.code);
const redis = (more) => new Redis(process.env.REDIS_URL ?? 'redis://127.0.0.1:6379',
    { ...options, ...more }).on('error', report);
const commands = redis({ socketTimeout: 10000 });
const claimer = `${name}:${randomUUID()}`;      // this process, this start
const [sessions, rung, sweep] = [new Map(), new Set(), []];     // device -> its connection; shards
let [shards, ticket, stopping, wake] = [0, Date.now() * 1000, false, () => {}];

const sleep = (ms) => new Promise((done) => { setTimeout(done, ms); });
const crcBits = (crc) => Array(8).fill().reduce((c) => (c >>> 1) ^ (0xedb88320 & -(c & 1)), crc);
const crc32 = (s) => ~Buffer.from(s).reduce((crc, byte) => crcBits(crc ^ byte), -1) >>> 0;
const key = (n, rest) => `${PREFIX}{s${n.toString(8).padStart(3, '0')}}:${rest}`;
const keyOf = (device, rest) => key(crc32(device) % shards, rest);
async function patiently(command, wait = 100) { // what a bridge says may be repeated
    try { return await command(); } catch (e) {
        if (report(e) || REFUSED.test(e.message)) return null;
        return sleep(wait * (0.5 + Math.random() / 2)).then(
            () => patiently(command, Math.min(wait * 2, 5000)));
    }
}
const fcall = (func, ...args) => patiently(() => commands.fcall(`tb_rpc_${func}`, 1, ...args));
const call = (func, d, ...args) => fcall(func, keyOf(d, `device:${d}`), ...args);
const connect = (d, session = randomUUID()) =>  // new for each connection
    sessions.set(d, session) && call('attach', d, name, session, TTL);
const disconnect = (d, session = sessions.get(d)) =>
    sessions.delete(d) && call('detach', d, session);
async function heartbeats() {                   // up to 256 devices of a shard may go at once
    for (const [d, session] of [...sessions]) {
        const reply = await fcall('heartbeat', keyOf(d, 'due'), TTL, d, session);
        if (!reply?.length || sessions.get(d) !== session) continue;
        if (reply[1] === 0) await connect(d, session);          // Redis is new, or it was unknown
        else if (sessions.delete(d)) console.log(`${d} is connected elsewhere`);
    }
}
// the transport; here the device answers at once, or not at all (undefined)
const writeToDevice = async (c, params) => (c.oneway || c.method === 'mute' ? undefined : params);

function paramsOf(text) {                       // their bytes, as they came
    const [part, start] = [/"(?:[^"\\]|\\.)*"|[[{\]},]/g, text.indexOf(',"params":') + 10];
    part.lastIndex = start;
    for (let depth = 0, m; (m = part.exec(text)[0]) !== ',' || depth > 0;)
        depth += '[{'.includes(m) - ']}'.includes(m);
    return text.slice(start, part.lastIndex - 1);
}
async function deliver(text, start, away) {
    const c = JSON.parse(text);
    const [device, ...ids] = [c.deviceId, c.requestId, c.attempt];
    if (away.has(device) || !sessions.has(device)) {
        away.add(device);                       // its later ones too: nothing overtakes
        await call('return', device, ...ids);
    } else if (performance.now() < start + c.expirationTime - c.takenTime) {
        const answer = await writeToDevice(c, paramsOf(text));
        await call('delivered', device, ...ids);
        if (answer !== undefined) await call('respond', device, ids[0], answer);
    }
}
async function take(n) {                        // the same ticket when the reply is lost
    const take = fcall('take', key(n, `queue:${name}`), claimer, ++ticket, 64);
    const [[left, ...batch], start, away] = [await take ?? [0], performance.now(), new Set()];
    sweep[n] = start + SWEEP * (0.8 + Math.random() / 5);
    if (left) rung.add(n);
    for (const text of batch) await deliver(text, start, away).catch(report);
}
async function main() {
    const finish = () => { stopping = true; setTimeout(process.exit, 10000, 1); };
    process.on('SIGTERM', finish).on('SIGINT', finish);         // Redis may be away
    const meta = () => commands.hget(`${PREFIX}meta`, 'shards');
    while (!(shards = Number(await patiently(meta)))) await sleep(1000);
    await Promise.all(devices.map((device) => connect(device.toLowerCase())));
    const ring = (channel) => wake(rung.add(parseInt(channel.slice(PREFIX.length + 2), 8)));
    const bells = Array.from({ length: shards }, (_, n) => key(n, `bell:${name}`));
    const bell = redis({}).on('smessage', ring).on('ready', () => bell.ssubscribe(...bells).then(
        () => bells.forEach(ring)).then(heartbeats).catch(report));     // Redis may be new
    setInterval(heartbeats, TTL / 3);
    console.log('ready');
    while (!stopping) {
        if (!rung.size) await Promise.race([sleep(200), new Promise((done) => { wake = done; })]);
        sweep.forEach((at, n) => performance.now() > at && rung.add(n));
        for (const n of [...rung]) await (rung.delete(n) && take(n));
    }
    await Promise.all([...sessions.keys()].map((d) => disconnect(d)));
    process.exit(0);
}
main();
