#!/usr/bin/env node
// A bridge for Node.js, with ioredis (5 or newer), written from docs/bridge-protocol.md.
// Its devices are in this process: they answer a call with its params.  For real ones call
// connect() and disconnect() from your transport, and put it into writeToDevice().
//
//     REDIS_URL=redis://user:password@127.0.0.1:6379 node bridge.js NAME DEVICE-ID ...
'use strict';
const { randomUUID } = require('node:crypto');
const { Redis } = require('ioredis');

const [PREFIX, TTL, SWEEP] = ['tb:', 60000, 5000];      // ms a session lives, between looks
const REFUSED = /^(ERR (?!Function not found)|WRONGTYPE)/;      // all others pass by themselves
const [name, ...devices] = process.argv.slice(2);
if (!name) throw new Error('usage: node bridge.js NAME DEVICE-ID ...');
const options = {
    maxRetriesPerRequest: null,                 // what has no reply is sent again, in order
    retryStrategy: (n) => Math.min(100 * 2 ** Math.min(n, 6), 5000) * (0.5 + Math.random() / 2),
    autoResubscribe: false, enableReadyCheck: false,            // that would need INFO
};
const report = (e) => console.log(e.message || e.code);
const [commands, bells] = [{ socketTimeout: 10000 }, {}].map((more) => new Redis(
    process.env.REDIS_URL ?? 'redis://127.0.0.1:6379', { ...options, ...more }).on('error', report));
const claimer = `${name}:${randomUUID()}`;      // this process, this start
const [sessions, rung, sweep] = [new Map(), new Set(), []];     // device -> its connection; shards
let [shards, ticket, stopping, wake] = [0, Date.now() * 1000, false, () => {}];

const sleep = (ms) => new Promise((done) => { setTimeout(done, ms); });
const crcBits = (crc) => Array(8).fill().reduce((c) => (c >>> 1) ^ (0xedb88320 & -(c & 1)), crc);
const crc32 = (s) => ~Buffer.from(s).reduce((crc, byte) => crcBits(crc ^ byte), -1) >>> 0;
const key = (shard, rest) => `${PREFIX}{s${shard.toString(8).padStart(3, '0')}}:${rest}`;
const shardOf = (device) => crc32(device) % shards;

async function patiently(command) {             // what a bridge says may be repeated; null: refused
    for (let wait = 100; ; wait = Math.min(wait * 2, 5000)) {
        try { return await command(); } catch (e) {
            report(e);
            if (REFUSED.test(e.message)) return null;
            await sleep(wait * (0.5 + Math.random() / 2));
        }
    }
}
const fcall = (func, ...args) => patiently(() => commands.fcall(`tb_rpc_${func}`, 1, ...args));
const call = (func, device, ...args) => fcall(func, key(shardOf(device), `device:${device}`), ...args);

function connect(device, session = randomUUID()) {      // new for each connection
    sessions.set(device, session);
    return call('attach', device, name, session, TTL);  // unknown: again at a heartbeat
}

function disconnect(device) {
    const session = sessions.get(device);
    return sessions.delete(device) && call('detach', device, session);
}

async function heartbeats() {                   // up to 256 devices of a shard may go at once
    for (const [device, session] of [...sessions]) {
        const reply = await fcall('heartbeat', key(shardOf(device), 'due'), TTL, device, session);
        if (!reply?.length || sessions.get(device) !== session) continue;
        if (reply[1] === 0) await connect(device, session);     // Redis has come back empty
        else if (sessions.delete(device)) console.log(`${device} is connected elsewhere`);
    }
}

const writeToDevice = async (c, params) =>      // here it answers at once, or not at all (undefined)
    (c.oneway || c.method === 'mute' ? undefined : params);

function paramsOf(text) {                       // their bytes, as they came
    const [part, start] = [/"(?:[^"\\]|\\.)*"|[[{]|[\]}]|,/g, text.indexOf(',"params":') + 10];
    part.lastIndex = start;
    for (let depth = 0, m; (m = part.exec(text)) && (m[0] !== ',' || depth > 0);) {
        depth += '[{'.includes(m[0]) - ']}'.includes(m[0]);
    }
    return text.slice(start, part.lastIndex - 1);
}

async function deliver(text, start, away) {
    const c = JSON.parse(text);
    if (away.has(c.deviceId) || !sessions.has(c.deviceId)) {
        away.add(c.deviceId);                   // its later ones too: nothing overtakes
        await call('return', c.deviceId, c.requestId, c.attempt);
    } else if (performance.now() < start + c.expirationTime - c.takenTime) {
        const answer = await writeToDevice(c, paramsOf(text));
        await call('delivered', c.deviceId, c.requestId, c.attempt);
        if (answer !== undefined) await call('respond', c.deviceId, c.requestId, answer);
    }
}

async function take(shard) {                    // the same ticket when the reply is lost
    const args = [key(shard, `queue:${name}`), claimer, ++ticket, 64];
    const [left, ...batch] = await fcall('take', ...args) ?? [0];
    const [start, away] = [performance.now(), new Set()];
    sweep[shard] = start + SWEEP * (0.8 + Math.random() / 5);
    if (left) rung.add(shard);
    for (const text of batch) await deliver(text, start, away).catch(report);
}

async function listen() {
    const all = Array.from({ length: shards }, (_, n) => n);
    await bells.ssubscribe(...all.map((n) => key(n, `bell:${name}`)));
    all.forEach(rung.add, rung);                // what came before we heard its bell
    wake();
    await heartbeats();
}

async function main() {
    const finish = () => { stopping = true; setTimeout(process.exit, 10000, 1); };
    process.on('SIGTERM', finish).on('SIGINT', finish);         // Redis may be away
    while (!(shards = Number(await patiently(() => commands.hget(`${PREFIX}meta`, 'shards'))))) {
        await sleep(1000);
    }
    await Promise.all(devices.map((device) => connect(device.toLowerCase())));
    bells.on('ready', () => listen().catch(report)).on('smessage', (channel) => {
        wake(rung.add(parseInt(channel.slice(PREFIX.length + 2), 8)));
    });
    if (bells.status === 'ready') await listen();
    setInterval(heartbeats, TTL / 3);
    console.log('ready');
    while (!stopping) {
        if (!rung.size) await Promise.race([sleep(200), new Promise((done) => { wake = done; })]);
        sweep.forEach((at, n) => performance.now() > at && rung.add(n));
        for (const shard of [...rung]) await (rung.delete(shard) && take(shard));
    }
    await Promise.all([...sessions.keys()].map(disconnect));
    process.exit(0);
}
main();
