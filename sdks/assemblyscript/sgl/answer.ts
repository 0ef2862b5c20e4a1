// Writing answers.
import { Answer, Choice } from "./choice";

const SMALL: u32 = 128;
const small: usize = heap.alloc(SMALL);
let out: usize = small;
let room: u32 = SMALL;
let written: u32 = 0;

@inline function put(byte: u32): void {
  if (written < room) store<u8>(out + written++, u8(byte));
}

function putBigEndian(marker: u32, value: u64, width: i32): void {
  put(marker);
  while (width-- > 0) put(u32(value >> u64(8 * width) & 0xff));
}

function putUint(value: u64): void {
  if (value < 0x80) put(u32(value));
  else if (value <= 0xff) putBigEndian(0xcc, value, 1);
  else if (value <= 0xffff) putBigEndian(0xcd, value, 2);
  else if (value <= 0xffffffff) putBigEndian(0xce, value, 4);
  else putBigEndian(0xcf, value, 8);
}

function putBytes(marker8: u32, at: usize, length: u32): void {
  if (marker8 === 0xd9 && length < 32) put(0xa0 | length);
  else if (length <= 0xff) putBigEndian(marker8, length, 1);
  else if (length <= 0xffff) putBigEndian(marker8 + 1, length, 2);
  else putBigEndian(marker8 + 2, length, 4);
  for (let i: u32 = 0; i < length; i++) put(load<u8>(at + i));
}

function putText(text: string): void {
  const bytes = String.UTF8.encode(text);
  putBytes(0xd9, changetype<usize>(bytes), bytes.byteLength);
}

function putTag(choice: Choice): void {
  if (choice.tagged) putUint(choice.tag);
  else put(0xc0);
}

// Room for an answer of this size; what was there is given up.
@inline function start(size: u32): void {
  written = 0;
  if (size > room) grow(size);
}

function grow(size: u32): void {
  if (out !== small) heap.free(out);
  out = heap.alloc(size);
  room = size;
}

@inline function answered(): i64 { return i64(u64(out) << 32 | u64(written)); }

export function failed(why: string): i64 {
  start(u32(why.length) * 3 + 16);
  put(0x81);
  putText("error");
  putText(why);
  return answered();
}

function putPutOff(choice: Choice): void {
  if (choice.is === Answer.Wait) {
    putText("wait");
    put(0x82);
    putText("key");
    putBigEndian(0xcb, reinterpret<u64>(choice.key), 8);
    putText("deadline_ms");
    putUint(choice.ms);
  } else if (choice.is === Answer.Shed) {
    putText("shed");
    put(0x81);
    putText("retry_after_ms");
    putUint(choice.ms);
  }
}

function putCost(key: string, cost: f32): void {
  putText(key);
  putBigEndian(0xca, reinterpret<u32>(cost), 4);
}

// The answer as a map of what it has.
function answeredMap(choice: Choice, pair: bool): i64 {
  const text = choice.text;
  let scores = choice.scores;
  if (pair) scores = null;
  if (choice.is === Answer.Failed) return failed(text === null ? "" : text);
  const chosen = choice.is === Answer.Worker || choice.is === Answer.Pair;
  const both = pair ? 2 : 1;
  let keys = (chosen ? both : 0) + i32(choice.tagged) + (choice.costs ? both : 0);
  keys += i32(text !== null) + i32(scores !== null) + i32(choice.is === Answer.Wait || choice.is === Answer.Shed);
  start(160 + (text === null ? 0 : u32(text.length) * 3) + (scores === null ? 0 : u32(scores.length) * 4));
  put(0x80 | keys);
  if (chosen) {
    putText(pair ? "prefill" : "selected_worker");
    putUint(choice.first);
    if (pair) {
      putText("decode");
      putUint(choice.second);
    }
  }
  if (scores !== null) {
    putText("scores");
    putBytes(0xc4, changetype<usize>(scores), u32(scores.length) * 4);
  }
  if (text !== null) {
    putText("reason");
    putText(text);
  }
  if (choice.tagged) {
    putText("tag");
    putUint(choice.tag);
  }
  if (choice.costs) {
    putCost("cost", choice.cost);
    if (pair) putCost("decode_cost", choice.decodeCost);
  }
  putPutOff(choice);
  return answered();
}

@inline export function encode(choice: Choice): i64 {
  const plain = choice.is <= Answer.Worker && choice.text === null && choice.scores === null;
  if (!plain) return answeredMap(choice, false);
  start(0);
  if (choice.is === Answer.Nobody) {
    put(0xc0);
  } else if (choice.tagged || choice.costs) {
    put(0x93);
    putUint(choice.first);
    putTag(choice);
    putBigEndian(0xca, reinterpret<u32>(choice.costs ? choice.cost : 0), 4);
  } else {
    putUint(choice.first);
  }
  return answered();
}

export function encodePair(choice: Choice): i64 {
  if (choice.is === Answer.Worker) return failed("selectPair answered with one worker; answer with Choice.pair");
  if (choice.is > Answer.Pair || choice.text !== null || choice.tagged || choice.costs) return answeredMap(choice, true);
  start(0);
  if (choice.is === Answer.Nobody) {
    put(0xc0);
  } else {
    put(0x92);
    putUint(choice.first);
    putUint(choice.second);
  }
  return answered();
}
