#!/usr/bin/env node
//
// A bridge for Node.js, with ioredis (5 or newer), written from docs/bridge-protocol.md.
// Its devices are in this process: they answer a call with its params.  For real ones call
// connect() and disconnect() from your transport, and put it into writeToDevice().
//
//     REDIS_URL=redis://user:password@127.0.0.1:6379 node bridge.js NAME DEVICE-ID ...

'use strict';
const { randomUUID } = require('node:crypto');
const { Redis } = require('ioredis');

const PREFIX = 'tb:';
const TTL = 60000;                              // ms until a device without heartbeat is offline
const TRANSIENT = new RegExp('^(LOADING|BUSY|READONLY|MISCONF|MASTERDOWN|NOREPLICAS|CLUSTERDOWN'
    + '|TRYAGAIN|ERR Function not found)');     // passes by itself

const [name, ...devices] = process.argv.slice(2);
if (!name) throw new Error('usage: node bridge.js NAME DEVICE-ID ...');
const url = process.env.REDIS_URL ?? 'redis://127.0.0.1:6379';
const options = {
    maxRetriesPerRequest: null,                 // what has no reply is sent again, in order
    retryStrategy: (n) => Math.min(100 * 2 ** Math.min(n, 6), 5000) * (0.5 + Math.random() / 2),
    socketTimeout: 10000,
    enableReadyCheck: false,                    // it would need the right to INFO
};
const report = (e) => console.log(e.message || e.code);
const [commands, pops] = [1, 2].map(() => new Redis(url, options).on('error', report));
const claimer = `${name}:${randomUUID()}`;      // this process, this start
const sessions = new Map();                     // device -> its connection
let [shards, stopping] = [0, false];

const sleep = (ms) => new Promise((done) => { setTimeout(done, ms); });
const crcBits = (crc) => Array(8).fill().reduce((c) => (c >>> 1) ^ (0xedb88320 & -(c & 1)), crc);
const crc32 = (s) => ~Buffer.from(s).reduce((crc, byte) => crcBits(crc ^ byte), -1) >>> 0;

// again until Redis takes it: all that a bridge says may be repeated; null: refused
async function patiently(command) {
    for (let wait = 100; ; wait = Math.min(wait * 2, 5000)) {
        try {
            return await command();
        } catch (e) {
            report(e);
            if (!TRANSIENT.test(e.message)) return sleep(20).then(() => null);  // or it is full
            await sleep(wait * (0.5 + Math.random() / 2));
        }
    }
}

const fcall = (func, device, ...args) =>
    commands.fcall(func, 1, `${PREFIX}{s${crc32(device) % shards}}:device:${device}`, ...args);
const call = (...args) => patiently(() => fcall(...args));

async function attach(device, session) {
    const current = () => sessions.get(device) === session;
    const again = () => current() && fcall('tb_rpc_attach', device, name, session, TTL);
    if (await patiently(again) === -1 && current()) {
        console.log(`${device} is connected elsewhere`);
        sessions.delete(device);
    }
}

const heartbeats = () => Promise.all([...sessions].map(([d, s]) => attach(d, s)));

function connect(device) {
    sessions.set(device, randomUUID());         // new for each connection
    return attach(device, sessions.get(device));
}

function disconnect(device) {
    const session = sessions.get(device);
    sessions.delete(device);                    // no heartbeat comes after this
    return call('tb_rpc_detach', device, session);
}

// the transport; here the device answers at once, or not at all (undefined)
async function writeToDevice(c) {
    return c.oneway || c.method === 'mute' ? undefined : JSON.stringify(c.params);
}

async function deliver(c) {
    const id = [c.deviceId, c.requestId];
    if (!sessions.has(c.deviceId)) return;      // not claimed, so it is pushed again
    if (await call('tb_rpc_sent', ...id, c.attempt, claimer) !== 1) return;     // not wanted
    const answer = await writeToDevice(c);
    await call('tb_rpc_delivered', ...id, c.attempt);
    if (answer !== undefined) await call('tb_rpc_respond', ...id, answer);
}

async function main() {
    const finish = () => { stopping = true; setTimeout(process.exit, 10000, 1); };
    process.on('SIGTERM', finish).on('SIGINT', finish);         // Redis may be away
    const hget = () => commands.hget(`${PREFIX}meta`, 'shards');
    while (!(shards = Number(await patiently(hget)))) await sleep(1000);
    const queues = Array.from({ length: shards }, (_, n) => `${PREFIX}{s${n}}:queue:${name}`);
    const pop = () => pops.blmpop(1, shards, ...queues, 'LEFT', 'COUNT', 64);
    await Promise.all(devices.map((device) => connect(device.toLowerCase())));
    commands.on('ready', heartbeats);           // Redis may have come back empty
    (async () => { for (;;) { await sleep(TTL / 3); await heartbeats(); } })();
    console.log('ready');
    while (!stopping) {
        queues.push(queues.shift());            // another shard first
        const turns = new Map();                // one call after another to each device
        for (const envelope of (await patiently(pop))?.[1] ?? []) {
            try {
                const c = JSON.parse(envelope);
                const before = Promise.resolve(turns.get(c.deviceId));
                turns.set(c.deviceId, before.then(() => deliver(c)).catch(report));
            } catch (e) {
                report(e);                      // no envelope stops the others
            }
        }
        await Promise.all(turns.values());
    }
    await Promise.all([...sessions.keys()].map(disconnect));
    process.exit(0);
}

main();
