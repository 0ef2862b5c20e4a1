/* The worker with the least prompt work to do, that of the request itself included. The same policy as
 * plugins/least_work, which is in Rust; what it is good for: docs/policies/least_work.md. */
#define SGL_NAME "least_work"
#define SGL_DESCRIPTION "the worker with the least prompt work to do, the request's own included"
#define SGL_INPUTS(input) \
    input(healthy) input(excluded) input(load) input(queued_tokens) input(uncached_tokens) input(prefix_match) \
    input(prompt_tokens) input(random)
#define SGL_HOOK_WORKERS
#include "../sgl_policy.h"

static double request_tokens;
static bool reports, by_weight;

/* What each worker's work is multiplied by, in table order; infinite for weight 0. */
static double *shares;
static uint32_t share_count;

static void policy_init(sgl_init *init) {
    static const char *const keys[] = {"request_tokens", "reports", "by_weight"};
    sgl_known_keys(init, keys, 3);
    request_tokens = sgl_number_in(init, "request_tokens", 16, 0, 1e6);
    reports = sgl_flag(init, "reports", true);
    by_weight = sgl_flag(init, "by_weight", true);
}

static void policy_on_workers(void) {
    sgl_free(shares, share_count * sizeof *shares);
    share_count = sgl_workers.count;
    shares = sgl_alloc(share_count * sizeof *shares);
    sgl_assert(shares);
    for (uint32_t i = 0; i < share_count; i++) shares[i] = by_weight ? 1.0 / sgl_workers.workers[i].weight : 1.0;
}

static double work_of(const sgl_context *ctx, uint32_t worker) {
    uint32_t sent = sgl_int_or_0(ctx->uncached_tokens, worker);
    /* The router's books are never late, and the report sees other routers: the larger counts. */
    uint32_t said = reports ? sgl_int_or_0(ctx->queued_tokens, worker) : 0;
    uint32_t held = sgl_int_or_0(ctx->prefix_match, worker);
    double missing = ctx->prompt_tokens > held ? (double)(ctx->prompt_tokens - held) : 0;
    double answering = sgl_int(ctx->load, worker) * request_tokens;
    double work = (sent > said ? sent : said) + missing + answering;
    /* Never 0, so that weights count on an idle fleet too. */
    return (work + 1) * (worker < share_count ? shares[worker] : 1.0);
}

static sgl_choice policy_select(const sgl_context *ctx) {
    sgl_rng rng = {ctx->random};
    sgl_lowest lowest = SGL_LOWEST;
    uint32_t worker;
    SGL_EACH_CANDIDATE(worker, ctx) sgl_offer(&lowest, work_of(ctx, worker), worker, &rng);
    return sgl_cheapest(&lowest);
}
