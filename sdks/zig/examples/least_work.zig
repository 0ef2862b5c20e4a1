//! The worker with the least prompt work to do, that of the request itself included. The same policy as
//! plugins/least_work, which is in Rust; what it is good for: docs/policies/least_work.md.

const sgl = @import("sgl_policy");

pub const panic = sgl.panic;

const plugin: sgl.Plugin = .{
    .name = "least_work",
    .description = "the worker with the least prompt work to do, the request's own included",
    .inputs = &.{ .healthy, .excluded, .load, .queued_tokens, .uncached_tokens, .prefix_match, .prompt_tokens, .random },
};

const LeastWork = struct {
    request_tokens: f64,
    reports: bool,
    by_weight: bool,
    /// What each worker's work is multiplied by, in table order; infinite for weight 0.
    shares: []f64 = &.{},

    pub fn init(told: *sgl.Init) sgl.Refused!LeastWork {
        try told.knownKeys(&.{ "request_tokens", "reports", "by_weight" });
        return .{
            .request_tokens = try told.number("request_tokens", 16, 0, 1e6),
            .reports = try told.flag("reports", true),
            .by_weight = try told.flag("by_weight", true),
        };
    }

    pub fn onWorkers(self: *LeastWork, table: *const sgl.Table) void {
        sgl.allocator.free(self.shares);
        self.shares = sgl.allocator.alloc(f64, table.workers.len) catch sgl.fail(@src(), "no memory");
        for (self.shares, table.workers) |*share, worker| share.* = if (self.by_weight) 1 / worker.weight else 1;
    }

    pub fn select(self: *LeastWork, ctx: *const sgl.Context(plugin)) sgl.Choice {
        var lowest: sgl.Lowest = .{ .rng = ctx.rng() };
        var candidates = ctx.candidates();
        while (candidates.next()) |worker| {
            const sent = ctx.get(.uncached_tokens).known(worker);
            // The router's books are never late, and the report sees other routers: the larger counts.
            const said = if (self.reports) ctx.get(.queued_tokens).known(worker) else 0;
            const missing = ctx.get(.prompt_tokens) -| ctx.get(.prefix_match).known(worker);
            const answering = float(ctx.get(.load).get(worker)) * self.request_tokens;
            const work = float(@max(sent, said)) + float(missing) + answering;
            // Never 0, so that weights count on an idle fleet too.
            lowest.offer((work + 1) * self.shares[worker], worker);
        }
        return .ofMaybe(lowest.kept);
    }
};

fn float(number: anytype) f64 {
    return @floatFromInt(number);
}

comptime {
    sgl.exportPolicy(plugin, LeastWork);
}
