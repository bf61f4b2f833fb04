// What the drivers in JavaScript share: see driving.py, whose shape this is. Packages come from the peer's own folder.

import { execFileSync, spawn } from "node:child_process";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

export const CHUNK = 1000;
export const GAP_MS = 5;
export const require = createRequire(`${process.env.PEER_HOME}/package.json`);
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
export const now = () => Number(process.hrtime.bigint()) / 1e9; // the machine's one monotonic clock
export const rate = (count, started) => count / (now() - started);

export class Tally {
  constructor(count) {
    this.count = count;
    this.seconds = [];
    this.first = this.last = 0;
    this.ended = new Promise((resolve) => (this.end = resolve));
  }

  mark(stamp) {
    this.last = now();
    this.first ||= this.last;
    this.seconds.push(this.last - (stamp ?? this.last));
    if (this.seconds.length >= this.count) this.end();
  }

  rate() {
    return (this.seconds.length - 1) / (this.last - this.first);
  }

  percentiles() {
    const sorted = this.seconds.map((each) => each * 1000).sort((a, b) => a - b);
    const at = (share) => {
      const place = (sorted.length - 1) * share;
      const low = Math.floor(place);
      return sorted[low] + (sorted[Math.min(low + 1, sorted.length - 1)] - sorted[low]) * (place - low);
    };
    return [at(0.5), at(0.99)];
  }

  async idle() {
    const began = now();
    while (now() < (this.last ? this.last + 1 : began + 30)) await sleep(20);
    return [this.first || began, this.last || began];
  }
}

export function chunks(count) {
  const sizes = [];
  for (let at = 0; at < count; at += CHUNK) sizes.push(Math.min(CHUNK, count - at));
  return sizes;
}

/** The rate of two processes running the script's `worker`, let go together once both said they are ready. */
export async function twoWorkers(url, count) {
  const script = process.argv[1];
  const workers = [0, 1].map(() => spawn(process.execPath, [script, "worker", url, count], { stdio: ["pipe", "pipe", "inherit"] }));
  const told = workers.map((worker) => lines(worker.stdout));
  for (const each of told) await each.next();
  for (const worker of workers) worker.stdin.end("go\n");
  const spans = await Promise.all(told.map(async (each) => JSON.parse((await each.next()).value).value));
  return count / (Math.max(...spans.map((span) => span[1])) - Math.min(...spans.map((span) => span[0])));
}

async function* lines(stream) {
  let rest = "";
  for await (const some of stream) {
    const parts = (rest + some).split("\n");
    rest = parts.pop();
    yield* parts;
  }
}

/** As `bench.settling` does for every side, in the benchmark's own interpreter. */
export function settle(url) {
  execFileSync(process.env.BENCH_PYTHON, ["-m", "bench.settling", url]);
}

export async function awaitStart() {
  console.log("ready");
  await new Promise((resolve) => process.stdin.once("data", resolve));
}

export function startProducer(url, count) {
  return spawn(process.execPath, [fileURLToPath(`file://${process.argv[1]}`), "produce", url, count], { stdio: "inherit" });
}

/** Runs the work named on the command line; its value is the last line of stdout, as JSON. */
export async function main(works) {
  const [name, url, count] = [process.argv[2], process.argv[3], Number(process.argv[4])];
  const value = await works[name](url, count);
  if (name !== "produce") process.stdout.write(`${JSON.stringify({ work: name, value })}\n`);
  process.exit(0);
}
