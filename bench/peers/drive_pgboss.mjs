// pg-boss, driven: batches of 500 by its fetch and complete, two in flight, which is faster than its polling workers; these, at
// their shortest interval of half a second, where latency is measured. Its clock begins at the first job.
//
// Of a finished job it keeps the row with its output (archived after twelve hours).

import { chunks, GAP_MS, main, now, rate, require, settle, sleep, startProducer, Tally } from "./driving.mjs";

const PgBoss = require("pg-boss");

const BATCH = 500;
const QUEUE = "bench";

async function started(url) {
  const boss = new PgBoss({ connectionString: url, supervise: false, schedule: false });
  boss.on("error", () => {});
  await boss.start();
  await boss.createQueue(QUEUE);
  return boss;
}

async function fill(boss, count) {
  for (const size of chunks(count)) await boss.insert(Array.from({ length: size }, () => ({ name: QUEUE, data: {} })));
}

async function drain(url, count) {
  const boss = await started(url);
  await fill(boss, count);
  settle(url);
  const began = now();
  const loop = async () => {
    for (;;) {
      const jobs = await boss.fetch(QUEUE, { batchSize: BATCH });
      if (!jobs.length) return;
      await boss.complete(QUEUE, jobs.map((job) => job.id)); // prettier-ignore
    }
  };
  await Promise.all([loop(), loop()]);
  return rate(count, began);
}

async function enqueue_bulk(url, count) {
  const boss = await started(url);
  const began = now();
  await fill(boss, count);
  return rate(count, began);
}

async function enqueue_single(url, count) {
  const boss = await started(url);
  await boss.send(QUEUE, {});
  const began = now();
  for (let n = 0; n < count; n++) await boss.send(QUEUE, {});
  return rate(count, began);
}

async function start_latency(url, count) {
  const boss = await started(url);
  const tally = new Tally(count);
  await boss.work(QUEUE, { batchSize: BATCH, pollingIntervalSeconds: 0.5 }, async (jobs) => {
    for (const job of jobs) tally.mark(job.data.at);
  });
  await sleep(1000);
  startProducer(url, count);
  await tally.ended;
  return tally.percentiles();
}

async function produce(url, count) {
  const boss = await started(url);
  for (let n = 0; n < count; n++) {
    await sleep(GAP_MS);
    await boss.send(QUEUE, { at: now() });
  }
}

main({ drain, enqueue_bulk, enqueue_single, start_latency, produce });
