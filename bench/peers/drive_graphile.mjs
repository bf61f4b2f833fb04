// graphile-worker, driven: 24 jobs at a time in one process, a local queue of 500 and batched completions, as its page on performance
// has it for throughput; without the local queue, which costs latency, where latency is measured. Its clock begins at the first job.
//
// Of a finished job it keeps nothing: the row is deleted.

import { awaitStart, chunks, GAP_MS, main, now, rate, require, settle, sleep, startProducer, Tally, twoWorkers } from "./driving.mjs";

const { makeWorkerUtils, run, runMigrations, Logger } = require("graphile-worker");

const CONCURRENT = 24;
const QUIET = new Logger(() => () => {});
const BATCHES = { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 };

async function utils(url) {
  await runMigrations({ connectionString: url, logger: QUIET });
  return makeWorkerUtils({ connectionString: url, logger: QUIET });
}

async function fill(adding, count) {
  for (const size of chunks(count)) await adding.addJobs(Array.from({ length: size }, () => ({ identifier: "noop", payload: {} })));
}

function start(url, tally, worker = {}) {
  return run({
    taskList: { noop: async (payload) => tally.mark(payload.at) },
    preset: {
      worker: { connectionString: url, concurrentJobs: CONCURRENT, maxPoolSize: 10, logger: QUIET, ...worker },
    },
    noHandleSignals: true,
  });
}

async function drain(url, count) {
  await fill(await utils(url), count);
  settle(url);
  const tally = new Tally(count);
  const runner = await start(url, tally, BATCHES);
  await tally.ended;
  await runner.stop();
  return tally.rate();
}

async function drain_two(url, count) {
  await fill(await utils(url), count);
  settle(url);
  return twoWorkers(url, count);
}

async function worker(url, count) {
  const tally = new Tally(count);
  await awaitStart();
  await start(url, tally, BATCHES);
  return tally.idle();
}

async function enqueue_bulk(url, count) {
  const adding = await utils(url);
  const started = now();
  await fill(adding, count);
  return rate(count, started);
}

async function enqueue_single(url, count) {
  const adding = await utils(url);
  await adding.addJob("noop", {});
  const started = now();
  for (let n = 0; n < count; n++) await adding.addJob("noop", {});
  return rate(count, started);
}

async function start_latency(url, count) {
  await utils(url);
  const tally = new Tally(count);
  await start(url, tally);
  await sleep(1000);
  startProducer(url, count);
  await tally.ended;
  return tally.percentiles();
}

async function produce(url, count) {
  const adding = await makeWorkerUtils({ connectionString: url, logger: QUIET });
  for (let n = 0; n < count; n++) {
    await sleep(GAP_MS);
    await adding.addJob("noop", { at: now() });
  }
}

main({ drain, drain_two, worker, enqueue_bulk, enqueue_single, start_latency, produce });
