//! Write a routing policy for sgl-router in Zig.
//!
//!     const sgl = @import("sgl_policy");
//!
//!     pub const panic = sgl.panic;
//!     pub const plugin: sgl.Plugin = .{
//!         .name = "first",
//!         .description = "the first worker that may be chosen",
//!         .inputs = &.{ .healthy, .excluded },
//!     };
//!     const Context = sgl.Context(plugin);
//!
//!     const First = struct {
//!         pub fn init(told: *sgl.Init) sgl.Refused!First {
//!             try told.knownKeys(&.{});
//!             return .{};
//!         }
//!         pub fn select(_: *First, ctx: *const Context) sgl.Choice {
//!             var candidates = ctx.candidates();
//!             return sgl.Choice.ofMaybe(candidates.next());
//!         }
//!     };
//!     comptime {
//!         sgl.exportPolicy(plugin, First);
//!     }
//!
//! A policy has `init` and `select`, and what it wants of: onWorkers(self, *const Table), selectPair(self, ctx),
//! onFirstToken(self, FirstToken), onComplete(self, Completion), onSessionEnd(self, []const u8),
//! saveState(self) []const u8 and restoreState(self, []const u8). Each is exported where it is there.
//!
//! ctx.get(.load) of an input that `inputs` does not list is an error of the compiler. On the decision path nothing
//! is allocated, and nothing that is read is trusted. Texts and columns are good until the call returns.

const std = @import("std");

/// For what a policy keeps. Not for decisions.
pub const allocator = std.heap.wasm_allocator;

// ---- The host. ----

const host = struct {
    extern "sgl" fn log(level: u32, at: [*]const u8, length: usize) void;
    extern "sgl" fn counter_add(slot: u32, delta: i64) i64;
    extern "sgl" fn kv_get(key: [*]const u8, key_length: usize, out: [*]u8, room: usize) i32;
    extern "sgl" fn kv_set(key: [*]const u8, key_length: usize, value: [*]const u8, length: usize) i32;
    extern "sgl" fn kv_set_for(key: [*]const u8, key_length: usize, value: [*]const u8, length: usize, ms: u32) i32;
};

pub const Level = enum(u32) { err, warn, info, debug, trace };

/// A line for the router's log.
pub fn log(level: Level, line: []const u8) void {
    host.log(@backingInt(level), line.ptr, line.len);
}

/// Adds to counter 0 to 63 and gives its new value; the lowest i64 for another slot.
pub fn counterAdd(slot: u32, delta: i64) i64 {
    return host.counter_add(slot, delta);
}

/// Why the shared map did not do what was asked.
pub const KvError = error{ BufferTooSmall, ValueTooLarge, Full, BadArgument };

fn kvResult(code: i32) KvError!void {
    return switch (code) {
        -2 => error.BufferTooSmall,
        -3 => error.ValueTooLarge,
        -4 => error.Full,
        -5 => error.BadArgument,
        else => {},
    };
}

/// The value of a key of the shared map, in `out`; null if there is none.
pub fn kvGet(key: []const u8, out: []u8) KvError!?[]u8 {
    const length = host.kv_get(key.ptr, key.len, out.ptr, out.len);
    try kvResult(length);
    return if (length < 0) null else out[0..@intCast(length)];
}

pub fn kvSet(key: []const u8, value: []const u8) KvError!void {
    return kvResult(host.kv_set(key.ptr, key.len, value.ptr, value.len));
}

/// The same for so many milliseconds; 0 removes the key.
pub fn kvSetFor(key: []const u8, value: []const u8, ms: u32) KvError!void {
    return kvResult(host.kv_set_for(key.ptr, key.len, value.ptr, value.len, ms));
}

// ---- Texts up to a bound: errors, reasons, panics. ----

/// What does not fit is cut.
pub const Line = struct {
    bytes: [512]u8 = undefined,
    length: usize = 0,

    pub fn text(line: *const Line) []const u8 {
        return line.bytes[0..line.length];
    }

    pub fn put(line: *Line, more: []const u8) void {
        const taken = @min(more.len, line.bytes.len - line.length);
        @memcpy(line.bytes[line.length..][0..taken], more[0..taken]);
        line.length += taken;
    }

    pub fn putUint(line: *Line, number: u64) void {
        if (number >= 10) line.putUint(number / 10);
        line.put(&.{'0' + @as(u8, @intCast(number % 10))});
    }

    /// To six digits behind the point; above 10¹⁵ only that it is.
    pub fn putNumber(line: *Line, number: f64) void {
        if (number != number) return line.put("NaN");
        if (number < 0) line.put("-");
        const size = @abs(number);
        if (size > 1e15) return line.put(if (isFinite(size)) "more than 1e15" else "infinity");
        const whole: u64 = @trunc(size);
        const millionths: u64 = @trunc((size - @as(f64, @floatFromInt(whole))) * 1e6 + 0.5);
        line.putUint(whole + millionths / 1_000_000);
        var rest = millionths % 1_000_000;
        if (rest == 0) return;
        line.put(".");
        var unit: u64 = 100_000;
        while (rest > 0) : (unit /= 10) {
            line.putUint(rest / unit);
            rest %= unit;
        }
    }

    fn putWord(line: *Line, word: []const u8, first: bool) void {
        line.put(if (first) "`" else ", `");
        line.put(word);
        line.put("`");
    }

    fn putWords(line: *Line, words: []const []const u8) void {
        for (words, 0..) |word, index| line.putWord(word, index == 0);
    }
};

fn isFinite(number: f64) bool {
    return number - number == 0;
}

/// Ends the call as a trap, which the router reports with this message and place.
pub fn fail(at: std.builtin.SourceLocation, message: []const u8) noreturn {
    @branchHint(.cold);
    var line: Line = .{};
    line.put("panicked at ");
    line.put(at.file);
    line.put(":");
    line.putUint(at.line);
    line.put(":\n");
    line.put(message);
    log(.err, line.text());
    @trap();
}

/// fail(@src(), …) unless the condition holds.
pub fn check(condition: bool, at: std.builtin.SourceLocation, message: []const u8) void {
    if (!condition) fail(at, message);
}

/// For `pub const panic = sgl.panic;` in the policy's file: @panic, and what the compiler checks (an index beyond the
/// end, an integer that overflows), reach the router with their message. Where it was is in the names of functions.
pub const panic = std.debug.FullPanic(struct {
    fn report(message: []const u8, _: ?usize) noreturn {
        @branchHint(.cold);
        var line: Line = .{};
        line.put("panicked at ");
        line.put(message);
        log(.err, line.text());
        @trap();
    }
}.report);

// ---- MessagePack out of bytes that nobody vouches for. ----

pub const Malformed = error{Malformed};

/// The head of a value; of arrays and maps the number of elements and entries, which follow.
pub const Value = union(enum) {
    nil,
    boolean: bool,
    uint: u64,
    /// A negative one.
    int: i64,
    float: f64,
    str: []const u8,
    bin: []const u8,
    array: usize,
    map: usize,

    pub fn number(value: Value) ?f64 {
        return switch (value) {
            .uint => |is| @floatFromInt(is),
            .int => |is| @floatFromInt(is),
            .float => |is| is,
            else => null,
        };
    }
};

pub const Reader = struct {
    rest: []const u8,

    fn take(r: *Reader, length: u64) Malformed![]const u8 {
        if (length > r.rest.len) return error.Malformed;
        const taken = r.rest[0..@intCast(length)];
        r.rest = r.rest[@intCast(length)..];
        return taken;
    }

    fn bigEndian(r: *Reader, comptime T: type) Malformed!T {
        const bytes = try r.take(@sizeOf(T));
        return std.mem.readInt(T, bytes[0..@sizeOf(T)], .big);
    }

    /// A count is believed if there are bytes for as many elements.
    fn counted(r: *Reader, count: u64, each: usize) Malformed!usize {
        if (count > r.rest.len / each) return error.Malformed;
        return @intCast(count);
    }

    fn ofInt(value: i64) Value {
        return if (value < 0) .{ .int = value } else .{ .uint = @intCast(value) };
    }

    /// Reads the head of the next value.
    pub noinline fn head(r: *Reader) Malformed!Value {
        const marker = (try r.take(1))[0];
        return switch (marker) {
            0x00...0x7f => .{ .uint = marker },
            0x80...0x8f => .{ .map = try r.counted(marker & 0x0f, 2) },
            0x90...0x9f => .{ .array = try r.counted(marker & 0x0f, 1) },
            0xa0...0xbf => .{ .str = try r.take(marker & 0x1f) },
            0xc0 => .nil,
            0xc2, 0xc3 => .{ .boolean = marker == 0xc3 },
            0xc4 => .{ .bin = try r.take(try r.bigEndian(u8)) },
            0xc5 => .{ .bin = try r.take(try r.bigEndian(u16)) },
            0xc6 => .{ .bin = try r.take(try r.bigEndian(u32)) },
            0xca => .{ .float = @as(f32, @bitCast(try r.bigEndian(u32))) },
            0xcb => .{ .float = @bitCast(try r.bigEndian(u64)) },
            0xcc => .{ .uint = try r.bigEndian(u8) },
            0xcd => .{ .uint = try r.bigEndian(u16) },
            0xce => .{ .uint = try r.bigEndian(u32) },
            0xcf => .{ .uint = try r.bigEndian(u64) },
            0xd0 => ofInt(try r.bigEndian(i8)),
            0xd1 => ofInt(try r.bigEndian(i16)),
            0xd2 => ofInt(try r.bigEndian(i32)),
            0xd3 => ofInt(try r.bigEndian(i64)),
            0xd9 => .{ .str = try r.take(try r.bigEndian(u8)) },
            0xda => .{ .str = try r.take(try r.bigEndian(u16)) },
            0xdb => .{ .str = try r.take(try r.bigEndian(u32)) },
            0xdc => .{ .array = try r.counted(try r.bigEndian(u16), 1) },
            0xdd => .{ .array = try r.counted(try r.bigEndian(u32), 1) },
            0xde => .{ .map = try r.counted(try r.bigEndian(u16), 2) },
            0xdf => .{ .map = try r.counted(try r.bigEndian(u32), 2) },
            0xe0...0xff => .{ .int = @as(i8, @bitCast(marker)) },
            // Extensions: nobody sends any.
            0xc1, 0xc7...0xc9, 0xd4...0xd8 => error.Malformed,
        };
    }

    /// Steps over a value and all that is in it; a loop, so that nesting needs no stack.
    pub fn skip(r: *Reader) Malformed!void {
        var left: u64 = 1;
        while (left > 0) : (left -= 1) {
            left += switch (try r.head()) {
                .array => |count| count,
                .map => |count| 2 * @as(u64, count),
                else => 0,
            };
            if (left - 1 > r.rest.len) return error.Malformed;
        }
    }

    /// The bytes of the next value, stepped over.
    fn raw(r: *Reader) Malformed![]const u8 {
        const start = r.rest;
        try r.skip();
        return start[0 .. start.len - r.rest.len];
    }

    pub fn nil(r: *Reader) bool {
        if (r.rest.len == 0 or r.rest[0] != 0xc0) return false;
        r.rest = r.rest[1..];
        return true;
    }

    pub fn uint(r: *Reader) Malformed!u64 {
        if (r.rest.len >= 9 and r.rest[0] == 0xcf) {
            const value = std.mem.readInt(u64, r.rest[1..9], .big);
            r.rest = r.rest[9..];
            return value;
        }
        return switch (try r.head()) {
            .uint => |value| value,
            else => error.Malformed,
        };
    }

    pub fn maybeUint(r: *Reader) Malformed!?u64 {
        return if (r.nil()) null else try r.uint();
    }

    pub fn number(r: *Reader) Malformed!f64 {
        return (try r.head()).number() orelse error.Malformed;
    }

    pub fn maybeFloat(r: *Reader) Malformed!?f32 {
        return if (r.nil()) null else @floatCast(try r.number());
    }

    pub fn str(r: *Reader) Malformed![]const u8 {
        return switch (try r.head()) {
            .str => |value| value,
            else => error.Malformed,
        };
    }

    pub fn maybeStr(r: *Reader) Malformed!?[]const u8 {
        return if (r.nil()) null else try r.str();
    }

    /// Bytes: the two heads that the router writes for columns, then any.
    pub inline fn bin(r: *Reader) Malformed![]const u8 {
        const rest = r.rest;
        if (rest.len >= 2 and rest[0] == 0xc4) {
            r.rest = rest[2..];
            return r.take(rest[1]);
        }
        if (rest.len >= 3 and rest[0] == 0xc5) {
            r.rest = rest[3..];
            return r.take(@as(usize, rest[1]) << 8 | rest[2]);
        }
        return switch (try r.head()) {
            .bin => |value| value,
            else => error.Malformed,
        };
    }

    pub fn array(r: *Reader) Malformed!usize {
        return switch (try r.head()) {
            .array => |count| count,
            else => error.Malformed,
        };
    }

    pub fn map(r: *Reader) Malformed!usize {
        return switch (try r.head()) {
            .map => |count| count,
            else => error.Malformed,
        };
    }

    pub fn finish(r: *const Reader) Malformed!void {
        if (r.rest.len > 0) return error.Malformed;
    }
};

pub fn same(one: []const u8, other: []const u8) bool {
    return std.mem.eql(u8, one, other);
}

// ---- What a policy may read. ----

/// The inputs, by their names of the ABI.
pub const Input = union(enum) {
    healthy,
    excluded,
    load,
    running,
    waiting,
    queued_tokens,
    kv_usage,
    throughput,
    latency_ewma,
    report_age_ms,
    prefill_load,
    prefill_tokens,
    uncached_tokens,
    tokens_in_flight,
    pending_cost,
    oldest_pending_ms,
    ttft_ewma,
    tpot_ewma,
    load_elsewhere,
    prefix_match,
    request_text,
    request_tokens,
    prompt_bytes,
    prompt_tokens,
    prompt_tokens_exact,
    max_tokens,
    stream,
    route,
    session,
    client_key,
    prefix_hashes,
    arrival_rate,
    model,
    waited_ms,
    may_wait_ms,
    held,
    leg,
    random,
    now_ns,
    header: []const u8,
    config_header: []const u8,
    field: []const u8,
    query: []const u8,

    fn name(comptime input: Input) []const u8 {
        return switch (input) {
            .header, .config_header, .field, .query => |rest| @tagName(input) ++ ":" ++ rest,
            else => @tagName(input),
        };
    }

    /// What ctx.get(input) gives.
    fn Read(comptime input: Input) type {
        return switch (input) {
            .healthy, .excluded => Bits,
            .load, .running, .waiting, .queued_tokens, .report_age_ms, .prefill_load, .prefill_tokens, .uncached_tokens, .tokens_in_flight, .oldest_pending_ms, .load_elsewhere, .prefix_match => Ints,
            .kv_usage, .throughput, .latency_ewma, .pending_cost, .ttft_ewma, .tpot_ewma => Floats,
            .request_text, .route, .session, .client_key, .model, .header, .config_header, .field, .query => ?[]const u8,
            .request_tokens => ?List(u32),
            .prefix_hashes => ?List(u64),
            .prompt_bytes, .prompt_tokens, .waited_ms, .may_wait_ms, .held, .random, .now_ns => u64,
            .prompt_tokens_exact, .stream => bool,
            .max_tokens => ?u64,
            .arrival_rate => f32,
            .leg => Leg,
        };
    }
};

pub const Leg = enum { single, prefill, decode };

/// A bit for each worker.
pub const Bits = struct {
    bytes: []const u8 = &.{},

    pub inline fn get(bits: Bits, worker: usize) bool {
        return worker / 8 < bits.bytes.len and bits.bytes[worker / 8] >> @intCast(worker % 8) & 1 == 1;
    }

    /// Workers 64 × `block` and the 63 after it.
    inline fn word(bits: Bits, block: usize) u64 {
        const at = 8 * block;
        if (bits.bytes.len >= 8 and at <= bits.bytes.len - 8) return std.mem.readInt(u64, bits.bytes[at..][0..8], .little);
        var last: u64 = 0;
        var byte = at;
        while (byte < bits.bytes.len) : (byte += 1) last |= @as(u64, bits.bytes[byte]) << @intCast(8 * (byte - at));
        return last;
    }

    fn fits(bits: Bits, workers: usize) bool {
        return bits.bytes.len == 0 or bits.bytes.len == (workers + 7) / 8;
    }
};

/// An integer for each worker.
pub const Ints = struct {
    bytes: []const u8,

    /// The number of a worker; -1 where it is not known, and beyond the last.
    pub inline fn get(ints: Ints, worker: usize) i32 {
        return if (worker < ints.bytes.len / 4) std.mem.readInt(i32, ints.bytes[4 * worker ..][0..4], .little) else -1;
    }

    /// The same, 0 where it is not known.
    pub inline fn known(ints: Ints, worker: usize) u32 {
        return @intCast(@max(ints.get(worker), 0));
    }
};

/// A float for each worker.
pub const Floats = struct {
    bytes: []const u8,

    /// The number of a worker; NaN where it is not known, and beyond the last.
    pub inline fn get(floats: Floats, worker: usize) f32 {
        const bits = if (worker < floats.bytes.len / 4) std.mem.readInt(u32, floats.bytes[4 * worker ..][0..4], .little) else 0x7fc00000;
        return @bitCast(bits);
    }
};

/// Token ids or hashes of a request.
pub fn List(comptime T: type) type {
    return struct {
        bytes: []const u8,

        pub fn len(list: @This()) usize {
            return list.bytes.len / @sizeOf(T);
        }

        pub fn get(list: @This(), index: usize) T {
            check(index < list.len(), @src(), "beyond the last token or hash");
            return std.mem.readInt(T, list.bytes[index * @sizeOf(T) ..][0..@sizeOf(T)], .little);
        }
    };
}

/// What a policy says about itself.
pub const Plugin = struct {
    name: []const u8,
    description: []const u8 = "",
    version: []const u8 = "",
    inputs: []const Input,
    /// One instance, callers queue: state in memory is exact.
    serial: bool = false,
    /// False: the policy does not look at URLs, weights, labels …
    table: bool = true,
};

/// One decision of this plugin.
pub fn Context(comptime plugin: Plugin) type {
    return struct {
        const Self = @This();
        const inputs = plugin.inputs;

        /// Number of workers.
        workers: usize,
        elements: Elements,
        healthy: Bits = .{},
        excluded: Bits = .{},

        const Elements = blk: {
            var types: [inputs.len]type = undefined;
            for (inputs, 0..) |input, index| types[index] = input.Read();
            break :blk @Tuple(&types);
        };

        /// The value of an input: Bits, Ints, Floats, a number, a text or null.
        pub inline fn get(ctx: *const Self, comptime input: Input) input.Read() {
            return ctx.elements[comptime position(input)];
        }

        fn position(comptime input: Input) usize {
            for (inputs, 0..) |declared, index| if (same(declared.name(), input.name())) return index;
            @compileError("the policy reads the input `" ++ input.name() ++ "`, which `inputs` of its plugin does not list");
        }

        /// The workers that may be chosen, ascending: healthy, and not tried before if `excluded` is declared.
        pub inline fn candidates(ctx: *const Self) Candidates {
            return .{ .healthy = ctx.healthy, .excluded = ctx.excluded, .workers = ctx.workers };
        }

        /// The generator of this decision; needs the input `random`.
        pub inline fn rng(ctx: *const Self) Rng {
            return .{ .state = ctx.get(.random) };
        }

        inline fn read(message: []const u8, table: *const Table) DecisionError!Self {
            var r: Reader = .{ .rest = message };
            if (try r.array() != inputs.len + 1) return error.ElementCount;
            const version = try r.uint();
            if (plugin.table and version != table.version) return error.TableVersion;
            var workers: ?usize = if (plugin.table) table.workers.len else null;
            var ctx: Self = .{ .workers = 0, .elements = undefined };
            inline for (inputs, 0..) |input, index| ctx.elements[index] = try element(input, &r, &workers);
            try r.finish();
            inline for (inputs, 0..) |input, index| switch (input) {
                .healthy => ctx.healthy = ctx.elements[index],
                .excluded => ctx.excluded = ctx.elements[index],
                else => {},
            };
            // Without a table and a column the bits say that there are eight workers a byte.
            ctx.workers = workers orelse 8 * @max(ctx.healthy.bytes.len, ctx.excluded.bytes.len);
            if (!ctx.healthy.fits(ctx.workers) or !ctx.excluded.fits(ctx.workers)) return error.ColumnLength;
            return ctx;
        }
    };
}

const DecisionError = error{ Malformed, ElementCount, TableVersion, ColumnLength, UnknownLeg };

fn sentence(fault: DecisionError) []const u8 {
    return switch (fault) {
        error.Malformed => "decision message is malformed",
        error.ElementCount => "decision message has not one element per declared input",
        error.TableVersion => "decision message names another version of the worker table",
        error.ColumnLength => "a column has not one entry per worker",
        error.UnknownLeg => "unknown leg",
    };
}

inline fn element(comptime input: Input, r: *Reader, workers: *?usize) DecisionError!input.Read() {
    return switch (comptime input.Read()) {
        Bits => .{ .bytes = try r.bin() },
        Ints, Floats => .{ .bytes = try column(r, workers) },
        u64 => try r.uint(),
        bool => try r.uint() != 0,
        ?u64 => try r.maybeUint(),
        f32 => @floatCast(try r.number()),
        ?[]const u8 => try r.maybeStr(),
        ?List(u32) => if (r.nil()) null else .{ .bytes = try multipleOf(try r.bin(), 4) },
        ?List(u64) => if (r.nil()) null else .{ .bytes = try multipleOf(try r.bin(), 8) },
        Leg => std.enums.fromInt(Leg, try r.uint()) orelse error.UnknownLeg,
        else => comptime unreachable,
    };
}

fn multipleOf(bytes: []const u8, width: usize) DecisionError![]const u8 {
    return if (bytes.len % width == 0) bytes else error.ColumnLength;
}

/// A number of four bytes per worker. The first column counts the workers if no table did.
inline fn column(r: *Reader, workers: *?usize) DecisionError![]const u8 {
    const bytes = try r.bin();
    if (workers.* == null) workers.* = bytes.len / 4;
    return if (bytes.len == 4 * workers.*.?) bytes else error.ColumnLength;
}

// ---- Choosing. ----

pub const Candidates = struct {
    healthy: Bits,
    excluded: Bits,
    workers: usize,
    block: usize = 0,
    bits: u64 = 0,

    pub inline fn next(scan: *Candidates) ?usize {
        while (scan.bits == 0) {
            if (64 * scan.block >= scan.workers) return null;
            const left = scan.workers - 64 * scan.block;
            const inside = if (left < 64) (@as(u64, 1) << @intCast(left)) - 1 else ~@as(u64, 0);
            scan.bits = scan.healthy.word(scan.block) & ~scan.excluded.word(scan.block) & inside;
            scan.block += 1;
        }
        const bit = @ctz(scan.bits);
        scan.bits &= scan.bits - 1;
        return 64 * (scan.block - 1) + bit;
    }
};

/// Scrambles 64 bits (the finaliser of SplitMix64).
pub inline fn mix(number: u64) u64 {
    var bits = number;
    bits = (bits ^ bits >> 30) *% 0xbf58476d1ce4e5b9;
    bits = (bits ^ bits >> 27) *% 0x94d049bb133111eb;
    return bits ^ bits >> 31;
}

/// A hash of bytes that is the same in every version, and in the SDKs of the other languages.
pub fn hash(bytes: []const u8) u64 {
    var state = 0x243f6a8885a308d3 ^ @as(u64, bytes.len);
    var rest = bytes;
    while (rest.len >= 8) : (rest = rest[8..]) state = hashStep(state, std.mem.readInt(u64, rest[0..8], .little));
    var word: u64 = 0;
    var index = rest.len;
    while (index > 0) : (index -= 1) word = word << 8 | rest[index - 1];
    return mix(hashStep(state, word));
}

fn hashStep(state: u64, word: u64) u64 {
    const product = (state ^ word) *% 0x9e3779b97f4a7c15;
    return product ^ product >> 32;
}

/// SplitMix64.
pub const Rng = struct {
    state: u64,

    pub inline fn next(rng: *Rng) u64 {
        rng.state +%= 0x9e3779b97f4a7c15;
        return mix(rng.state);
    }

    /// A number below `bound`.
    pub inline fn below(rng: *Rng, bound: u32) u32 {
        return @truncate((rng.next() >> 32) *% bound >> 32);
    }
};

/// The cheapest offer so far; among n equal ones each is kept with chance 1/n.
pub const Lowest = struct {
    rng: Rng,
    cost: f64 = std.math.inf(f64),
    kept: ?usize = null,
    ties: u32 = 0,

    /// A cost that is infinite or NaN counts as the highest of all, so that somebody is chosen while somebody may be.
    pub inline fn offer(lowest: *Lowest, offered: f64, worker: usize) void {
        const cost = if (isFinite(offered)) offered else std.math.floatMax(f64);
        if (cost < lowest.cost) {
            lowest.cost = cost;
            lowest.kept = worker;
            lowest.ties = 1;
        } else if (cost == lowest.cost) {
            lowest.ties += 1;
            if (lowest.rng.below(lowest.ties) == 0) lowest.kept = worker;
        }
    }
};

// ---- What a policy answers. ----

pub const Choice = struct {
    is: union(enum) {
        nobody,
        worker: usize,
        pair: struct { prefill: usize, decode: usize },
        wait: struct { key: f64, deadline_ms: u64 },
        shed: struct { retry_after_ms: u64 },
        failed: []const u8,
    },
    tag: ?u64 = null,
    cost: ?f32 = null,
    decode_cost: f32 = 0,
    reason: ?[]const u8 = null,
    scores: []const f32 = &.{},

    /// Nobody, because nobody may be chosen.
    pub const nobody: Choice = .{ .is = .nobody };

    pub inline fn worker(index: usize) Choice {
        return .{ .is = .{ .worker = index } };
    }

    /// The worker, or nobody.
    pub inline fn ofMaybe(index: ?usize) Choice {
        return if (index) |found| worker(found) else nobody;
    }

    /// Both halves; an answer of selectPair.
    pub fn pair(prefill: usize, decode: usize) Choice {
        return .{ .is = .{ .pair = .{ .prefill = prefill, .decode = decode } } };
    }

    /// The router holds the request and asks again, smallest key first.
    pub fn wait(key: f64, deadline_ms: u64) Choice {
        return .{ .is = .{ .wait = .{ .key = key, .deadline_ms = deadline_ms } } };
    }

    /// The router refuses the request.
    pub fn shed(retry_after_ms: u64) Choice {
        return .{ .is = .{ .shed = .{ .retry_after_ms = retry_after_ms } } };
    }

    /// The policy could not decide, with a sentence for the operator.
    pub fn failed(why: []const u8) Choice {
        return .{ .is = .{ .failed = why } };
    }

    /// The policy's own name for the request, which comes back with events.
    pub inline fn withTag(choice: Choice, tag: u64) Choice {
        var changed = choice;
        changed.tag = tag;
        return changed;
    }

    /// What the request costs its worker until its first token: from 0 to 2³⁶.
    pub inline fn withCost(choice: Choice, cost: f32) Choice {
        var changed = choice;
        changed.cost = cost;
        return changed;
    }

    /// The same of both halves of a pair.
    pub fn withCosts(choice: Choice, prefill: f32, decode: f32) Choice {
        var changed = choice;
        changed.cost = prefill;
        changed.decode_cost = decode;
        return changed;
    }

    /// Why, for decision records. The text has to outlive the call.
    pub fn withReason(choice: Choice, reason: []const u8) Choice {
        var changed = choice;
        changed.reason = reason;
        return changed;
    }

    /// A score of each worker, for decision records; has to outlive the call.
    pub fn withScores(choice: Choice, scores: []const f32) Choice {
        var changed = choice;
        changed.scores = scores;
        return changed;
    }
};

// ---- The worker table. ----

pub const Role = enum { regular, prefill, decode };

/// What is known of a worker and rarely changes. All texts point into the table.
pub const Worker = struct {
    url: []const u8 = "",
    model: ?[]const u8 = null,
    engine: ?[]const u8 = null,
    role: Role = .regular,
    weight: f64 = 1,
    kv_capacity_tokens: ?u64 = null,
    block_size: ?u64 = null,
    max_running_requests: ?u64 = null,
    dp_rank: ?u64 = null,
    label_count: usize = 0,
    labels: []const u8 = &.{},
    /// Null while the names under which it serves are not known.
    model_count: ?usize = null,
    models: []const u8 = &.{},

    /// The value of a label.
    pub fn label(worker: *const Worker, name: []const u8) ?[]const u8 {
        var r: Reader = .{ .rest = worker.labels };
        for (0..worker.label_count) |_| {
            const key = r.str() catch return null;
            const value = r.str() catch return null;
            if (same(key, name)) return value;
        }
        return null;
    }

    /// True if the worker is known to serve under this name.
    pub fn serves(worker: *const Worker, name: []const u8) bool {
        var r: Reader = .{ .rest = worker.models };
        for (0..worker.model_count orelse 0) |_| if (same(r.str() catch return false, name)) return true;
        return false;
    }

    fn read(r: *Reader) Malformed!Worker {
        var worker: Worker = .{};
        var addressed = false;
        for (0..try r.map()) |_| {
            const key = try r.str();
            addressed = addressed or same(key, "url");
            try worker.readKey(key, r);
        }
        return if (addressed) worker else error.Malformed;
    }

    fn readKey(worker: *Worker, key: []const u8, r: *Reader) Malformed!void {
        if (same(key, "url")) {
            worker.url = try r.str();
        } else if (same(key, "model")) {
            worker.model = try r.maybeStr();
        } else if (same(key, "engine")) {
            worker.engine = try r.maybeStr();
        } else if (same(key, "role")) {
            worker.role = std.meta.stringToEnum(Role, try r.str()) orelse return error.Malformed;
        } else if (same(key, "weight")) {
            worker.weight = try r.number();
        } else if (same(key, "kv_capacity_tokens")) {
            worker.kv_capacity_tokens = try fact(r);
        } else if (same(key, "block_size")) {
            worker.block_size = try fact(r);
        } else if (same(key, "max_running_requests")) {
            worker.max_running_requests = try fact(r);
        } else if (same(key, "dp_rank")) {
            worker.dp_rank = try fact(r);
        } else if (same(key, "labels")) {
            if (r.nil()) return;
            worker.label_count = try r.map();
            worker.labels = try texts(r, 2 * worker.label_count);
        } else if (same(key, "models")) {
            if (r.nil()) return;
            worker.model_count = try r.array();
            worker.models = try texts(r, worker.model_count.?);
        } else try r.skip();
    }

    fn fact(r: *Reader) Malformed!?u64 {
        const number = try r.maybeUint() orelse return null;
        return if (number > std.math.maxInt(u32)) null else number;
    }

    /// The bytes of as many texts, which are read once to know that they are.
    fn texts(r: *Reader, count: usize) Malformed![]const u8 {
        const start = r.rest;
        for (0..count) |_| _ = try r.str();
        return start[0 .. start.len - r.rest.len];
    }
};

/// The workers that the messages speak of.
pub const Table = struct {
    version: u64 = 0,
    workers: []Worker = &.{},
    bytes: []u8 = &.{},

    /// Takes a copy of a message; after an error the table is what it was.
    fn replace(table: *Table, message: []const u8) !void {
        const bytes = try allocator.dupe(u8, message);
        errdefer allocator.free(bytes);
        var r: Reader = .{ .rest = bytes };
        var version: ?u64 = null;
        var encoded: ?Reader = null;
        for (0..try r.map()) |_| {
            const key = try r.str();
            if (same(key, "version")) version = try r.uint() //
            else if (same(key, "workers")) encoded = .{ .rest = try r.raw() } //
            else try r.skip();
        }
        try r.finish();
        var rows = encoded orelse return error.Malformed;
        const known = version orelse return error.Malformed;
        const workers = try allocator.alloc(Worker, try rows.array());
        errdefer allocator.free(workers);
        for (workers) |*worker| worker.* = try Worker.read(&rows);
        allocator.free(table.bytes);
        allocator.free(table.workers);
        table.* = .{ .version = known, .workers = workers, .bytes = bytes };
    }
};

// ---- What a policy hears of. ----

/// A streamed answer that has begun.
pub const FirstToken = struct {
    worker: u32,
    tag: ?u64,
    ms: f32,

    fn read(r: *Reader) Malformed!FirstToken {
        const count = try r.array();
        if (count < 3) return error.Malformed;
        const worker = try workerIndex(r);
        const tag = try r.maybeUint();
        const ms: f32 = @floatCast(try r.number());
        for (3..count) |_| try r.skip();
        return .{ .worker = worker, .tag = tag, .ms = ms };
    }
};

/// A request that ended; null is what is not known.
pub const Completion = struct {
    worker: u32,
    ok: bool,
    status: ?u64,
    first_byte_ms: ?f32,
    total_ms: ?f32,
    prompt_tokens: ?u64,
    completion_tokens: ?u64,
    cached_tokens: ?u64 = null,
    tag: ?u64 = null,

    fn read(r: *Reader) Malformed!Completion {
        const count = try r.array();
        if (count < 7) return error.Malformed;
        var done: Completion = .{
            .worker = try workerIndex(r),
            .ok = switch (try r.head()) {
                .boolean => |ok| ok,
                else => return error.Malformed,
            },
            .status = try r.maybeUint(),
            .first_byte_ms = try r.maybeFloat(),
            .total_ms = try r.maybeFloat(),
            .prompt_tokens = try r.maybeUint(),
            .completion_tokens = try r.maybeUint(),
        };
        if (count > 7) done.cached_tokens = try r.maybeUint();
        if (count > 8) done.tag = try r.maybeUint();
        if (count > 9) for (9..count) |_| try r.skip();
        return done;
    }
};

fn workerIndex(r: *Reader) Malformed!u32 {
    const number = try r.uint();
    return if (number > std.math.maxInt(u32)) error.Malformed else @intCast(number);
}

// ---- The operator's configuration. ----

/// The load is refused with what `init` has said.
pub const Refused = error{Refused};

/// What an instance is told first.
pub const Init = struct {
    abi: u64 = 0,
    plugin: []const u8 = "",
    generation: u64 = 0,
    seed: u64 = 0,
    entries: usize = 0,
    config: []const u8 = &.{},
    line: Line = .{},

    fn read(told: *Init, message: []const u8) Malformed!void {
        var r: Reader = .{ .rest = message };
        for (0..try r.map()) |_| {
            const key = try r.str();
            if (same(key, "abi")) told.abi = try r.uint() //
            else if (same(key, "plugin")) told.plugin = try r.str() //
            else if (same(key, "generation")) told.generation = try r.uint() //
            else if (same(key, "seed")) told.seed = try r.uint() //
            else if (same(key, "config")) try told.readConfig(try r.raw()) //
            else try r.skip();
        }
        try r.finish();
    }

    fn readConfig(told: *Init, encoded: []const u8) Malformed!void {
        var r: Reader = .{ .rest = encoded };
        told.entries = try r.map();
        told.config = r.rest;
    }

    /// Refuses the load with a sentence of your own.
    pub fn refuse(told: *Init, why: []const u8) Refused {
        told.line.put(why);
        return error.Refused;
    }

    /// Refuses keys that the policy does not know, and names those that it does, the nearest first.
    pub fn knownKeys(told: *Init, known: []const []const u8) Refused!void {
        var r: Reader = .{ .rest = told.config };
        var unknown: Line = .{};
        var refused: usize = 0;
        var nearest: usize = 0;
        var least: usize = std.math.maxInt(usize);
        for (0..told.entries) |_| {
            const key = r.str() catch break;
            r.skip() catch break;
            if (indexOf(known, key) != null) continue;
            unknown.putWord(key, refused == 0);
            refused += 1;
            for (known, 0..) |name, at| {
                const letters = distance(key, name);
                if (letters < least or (letters == least and at < nearest)) {
                    least = letters;
                    nearest = at;
                }
            }
        }
        if (refused == 0) return;
        told.line.put(if (refused > 1) "unknown config keys " else "unknown config key ");
        told.line.put(unknown.text());
        told.line.put(if (known.len == 0) "; there are none" else "; known: ");
        if (known.len > 0) told.line.putWord(known[nearest], true);
        for (known, 0..) |name, at| if (at != nearest) told.line.putWord(name, false);
        return error.Refused;
    }

    /// The value of a key, unless it is missing or nil.
    pub fn get(told: *const Init, key: []const u8) ?Value {
        var r: Reader = .{ .rest = told.config };
        for (0..told.entries) |_| {
            const name = r.str() catch return null;
            var value: Reader = .{ .rest = r.raw() catch return null };
            if (!same(name, key)) continue;
            const head = value.head() catch return null;
            return if (head == .nil) null else head;
        }
        return null;
    }

    /// A finite number within this range; `high` may be infinite. `otherwise` where the key is missing.
    pub fn number(told: *Init, key: []const u8, otherwise: f64, low: f64, high: f64) Refused!f64 {
        const value = told.get(key) orelse return otherwise;
        const found = value.number() orelse std.math.nan(f64);
        if (isFinite(found) and found >= low and found <= high) return found;
        told.refuseValue(key, value);
        told.line.put("a number ");
        told.putRange(low, high);
        return error.Refused;
    }

    /// A whole number within this range; the largest u64 is no limit.
    pub fn size(told: *Init, key: []const u8, otherwise: u64, low: u64, high: u64) Refused!u64 {
        const value = told.get(key) orelse return otherwise;
        if (value == .uint and value.uint >= low and value.uint <= high) return value.uint;
        told.refuseValue(key, value);
        told.line.put("a whole number ");
        told.putRange(@floatFromInt(low), if (high == std.math.maxInt(u64)) std.math.inf(f64) else @floatFromInt(high));
        return error.Refused;
    }

    pub fn flag(told: *Init, key: []const u8, otherwise: bool) Refused!bool {
        const value = told.get(key) orelse return otherwise;
        if (value == .boolean) return value.boolean;
        told.refuseValue(key, value);
        told.line.put("true or false");
        return error.Refused;
    }

    /// A text. Copy what you keep: it is part of the message.
    pub fn text(told: *Init, key: []const u8, otherwise: []const u8) Refused![]const u8 {
        const value = told.get(key) orelse return otherwise;
        if (value == .str) return value.str;
        told.refuseValue(key, value);
        told.line.put("a text");
        return error.Refused;
    }

    /// Which of these words it is; the first is the default.
    pub fn oneOf(told: *Init, key: []const u8, words: []const []const u8) Refused!usize {
        const value = told.get(key) orelse return 0;
        if (value == .str) if (indexOf(words, value.str)) |found| return found;
        told.refuseValue(key, value);
        told.line.putWords(words);
        return error.Refused;
    }

    fn refuseValue(told: *Init, key: []const u8, value: Value) void {
        told.line.put("config key `");
        told.line.put(key);
        told.line.put("` is ");
        putValue(&told.line, value);
        told.line.put("; expected ");
    }

    fn putRange(told: *Init, low: f64, high: f64) void {
        const open = !isFinite(high);
        told.line.put(if (open) "of at least " else "from ");
        told.line.putNumber(low);
        if (open) return;
        told.line.put(" to ");
        told.line.putNumber(high);
    }
};

fn putValue(line: *Line, value: Value) void {
    switch (value) {
        .uint, .int, .float => line.putNumber(value.number().?),
        .str => |text| line.putWord(shortened(text), true),
        .boolean => |is| line.put(if (is) "true" else "false"),
        .array => line.put("a list"),
        .map => line.put("a map"),
        .nil, .bin => line.put("no value"),
    }
}

/// 64 characters of a text.
fn shortened(text: []const u8) []const u8 {
    var characters: usize = 0;
    for (text, 0..) |byte, at| {
        if (byte & 0xc0 == 0x80) continue;
        if (characters == 64) return text[0..at];
        characters += 1;
    }
    return text;
}

fn indexOf(words: []const []const u8, word: []const u8) ?usize {
    for (words, 0..) |known, at| if (same(known, word)) return at;
    return null;
}

/// How many letters make one word into the other (Levenshtein); of long words, their beginnings.
fn distance(one: []const u8, other: []const u8) usize {
    var row: [65]usize = undefined;
    const length = @min(other.len, 64);
    for (0..length + 1) |at| row[at] = at;
    for (one[0..@min(one.len, 64)], 1..) |letter, at| {
        var left = at;
        var above_left = at - 1;
        row[0] = at;
        for (other[0..length], 1..) |own, i| {
            const swapped = above_left + @intFromBool(letter != own);
            above_left = row[i];
            left = @min(swapped, left + 1, above_left + 1);
            row[i] = left;
        }
    }
    return row[length];
}

// ---- Writing answers. ----

const Answer = struct {
    var small: [128]u8 = undefined;
    /// For what is longer; kept, and replaced by a larger one.
    var large: []u8 = &.{};

    bytes: []u8,
    length: usize = 0,

    fn ofSize(size: usize) Answer {
        if (size <= small.len) return .{ .bytes = &small };
        if (size > large.len) {
            allocator.free(large);
            large = &.{};
            large = allocator.alloc(u8, size) catch fail(@src(), "no memory for the answer");
        }
        return .{ .bytes = large };
    }

    fn packed_(a: *const Answer) i64 {
        return toHost(a.bytes[0..a.length]);
    }

    fn byte(a: *Answer, value: u8) void {
        a.bytes[a.length] = value;
        a.length += 1;
    }

    fn bigEndian(a: *Answer, marker: u8, comptime T: type, value: T) void {
        a.byte(marker);
        std.mem.writeInt(T, a.bytes[a.length..][0..@sizeOf(T)], value, .big);
        a.length += @sizeOf(T);
    }

    inline fn uint(a: *Answer, value: u64) void {
        if (value < 0x80) a.byte(@intCast(value)) else a.longUint(value);
    }

    noinline fn longUint(a: *Answer, value: u64) void {
        if (value <= 0xff) {
            a.bigEndian(0xcc, u8, @intCast(value));
        } else if (value <= 0xffff) {
            a.bigEndian(0xcd, u16, @intCast(value));
        } else if (value <= 0xffff_ffff) {
            a.bigEndian(0xce, u32, @intCast(value));
        } else a.bigEndian(0xcf, u64, value);
    }

    fn maybeUint(a: *Answer, value: ?u64) void {
        if (value) |known| a.uint(known) else a.byte(0xc0);
    }

    fn bytesOf(a: *Answer, marker8: u8, value: []const u8) void {
        if (value.len <= 0xff) {
            a.bigEndian(marker8, u8, @intCast(value.len));
        } else if (value.len <= 0xffff) {
            a.bigEndian(marker8 + 1, u16, @intCast(value.len));
        } else a.bigEndian(marker8 + 2, u32, @intCast(value.len));
        @memcpy(a.bytes[a.length..][0..value.len], value);
        a.length += value.len;
    }

    fn text(a: *Answer, value: []const u8) void {
        a.bytesOf(0xd9, value);
    }

    fn cost(a: *Answer, key: []const u8, value: f32) void {
        a.text(key);
        a.bigEndian(0xca, u32, @bitCast(value));
    }
};

fn toHost(bytes: []const u8) i64 {
    return @bitCast(@as(u64, @intFromPtr(bytes.ptr)) << 32 | bytes.len);
}

noinline fn answerError(why: []const u8) i64 {
    @branchHint(.cold);
    var a: Answer = .ofSize(16 + why.len);
    a.byte(0x81);
    a.text("error");
    a.text(why);
    return a.packed_();
}

/// The answer as a map of what it has.
noinline fn answerMap(choice: *const Choice, pair: bool) i64 {
    @branchHint(.cold);
    const scores: []const u8 = if (pair) &.{} else @ptrCast(choice.scores);
    const reason = choice.reason orelse "";
    var a: Answer = .ofSize(192 + reason.len + scores.len);
    // The number of keys comes when they are there.
    a.byte(0x80);
    var keys: u8 = 0;
    switch (choice.is) {
        .failed => |why| return answerError(why),
        .nobody => {},
        .worker => |worker| {
            a.text("selected_worker");
            a.uint(worker);
            keys += 1;
        },
        .pair => |both| {
            a.text("prefill");
            a.uint(both.prefill);
            a.text("decode");
            a.uint(both.decode);
            keys += 2;
        },
        .wait => |wait| {
            a.text("wait");
            a.byte(0x82);
            a.text("key");
            a.bigEndian(0xcb, u64, @bitCast(wait.key));
            a.text("deadline_ms");
            a.uint(wait.deadline_ms);
            keys += 1;
        },
        .shed => |shed| {
            a.text("shed");
            a.byte(0x81);
            a.text("retry_after_ms");
            a.uint(shed.retry_after_ms);
            keys += 1;
        },
    }
    if (scores.len > 0) {
        a.text("scores");
        a.bytesOf(0xc4, scores);
        keys += 1;
    }
    if (choice.reason) |given| {
        a.text("reason");
        a.text(given);
        keys += 1;
    }
    if (choice.tag) |tag| {
        a.text("tag");
        a.uint(tag);
        keys += 1;
    }
    if (choice.cost) |cost| {
        a.cost("cost", cost);
        if (pair) a.cost("decode_cost", choice.decode_cost);
        keys += if (pair) 2 else 1;
    }
    a.bytes[0] |= keys;
    return a.packed_();
}

inline fn answer(choice: *const Choice) i64 {
    if (choice.reason != null or choice.scores.len > 0) return answerMap(choice, false);
    var a: Answer = .{ .bytes = &Answer.small };
    switch (choice.is) {
        .nobody => a.byte(0xc0),
        .worker => |worker| if (choice.tag == null and choice.cost == null) {
            a.uint(worker);
        } else {
            a.byte(0x93);
            a.uint(worker);
            a.maybeUint(choice.tag);
            a.bigEndian(0xca, u32, @bitCast(choice.cost orelse 0));
        },
        .pair => return answerError("select answered with a pair; answer with a worker"),
        .wait, .shed, .failed => return answerMap(choice, false),
    }
    return a.packed_();
}

fn answerPair(choice: *const Choice) i64 {
    if (choice.reason != null or choice.tag != null or choice.cost != null) return answerMap(choice, true);
    var a: Answer = .{ .bytes = &Answer.small };
    switch (choice.is) {
        .nobody => a.byte(0xc0),
        .pair => |both| {
            a.byte(0x92);
            a.uint(both.prefill);
            a.uint(both.decode);
        },
        .worker => return answerError("selectPair answered with one worker; answer with Choice.pair"),
        .wait, .shed, .failed => return answerMap(choice, true),
    }
    return a.packed_();
}

// ---- Manifest and exports. ----

fn manifestText(comptime text: []const u8) []const u8 {
    if (text.len > 0xffff) @compileError("a text of the manifest is too long");
    return [_]u8{ 0xda, text.len >> 8, text.len & 0xff } ++ text;
}

fn manifest(comptime plugin: Plugin) []const u8 {
    comptime {
        @setEvalBranchQuota(100_000);
        var bytes: []const u8 = &.{0x87};
        bytes = bytes ++ manifestText("abi") ++ [_]u8{1};
        bytes = bytes ++ manifestText("name") ++ manifestText(plugin.name);
        bytes = bytes ++ manifestText("version") ++ manifestText(plugin.version);
        bytes = bytes ++ manifestText("description") ++ manifestText(plugin.description);
        bytes = bytes ++ manifestText("wire") ++ manifestText("columns");
        bytes = bytes ++ manifestText("concurrency") ++ manifestText(if (plugin.serial) "serial" else "parallel");
        bytes = bytes ++ manifestText("inputs") ++ [_]u8{ 0xdc, 0, plugin.inputs.len };
        for (plugin.inputs) |input| bytes = bytes ++ manifestText(input.name());
        return bytes;
    }
}

/// The assembler's text of a custom section with the manifest.
fn section(comptime plugin: Plugin) []const u8 {
    comptime {
        @setEvalBranchQuota(100_000);
        var text: []const u8 = ".section .custom_section.sgl.policy,\"\",@\n";
        const digits = "0123456789abcdef";
        for (manifest(plugin)) |byte| text = text ++ ".int8 0x" ++ [_]u8{ digits[byte >> 4], digits[byte & 15] } ++ "\n";
        return text;
    }
}

/// Writes the manifest, and the exports for what the policy has.
pub fn exportPolicy(comptime plugin: Plugin, comptime Policy: type) void {
    const exports = Exports(plugin, Policy);
    @export(&exports.alloc, .{ .name = "alloc" });
    @export(&exports.dealloc, .{ .name = "dealloc" });
    @export(&exports.init, .{ .name = "init" });
    @export(&exports.select, .{ .name = "select_worker" });
    if (plugin.table) @export(&exports.onWorkers, .{ .name = "on_workers" });
    if (@hasDecl(Policy, "selectPair")) @export(&exports.selectPair, .{ .name = "select_worker_pair" });
    if (@hasDecl(Policy, "onFirstToken")) @export(&exports.onFirstToken, .{ .name = "on_first_token" });
    if (@hasDecl(Policy, "onComplete")) @export(&exports.onComplete, .{ .name = "on_complete" });
    if (@hasDecl(Policy, "onSessionEnd")) @export(&exports.onSessionEnd, .{ .name = "on_session_end" });
    if (@hasDecl(Policy, "saveState")) @export(&exports.saveState, .{ .name = "save_state" });
    if (@hasDecl(Policy, "restoreState")) @export(&exports.restoreState, .{ .name = "restore_state" });
}

fn Exports(comptime plugin: Plugin, comptime Policy: type) type {
    return struct {
        comptime {
            asm (section(plugin));
        }

        var policy: ?Policy = null;
        var table: Table = .{};
        const Ctx = Context(plugin);
        const not_ready = "the plugin decides before `init` succeeded";

        fn alloc(size: usize) callconv(.c) ?[*]u8 {
            const bytes = allocator.alignedAlloc(u8, .@"16", @max(size, 1)) catch return null;
            return bytes.ptr;
        }

        fn dealloc(at: [*]align(16) u8, size: usize) callconv(.c) void {
            allocator.free(at[0..@max(size, 1)]);
        }

        fn init(at: [*]const u8, length: usize) callconv(.c) i64 {
            policy = null;
            var told: Init = .{};
            told.read(at[0..length]) catch return answerError("init message is malformed");
            policy = Policy.init(&told) catch return answerError(told.line.text());
            return 0;
        }

        fn select(at: [*]const u8, length: usize) callconv(.c) i64 {
            const chooser = if (policy) |*made| made else return answerError(not_ready);
            const ctx = Ctx.read(at[0..length], &table) catch |fault| return answerError(sentence(fault));
            const choice = chooser.select(&ctx);
            return answer(&choice);
        }

        fn selectPair(at: [*]const u8, length: usize) callconv(.c) i64 {
            const chooser = if (policy) |*made| made else return answerError(not_ready);
            const ctx = Ctx.read(at[0..length], &table) catch |fault| return answerError(sentence(fault));
            const choice = chooser.selectPair(&ctx);
            return answerPair(&choice);
        }

        fn onWorkers(at: [*]const u8, length: usize) callconv(.c) void {
            // Decisions that name the table that was not read are refused.
            table.replace(at[0..length]) catch return log(.err, "worker table message is malformed, or there is no memory for it");
            if (!@hasDecl(Policy, "onWorkers")) return;
            if (policy) |*made| made.onWorkers(&table);
        }

        /// The entries of a batch; none of one that belongs to another table, or is malformed.
        fn entries(r: *Reader) Malformed!usize {
            const count = try r.array();
            if (count < 2) return error.Malformed;
            const version = try r.uint();
            if (plugin.table and version != table.version) return 0;
            var inside: Reader = .{ .rest = try r.raw() };
            for (2..count) |_| try r.skip();
            try r.finish();
            const events = try inside.array();
            r.* = inside;
            return events;
        }

        fn onFirstToken(at: [*]const u8, length: usize) callconv(.c) void {
            const listener = if (policy) |*made| made else return;
            var r: Reader = .{ .rest = at[0..length] };
            for (0..entries(&r) catch 0) |_| listener.onFirstToken(FirstToken.read(&r) catch return);
        }

        fn onComplete(at: [*]const u8, length: usize) callconv(.c) void {
            const listener = if (policy) |*made| made else return;
            var r: Reader = .{ .rest = at[0..length] };
            for (0..entries(&r) catch 0) |_| listener.onComplete(Completion.read(&r) catch return);
        }

        fn onSessionEnd(at: [*]const u8, length: usize) callconv(.c) void {
            const listener = if (policy) |*made| made else return;
            var r: Reader = .{ .rest = at[0..length] };
            if ((r.array() catch 0) < 1) return;
            for (0..r.array() catch 0) |_| listener.onSessionEnd(r.str() catch return);
        }

        fn saveState() callconv(.c) i64 {
            return if (policy) |*made| toHost(made.saveState()) else 0;
        }

        fn restoreState(at: [*]const u8, length: usize) callconv(.c) void {
            if (policy) |*made| made.restoreState(at[0..length]);
        }
    };
}
