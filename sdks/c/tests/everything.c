/* Reads every input, gives every answer, has every hook, calls every function of the host: the same in all
 * languages and in Rust (tests/fixtures/plugins/everything), held to each other by tests/languages. */
#define SGL_NAME "everything"
#define SGL_DESCRIPTION "a digest of all that it is told"
#define SGL_VERSION "1.2"
#define SGL_INPUTS(input) \
    input(healthy) input(excluded) input(load) input(running) input(waiting) input(queued_tokens) input(kv_usage) \
    input(throughput) input(latency_ewma) input(report_age_ms) input(prefill_load) input(prefill_tokens) \
    input(uncached_tokens) input(tokens_in_flight) input(pending_cost) input(oldest_pending_ms) input(ttft_ewma) \
    input(tpot_ewma) input(load_elsewhere) input(prefix_match) input(request_text) input(request_tokens) \
    input(prompt_bytes) input(prompt_tokens) input(prompt_tokens_exact) input(max_tokens) input(stream) input(route) \
    input(session) input(client_key) input(prefix_hashes) input(arrival_rate) input(model) input(waited_ms) \
    input(may_wait_ms) input(held) input(leg) input(random) input(now_ns)
#define SGL_NAMED_INPUTS(input) \
    input(header, "header:x-session-id") input(team, "config_header:team_header") input(user, "field:/user") \
    input(command, "query:key")
#define SGL_SERIAL
#define SGL_HOOK_WORKERS
#define SGL_HOOK_PAIR
#define SGL_HOOK_FIRST_TOKEN
#define SGL_HOOK_COMPLETE
#define SGL_HOOK_SESSION_END
#define SGL_HOOK_STATE
#include "../sgl_policy.h"

/* Of the configuration and of all that the hooks were told. */
static uint64_t told;

static void fold(uint64_t *digest, uint64_t number) { *digest = sgl_mix((*digest ^ number) + 0x9e3779b97f4a7c15); }

static void fold_text(uint64_t *digest, sgl_text text) {
    fold(digest, text.at ? 2 : 1);
    if (text.at) fold(digest, sgl_hash(text));
}

static void fold_maybe(uint64_t *digest, sgl_maybe number) {
    fold(digest, number.known ? 2 : 1);
    if (number.known) fold(digest, number.number);
}

static void fold_float(uint64_t *digest, float number) {
    uint32_t bits;
    __builtin_memcpy(&bits, &number, 4);
    fold(digest, number != number ? 0x7fc00000 : bits);
}

static void fold_double(uint64_t *digest, double number) {
    uint64_t bits;
    __builtin_memcpy(&bits, &number, 8);
    fold(digest, bits);
}

static void fold_bits(uint64_t *digest, uint32_t workers, sgl_bits bits) {
    for (uint32_t i = 0; i < workers; i++) fold(digest, sgl_bit(bits, i));
}

static void fold_ints(uint64_t *digest, uint32_t workers, sgl_ints column) {
    for (uint32_t i = 0; i < workers; i++) fold(digest, (uint32_t)sgl_int(column, i));
}

static void fold_floats(uint64_t *digest, uint32_t workers, sgl_floats column) {
    for (uint32_t i = 0; i < workers; i++) fold_float(digest, sgl_float(column, i));
}

static void policy_init(sgl_init *init) {
    static const char *const keys[] = {"ratio", "size", "on", "label", "mode", "team_header"};
    static const char *const modes[] = {"fast", "slow"};
    sgl_known_keys(init, keys, 6);
    told = 0;
    fold_double(&told, sgl_number_in(init, "ratio", 0.5, 0, 1));
    fold(&told, sgl_size_in(init, "size", 7, 1, 100));
    fold(&told, sgl_flag(init, "on", false));
    fold_text(&told, sgl_word(init, "label", "none"));
    fold(&told, sgl_one_of(init, "mode", modes, 2));
    fold_text(&told, init->plugin);
    fold(&told, init->generation);
    fold(&told, init->seed);
}

static void policy_on_workers(void) {
    fold(&told, sgl_workers.count);
    for (uint32_t i = 0; i < sgl_workers.count; i++) {
        const sgl_worker_facts *worker = &sgl_workers.workers[i];
        fold_text(&told, worker->url);
        fold_text(&told, worker->model);
        fold_text(&told, worker->engine);
        fold(&told, worker->role);
        fold_double(&told, worker->weight);
        fold_maybe(&told, worker->kv_capacity_tokens);
        fold_maybe(&told, worker->block_size);
        fold_maybe(&told, worker->max_running_requests);
        fold_maybe(&told, worker->dp_rank);
        fold_text(&told, sgl_label(worker, "zone"));
        fold(&told, sgl_serves(worker, SGL_TEXT("sql")));
    }
}

static void policy_on_first_token(const sgl_first_token *first) {
    fold(&told, first->worker);
    fold_maybe(&told, first->tag);
    fold_float(&told, first->ms);
}

static void policy_on_complete(const sgl_completion *done) {
    fold(&told, done->worker);
    fold(&told, done->ok);
    fold_maybe(&told, done->status);
    fold_float(&told, done->first_byte_ms);
    fold_float(&told, done->total_ms);
    fold_maybe(&told, done->prompt_tokens);
    fold_maybe(&told, done->completion_tokens);
    fold_maybe(&told, done->cached_tokens);
    fold_maybe(&told, done->tag);
}

static void policy_on_session_end(sgl_text session) { fold_text(&told, session); }

static sgl_text policy_save_state(void) { return (sgl_text){(const char *)&told, sizeof told}; }

static void policy_restore_state(sgl_text saved) { fold_text(&told, saved); }

static void fold_columns(uint64_t *digest, const sgl_context *ctx) {
    fold_bits(digest, ctx->workers, ctx->healthy);
    fold_bits(digest, ctx->workers, ctx->excluded);
    fold_ints(digest, ctx->workers, ctx->load);
    fold_ints(digest, ctx->workers, ctx->running);
    fold_ints(digest, ctx->workers, ctx->waiting);
    fold_ints(digest, ctx->workers, ctx->queued_tokens);
    fold_floats(digest, ctx->workers, ctx->kv_usage);
    fold_floats(digest, ctx->workers, ctx->throughput);
    fold_floats(digest, ctx->workers, ctx->latency_ewma);
    fold_ints(digest, ctx->workers, ctx->report_age_ms);
    fold_ints(digest, ctx->workers, ctx->prefill_load);
    fold_ints(digest, ctx->workers, ctx->prefill_tokens);
    fold_ints(digest, ctx->workers, ctx->uncached_tokens);
    fold_ints(digest, ctx->workers, ctx->tokens_in_flight);
    fold_floats(digest, ctx->workers, ctx->pending_cost);
    fold_ints(digest, ctx->workers, ctx->oldest_pending_ms);
    fold_floats(digest, ctx->workers, ctx->ttft_ewma);
    fold_floats(digest, ctx->workers, ctx->tpot_ewma);
    fold_ints(digest, ctx->workers, ctx->load_elsewhere);
    fold_ints(digest, ctx->workers, ctx->prefix_match);
}

static void fold_request(uint64_t *digest, const sgl_context *ctx) {
    fold_text(digest, ctx->request_text);
    fold(digest, ctx->request_tokens.at ? ctx->request_tokens.count + 2 : 1);
    for (uint32_t i = 0; i < ctx->request_tokens.count; i++) fold(digest, sgl_token(ctx->request_tokens, i));
    fold(digest, ctx->prompt_bytes);
    fold(digest, ctx->prompt_tokens);
    fold(digest, ctx->prompt_tokens_exact);
    fold_maybe(digest, ctx->max_tokens);
    fold(digest, ctx->stream);
    fold_text(digest, ctx->route);
    fold_text(digest, ctx->session);
    fold_text(digest, ctx->client_key);
    fold(digest, ctx->prefix_hashes.at ? ctx->prefix_hashes.count + 2 : 1);
    for (uint32_t i = 0; i < ctx->prefix_hashes.count; i++) fold(digest, sgl_hash_at(ctx->prefix_hashes, i));
    fold_float(digest, ctx->arrival_rate);
    fold_text(digest, ctx->model);
    fold(digest, ctx->waited_ms);
    fold(digest, ctx->may_wait_ms);
    fold(digest, ctx->held);
    fold(digest, ctx->leg);
    fold(digest, ctx->random);
    fold(digest, ctx->now_ns);
    fold_text(digest, ctx->header);
    fold_text(digest, ctx->team);
    fold_text(digest, ctx->user);
}

static uint64_t digest_of(const sgl_context *ctx) {
    uint64_t digest = told;
    fold(&digest, ctx->workers);
    fold_columns(&digest, ctx);
    fold_request(&digest, ctx);
    return digest;
}

/* What every function of the host says. */
static uint64_t digest_of_host(void) {
    uint64_t digest = 0;
    char value[4];
    sgl_log(SGL_INFO, SGL_TEXT("hello"));
    fold(&digest, (uint64_t)sgl_counter_add(3, 5));
    fold(&digest, (uint64_t)sgl_counter_add(3, -2));
    fold(&digest, (uint64_t)(int64_t)sgl_kv_set(SGL_TEXT("key"), "word", 4));
    int32_t length = sgl_kv_get(SGL_TEXT("key"), value, sizeof value);
    fold_text(&digest, (sgl_text){value, length < 0 ? 0 : (uint32_t)length});
    fold(&digest, (uint64_t)(int64_t)sgl_kv_set_for(SGL_TEXT("key"), "", 0, 0));
    fold_text(&digest, sgl_kv_get(SGL_TEXT("key"), value, sizeof value) == SGL_KV_NOT_FOUND ? (sgl_text){0, 0} : SGL_TEXT("still there"));
    return digest;
}

static sgl_choice explained(const sgl_context *ctx, uint64_t digest) {
    static float scores[1000];
    uint32_t count = ctx->workers < 1000 ? ctx->workers : 1000;
    for (uint32_t i = 0; i < count; i++) scores[i] = (float)i / 2;
    sgl_choice choice = sgl_with_scores(sgl_worker(1), scores, count);
    return sgl_with_cost(sgl_with_tag(sgl_with_reason(choice, SGL_TEXT("the second is enough")), digest), 0.5f);
}

static sgl_choice least_loaded(const sgl_context *ctx) {
    sgl_rng rng = {ctx->random};
    sgl_lowest lowest = SGL_LOWEST;
    uint32_t worker;
    SGL_EACH_CANDIDATE(worker, ctx) sgl_offer(&lowest, sgl_int(ctx->load, worker), worker, &rng);
    return sgl_cheapest(&lowest);
}

static sgl_choice policy_select(const sgl_context *ctx) {
    sgl_text command = ctx->command;
    if (sgl_is(command, "least")) return least_loaded(ctx);
    if (sgl_is(command, "nobody")) return sgl_nobody();
    if (sgl_is(command, "wait")) return sgl_wait(1.5, 500);
    if (sgl_is(command, "shed")) return sgl_shed(2500);
    if (sgl_is(command, "failed")) return sgl_failed("cold");
    if (sgl_is(command, "host")) return sgl_with_tag(sgl_worker(0), digest_of_host());
    if (sgl_is(command, "panic")) sgl_panic("asked to");
    uint64_t digest = digest_of(ctx);
    if (sgl_is(command, "explained")) return explained(ctx, digest);
    if (sgl_is(command, "waits because")) return sgl_with_reason(sgl_wait(-2, 70000), SGL_TEXT("behind its tenant"));
    if (sgl_is(command, "cost")) return sgl_with_cost(sgl_worker(0), 1.5f);
    if (sgl_is(command, "far")) return sgl_worker((uint32_t)(digest & 0xffff));
    return sgl_with_tag(least_loaded(ctx), digest);
}

static sgl_choice policy_select_pair(const sgl_context *ctx) {
    sgl_text command = ctx->command;
    if (sgl_is(command, "nobody")) return sgl_nobody();
    if (sgl_is(command, "wait")) return sgl_wait(1.5, 500);
    if (sgl_is(command, "shed")) return sgl_with_reason(sgl_shed(2500), SGL_TEXT("full"));
    if (sgl_is(command, "failed")) return sgl_failed("cold");
    if (sgl_is(command, "least")) return sgl_pair(300, 1);
    sgl_choice choice = sgl_with_tag(sgl_pair(1, 0), digest_of(ctx));
    if (sgl_is(command, "cost")) choice = sgl_with_decode_cost(sgl_with_cost(choice, 1.5f), 2.5f);
    return sgl_is(command, "explained") ? sgl_with_reason(choice, SGL_TEXT("both")) : choice;
}
