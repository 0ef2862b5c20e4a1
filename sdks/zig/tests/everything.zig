//! Reads every input, gives every answer, has every hook, calls every function of the host: the same in all languages
//! and in Rust (tests/fixtures/plugins/everything), held to each other by tests/languages.

const sgl = @import("sgl_policy");

pub const panic = sgl.panic;

const header: sgl.Input = .{ .header = "x-session-id" };
const team: sgl.Input = .{ .config_header = "team_header" };
const user: sgl.Input = .{ .field = "/user" };
const key: sgl.Input = .{ .query = "key" };

const bit_inputs = [_]sgl.Input{ .healthy, .excluded };
const columns = [_]sgl.Input{
    .load,         .running,           .waiting,      .queued_tokens,  .kv_usage,        .throughput,
    .latency_ewma, .report_age_ms,     .prefill_load, .prefill_tokens, .uncached_tokens, .tokens_in_flight,
    .pending_cost, .oldest_pending_ms, .ttft_ewma,    .tpot_ewma,      .load_elsewhere,  .prefix_match,
};
const of_request = [_]sgl.Input{
    .request_text, .request_tokens, .prompt_bytes, .prompt_tokens, .prompt_tokens_exact, .max_tokens, .stream,
    .route,        .session,        .client_key,   .prefix_hashes, .arrival_rate,        .model,      .waited_ms,
    .may_wait_ms,  .held,           .leg,          .random,        .now_ns,              header,      team,
    user,
};

const plugin: sgl.Plugin = .{
    .name = "everything",
    .description = "a digest of all that it is told",
    .version = "1.2",
    .inputs = &(bit_inputs ++ columns ++ of_request ++ [_]sgl.Input{key}),
    .serial = true,
};
const Context = sgl.Context(plugin);

/// Numbers that stand for all that was read.
const Digest = struct {
    value: u64 = 0,

    fn number(digest: *Digest, value: u64) void {
        digest.value = sgl.mix((digest.value ^ value) +% 0x9e3779b97f4a7c15);
    }

    fn maybe(digest: *Digest, value: ?u64) void {
        digest.number(if (value == null) 1 else 2);
        if (value) |known| digest.number(known);
    }

    fn text(digest: *Digest, value: ?[]const u8) void {
        digest.maybe(if (value) |known| sgl.hash(known) else null);
    }

    fn float(digest: *Digest, value: ?f32) void {
        const known = value orelse return digest.number(0x7fc00000);
        digest.number(if (known != known) 0x7fc00000 else @as(u32, @bitCast(known)));
    }

    fn list(digest: *Digest, value: anytype) void {
        const known = value orelse return digest.number(1);
        digest.number(known.len() + 2);
        for (0..known.len()) |at| digest.number(known.get(at));
    }

    fn read(digest: *Digest, ctx: *const Context, comptime input: sgl.Input) void {
        const value = ctx.get(input);
        switch (@TypeOf(value)) {
            sgl.Bits => for (0..ctx.workers) |worker| digest.number(@intFromBool(value.get(worker))),
            sgl.Ints => for (0..ctx.workers) |worker| digest.number(@as(u32, @bitCast(value.get(worker)))),
            sgl.Floats => for (0..ctx.workers) |worker| digest.float(value.get(worker)),
            ?[]const u8 => digest.text(value),
            ?u64 => digest.maybe(value),
            u64 => digest.number(value),
            bool => digest.number(@intFromBool(value)),
            f32 => digest.float(value),
            sgl.Leg => digest.number(@backingInt(value)),
            else => digest.list(value),
        }
    }
};

const Everything = struct {
    /// Of the configuration and of all that the hooks were told.
    told: Digest = .{},

    pub fn init(init_: *sgl.Init) sgl.Refused!Everything {
        try init_.knownKeys(&.{ "ratio", "size", "on", "label", "mode", "team_header" });
        var told: Digest = .{};
        told.number(@bitCast(try init_.number("ratio", 0.5, 0, 1)));
        told.number(try init_.size("size", 7, 1, 100));
        told.number(@intFromBool(try init_.flag("on", false)));
        told.text(try init_.text("label", "none"));
        told.number(try init_.oneOf("mode", &.{ "fast", "slow" }));
        told.text(init_.plugin);
        told.number(init_.generation);
        told.number(init_.seed);
        return .{ .told = told };
    }

    pub fn onWorkers(self: *Everything, table: *const sgl.Table) void {
        self.told.number(table.workers.len);
        for (table.workers) |*worker| {
            self.told.text(worker.url);
            self.told.text(worker.model);
            self.told.text(worker.engine);
            self.told.number(@backingInt(worker.role));
            self.told.number(@bitCast(worker.weight));
            self.told.maybe(worker.kv_capacity_tokens);
            self.told.maybe(worker.block_size);
            self.told.maybe(worker.max_running_requests);
            self.told.maybe(worker.dp_rank);
            self.told.text(worker.label("zone"));
            self.told.number(@intFromBool(worker.serves("sql")));
        }
    }

    pub fn onFirstToken(self: *Everything, first: sgl.FirstToken) void {
        self.told.number(first.worker);
        self.told.maybe(first.tag);
        self.told.float(first.ms);
    }

    pub fn onComplete(self: *Everything, done: sgl.Completion) void {
        self.told.number(done.worker);
        self.told.number(@intFromBool(done.ok));
        self.told.maybe(done.status);
        self.told.float(done.first_byte_ms);
        self.told.float(done.total_ms);
        self.told.maybe(done.prompt_tokens);
        self.told.maybe(done.completion_tokens);
        self.told.maybe(done.cached_tokens);
        self.told.maybe(done.tag);
    }

    pub fn onSessionEnd(self: *Everything, session: []const u8) void {
        self.told.text(session);
    }

    pub fn saveState(self: *Everything) []const u8 {
        return @ptrCast(&self.told.value);
    }

    pub fn restoreState(self: *Everything, saved: []const u8) void {
        self.told.text(saved);
    }

    pub fn select(self: *Everything, ctx: *const Context) sgl.Choice {
        const command = ctx.get(key) orelse "";
        if (sgl.same(command, "least")) return leastLoaded(ctx);
        if (sgl.same(command, "nobody")) return .nobody;
        if (sgl.same(command, "wait")) return .wait(1.5, 500);
        if (sgl.same(command, "shed")) return .shed(2500);
        if (sgl.same(command, "failed")) return .failed("cold");
        if (sgl.same(command, "host")) return sgl.Choice.worker(0).withTag(digestOfHost());
        if (sgl.same(command, "panic")) sgl.fail(@src(), "asked to");
        if (sgl.same(command, "explained")) return self.explained(ctx);
        if (sgl.same(command, "waits because")) return sgl.Choice.wait(-2, 70000).withReason("behind its tenant");
        if (sgl.same(command, "cost")) return sgl.Choice.worker(0).withCost(1.5);
        const digest = self.digestOf(ctx);
        if (sgl.same(command, "far")) return .worker(@intCast(digest & 0xffff));
        return leastLoaded(ctx).withTag(digest);
    }

    pub fn selectPair(self: *Everything, ctx: *const Context) sgl.Choice {
        const command = ctx.get(key) orelse "";
        if (sgl.same(command, "nobody")) return .nobody;
        if (sgl.same(command, "wait")) return .wait(1.5, 500);
        if (sgl.same(command, "shed")) return sgl.Choice.shed(2500).withReason("full");
        if (sgl.same(command, "failed")) return .failed("cold");
        if (sgl.same(command, "least")) return .pair(300, 1);
        const choice = sgl.Choice.pair(1, 0).withTag(self.digestOf(ctx));
        if (sgl.same(command, "cost")) return choice.withCosts(1.5, 2.5);
        return if (sgl.same(command, "explained")) choice.withReason("both") else choice;
    }

    fn explained(self: *Everything, ctx: *const Context) sgl.Choice {
        const scores = struct {
            var all: [1000]f32 = undefined;
        };
        const count = @min(ctx.workers, 1000);
        for (scores.all[0..count], 0..) |*score, worker| score.* = @as(f32, @floatFromInt(worker)) / 2;
        const choice = sgl.Choice.worker(1).withScores(scores.all[0..count]).withReason("the second is enough");
        return choice.withTag(self.digestOf(ctx)).withCost(0.5);
    }

    fn digestOf(self: *const Everything, ctx: *const Context) u64 {
        var digest = self.told;
        digest.number(ctx.workers);
        inline for (bit_inputs ++ columns ++ of_request) |input| digest.read(ctx, input);
        return digest.value;
    }
};

fn leastLoaded(ctx: *const Context) sgl.Choice {
    var lowest: sgl.Lowest = .{ .rng = ctx.rng() };
    var candidates = ctx.candidates();
    while (candidates.next()) |worker| lowest.offer(@floatFromInt(ctx.get(.load).get(worker)), worker);
    return .ofMaybe(lowest.kept);
}

/// What every function of the host says.
fn digestOfHost() u64 {
    var digest: Digest = .{};
    var out: [4]u8 = undefined;
    sgl.log(.info, "hello");
    digest.number(@bitCast(sgl.counterAdd(3, 5)));
    digest.number(@bitCast(sgl.counterAdd(3, -2)));
    sgl.kvSet("key", "word") catch sgl.fail(@src(), "kvSet");
    digest.number(0);
    digest.text(sgl.kvGet("key", &out) catch sgl.fail(@src(), "kvGet"));
    sgl.kvSetFor("key", "", 0) catch sgl.fail(@src(), "kvSetFor");
    digest.number(0);
    digest.text(sgl.kvGet("key", &out) catch sgl.fail(@src(), "kvGet"));
    return digest.value;
}

comptime {
    sgl.exportPolicy(plugin, Everything);
}
