// The worker table.
import { Maybe, Text } from "./element";
import { Kind, Reader } from "./reader";
import { Role } from "./words";

// What is known of a worker and rarely changes. Its texts point into the table.
export class Worker {
  url: Text = new Text("");
  model: Text = new Text("");
  engine: Text = new Text("");
  role: Role = Role.Regular;
  weight: f64 = 1;
  kvCapacityTokens: Maybe = new Maybe("");
  blockSize: Maybe = new Maybe("");
  maxRunningRequests: Maybe = new Maybe("");
  dpRank: Maybe = new Maybe("");
  private labels: Reader = new Reader();
  private labelCount: u32 = 0;
  private models: Reader = new Reader();
  private modelCount: u32 = 0;
  private found: Text = new Text("");

  // The value of a label, nil if the worker has none of that name; good until the next question.
  label(name: string): Text {
    const start = this.labels.at, key = this.found;
    let found = false;
    for (let left = this.labelCount; left > 0 && !found; left--) {
      key.read(this.labels);
      found = key.is(name);
      key.read(this.labels);
    }
    this.labels.at = start;
    if (!found) key.clear();
    return key;
  }

  // True if the worker is known to serve under this name.
  serves(name: string): bool {
    const start = this.models.at;
    let serves = false;
    for (let left = this.modelCount; left > 0 && !serves; left--) {
      this.found.read(this.models);
      serves = this.found.is(name);
    }
    this.models.at = start;
    return serves;
  }

  // Reads one; false if it is none.
  read(r: Reader): bool {
    this.clear();
    if (!r.is(Kind.Map)) return false;
    for (let left = r.count; left > 0; left--) if (!this.found.read(r) || !this.readKey(r, this.found)) return false;
    return !this.url.isNil;
  }

  private clear(): void {
    this.url.clear();
    this.model.clear();
    this.engine.clear();
    this.role = Role.Regular;
    this.weight = 1;
    this.kvCapacityTokens.known = false;
    this.blockSize.known = false;
    this.maxRunningRequests.known = false;
    this.dpRank.known = false;
    this.labelCount = 0;
    this.modelCount = 0;
  }

  private readKey(r: Reader, key: Text): bool {
    if (key.is("url")) return this.url.read(r);
    if (key.is("model")) return this.model.readMaybe(r);
    if (key.is("engine")) return this.engine.readMaybe(r);
    if (key.is("role")) return this.readRole(r);
    if (key.is("weight")) return this.readWeight(r);
    if (key.is("kv_capacity_tokens")) return this.readFact(r, this.kvCapacityTokens);
    if (key.is("block_size")) return this.readFact(r, this.blockSize);
    if (key.is("max_running_requests")) return this.readFact(r, this.maxRunningRequests);
    if (key.is("dp_rank")) return this.readFact(r, this.dpRank);
    if (key.is("labels")) {
      if (r.nil()) return true;
      if (!r.is(Kind.Map)) return false;
      this.labelCount = r.count;
      return this.readTexts(r, this.labels, r.count * 2);
    }
    if (key.is("models")) {
      if (r.nil()) return true;
      if (!r.is(Kind.Array)) return false;
      this.modelCount = r.count;
      return this.readTexts(r, this.models, r.count);
    }
    return r.skip();
  }

  private readRole(r: Reader): bool {
    if (!this.found.read(r)) return false;
    this.role = this.found.is("prefill") ? Role.Prefill : this.found.is("decode") ? Role.Decode : Role.Regular;
    return this.role !== Role.Regular || this.found.is("regular");
  }

  private readWeight(r: Reader): bool {
    if (!r.head() || !r.isNumber) return false;
    this.weight = r.asNumber;
    return true;
  }

  private readFact(r: Reader, to: Maybe): bool {
    if (!to.read(r)) return false;
    if (to.number > u32.MAX_VALUE) to.known = false;
    return true;
  }

  // Steps over as many texts, and remembers where they are.
  private readTexts(r: Reader, texts: Reader, count: u32): bool {
    texts.open(r.at, r.left);
    for (; count > 0; count--) if (!r.is(Kind.Str)) return false;
    return true;
  }
}

// The table of the workers that the messages speak of, kept as the bytes that came.
export class Table {
  version: u64 = 0;
  length: i32 = 0;
  // False until there was one: a policy that does not export on_workers has none.
  kept: bool = false;
  private bytes: usize = 0;
  private starts: usize = 0;
  private size: u32 = 0;

  private worker: Worker = new Worker();
  private reader: Reader = new Reader();

  // The facts of one worker; good until the next question.
  get(index: i32): Worker {
    assert(u32(index) < u32(this.length), "worker beyond the last");
    const start = load<u32>(this.starts + 4 * usize(index));
    this.reader.open(this.bytes + start, this.size - start);
    // It was read when the table came.
    this.worker.read(this.reader);
    return this.worker;
  }

  // Takes a copy of a message; false leaves the table that there was.
  replace(at: usize, length: u32): bool {
    const next = new Table();
    next.bytes = heap.alloc(max(length, 1));
    next.size = length;
    memory.copy(next.bytes, at, length);
    if (!next.index()) {
      next.free();
      return false;
    }
    this.free();
    this.version = next.version;
    this.length = next.length;
    this.bytes = next.bytes;
    this.starts = next.starts;
    this.size = next.size;
    return true;
  }

  private free(): void {
    if (this.bytes !== 0) heap.free(this.bytes);
    if (this.starts !== 0) heap.free(this.starts);
  }

  private index(): bool {
    const r = Reader.of(this.bytes, this.size);
    let versioned = false, listed = false;
    if (!r.is(Kind.Map)) return false;
    for (let left = r.count; left > 0; left--) {
      if (!r.is(Kind.Str)) return false;
      const key = r.text;
      if (key === "version") {
        if (!r.is(Kind.Uint)) return false;
        this.version = r.number;
        versioned = true;
      } else if (key === "workers" && !listed) {
        if (!this.indexWorkers(r)) return false;
        listed = true;
      } else if (!r.skip()) return false;
    }
    return versioned && listed && r.at === r.end;
  }

  private indexWorkers(r: Reader): bool {
    if (!r.is(Kind.Array)) return false;
    this.length = i32(r.count);
    this.starts = heap.alloc(max<usize>(4 * usize(r.count), 1));
    for (let i = 0; i < this.length; i++) {
      store<u32>(this.starts + 4 * usize(i), u32(r.at - this.bytes));
      if (!this.worker.read(r)) return false;
    }
    return true;
  }
}

export const table = new Table();
