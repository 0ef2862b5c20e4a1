// The functions that the router calls.
import { encode, encodePair, failed } from "./answer";
import { log } from "./host";
import { Init } from "./init";
import { Completion, FirstToken, context, policy } from "./policy";
import { Kind, Reader } from "./reader";
import { table } from "./table";
import { Level } from "./words";

const NOT_READY = "the plugin decides before `init` succeeded";
// What a policy may have allocated in decisions is collected once in so many.
const COLLECT_EVERY: u32 = 1024;
let decisions: u32 = 0;
let ready: bool = false;
const message = new Reader();

export function alloc(size: u32): usize { return size > 1 << 30 ? 0 : heap.alloc(max(size, 1)); }

export function dealloc(at: usize, size: u32): void { heap.free(at); }

export function init(at: usize, length: u32): i64 {
  const told = new Init();
  ready = false;
  if (!told.read(Reader.of(at, length))) return collected(failed("init message is malformed"));
  policy!.init(told);
  if (told.error.length > 0) return collected(failed(told.error));
  ready = true;
  return collected(0);
}

// Nothing of an export lives on when it returns, but for what globals hold.
function collected(result: i64): i64 {
  __collect();
  return result;
}

@inline function decided(result: i64): i64 {
  return ++decisions % COLLECT_EVERY === 0 ? collected(result) : result;
}

export function select_worker(at: usize, length: u32): i64 {
  if (!ready) return failed(NOT_READY);
  message.open(at, length);
  const fault = context.take(message);
  if (fault !== null) return decided(failed(fault));
  return decided(encode(policy!.select(context)));
}

export function select_worker_pair(at: usize, length: u32): i64 {
  if (!ready) return failed(NOT_READY);
  message.open(at, length);
  const fault = context.take(message);
  if (fault !== null) return decided(failed(fault));
  return decided(encodePair(policy!.selectPair(context)));
}

// A message that cannot be read leaves the table as it is: decisions that name the new one are refused.
export function on_workers(at: usize, length: u32): void {
  table.kept = true;
  if (!table.replace(at, length)) log(Level.Error, "worker table message is malformed");
  else if (ready) policy!.onWorkers(table);
  __collect();
}

// Opens a batch of events; the number of its entries, 0 if it belongs to another table or is malformed.
function openBatch(r: Reader): u32 {
  if (!ready || !r.is(Kind.Array) || r.count < 2) return 0;
  const further = r.count - 2;
  if (!r.is(Kind.Uint) || (table.kept && r.number !== table.version)) return 0;
  const entries = r.at;
  for (let left = further + 1; left > 0; left--) if (!r.skip()) return 0;
  if (r.at !== r.end) return 0;
  r.at = entries;
  return r.is(Kind.Array) ? r.count : 0;
}

function readTime(r: Reader): f32 {
  if (r.nil() || !r.head() || !r.isNumber) return f32.NaN;
  return f32(r.asNumber);
}

function readFirstToken(r: Reader, first: FirstToken): bool {
  if (!r.is(Kind.Array) || r.count < 3) return false;
  let further = r.count - 3;
  if (!r.is(Kind.Uint) || r.number > u32.MAX_VALUE) return false;
  first.worker = u32(r.number);
  if (!first.tag.read(r) || !r.head() || !r.isNumber) return false;
  first.ms = f32(r.asNumber);
  while (further-- > 0) if (!r.skip()) return false;
  return true;
}

export function on_first_token(at: usize, length: u32): void {
  const r = Reader.of(at, length), first = new FirstToken();
  for (let left = openBatch(r); left > 0 && readFirstToken(r, first); left--) policy!.onFirstToken(first);
  __collect();
}

function readCompletion(r: Reader, done: Completion): bool {
  if (!r.is(Kind.Array) || r.count < 7) return false;
  const count = r.count;
  if (!r.is(Kind.Uint) || r.number > u32.MAX_VALUE) return false;
  done.worker = u32(r.number);
  if (!r.is(Kind.Bool)) return false;
  done.ok = r.number !== 0;
  if (!done.status.read(r)) return false;
  done.firstByteMs = readTime(r);
  done.totalMs = readTime(r);
  if (!done.promptTokens.read(r) || !done.completionTokens.read(r)) return false;
  done.cachedTokens.known = false;
  done.tag.known = false;
  if (count > 7 && !done.cachedTokens.read(r)) return false;
  if (count > 8 && !done.tag.read(r)) return false;
  for (let further: u32 = 9; further < count; further++) if (!r.skip()) return false;
  return true;
}

export function on_complete(at: usize, length: u32): void {
  const r = Reader.of(at, length), done = new Completion();
  for (let left = openBatch(r); left > 0 && readCompletion(r, done); left--) policy!.onComplete(done);
  __collect();
}

export function on_session_end(at: usize, length: u32): void {
  const r = Reader.of(at, length);
  if (!ready || !r.is(Kind.Array) || r.count < 1 || !r.is(Kind.Array)) return;
  for (let left = r.count; left > 0 && r.is(Kind.Str); left--) policy!.onSessionEnd(r.text);
  __collect();
}

// What was saved, held until the next call.
let saved: ArrayBuffer = new ArrayBuffer(0);

export function save_state(): i64 {
  if (ready) saved = policy!.saveState();
  return i64(u64(changetype<usize>(saved)) << 32 | u64(saved.byteLength));
}

export function restore_state(at: usize, length: u32): void {
  const bytes = new ArrayBuffer(i32(length));
  memory.copy(changetype<usize>(bytes), at, length);
  if (ready) policy!.restoreState(bytes);
  __collect();
}
