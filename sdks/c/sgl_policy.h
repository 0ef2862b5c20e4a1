/* Write a routing policy for sgl-router in C: one header, no library.
 *
 *     #define SGL_NAME "first"
 *     #define SGL_DESCRIPTION "the first worker that may be chosen"
 *     #define SGL_INPUTS(input) input(healthy) input(excluded)
 *     #include "sgl_policy.h"
 *
 *     static void policy_init(sgl_init *init) { sgl_known_keys(init, 0, 0); }
 *
 *     static sgl_choice policy_select(const sgl_context *ctx) {
 *         uint32_t worker;
 *         SGL_EACH_CANDIDATE(worker, ctx) return sgl_worker(worker);
 *         return sgl_nobody();
 *     }
 *
 * clang --target=wasm32 -O3 -mbulk-memory -msimd128 -ffreestanding -nostdlib -Wl,--no-entry -Wl,-z,stack-size=65536 \
 *     -o first.wasm first.c
 *
 * Defined before the header is included:
 *   SGL_NAME, SGL_DESCRIPTION, SGL_VERSION   texts of the manifest; without '"' and '\'
 *   SGL_INPUTS(input)                        the inputs by their names of the ABI: input(load) input(model) …
 *   SGL_NAMED_INPUTS(input)                  those with a name of their own, under an identifier of yours:
 *                                            input(user, "header:x-user") input(tenant, "field:/metadata/tenant")
 *   SGL_SERIAL                               one instance, callers queue: state in memory is exact
 *   SGL_HOOK_WORKERS                         policy_on_workers(): the worker table is another
 *   SGL_HOOK_PAIR                            policy_select_pair(ctx)
 *   SGL_HOOK_FIRST_TOKEN                     policy_on_first_token(first)
 *   SGL_HOOK_COMPLETE                        policy_on_complete(completion)
 *   SGL_HOOK_SESSION_END                     policy_on_session_end(session)
 *   SGL_HOOK_STATE                           policy_save_state(), policy_restore_state(saved)
 *   SGL_WITHOUT_TABLE                        the policy does not look at URLs, weights, labels …
 *
 * An input that is read as ctx->NAME without being listed is an error of the compiler. Nothing here trusts a
 * length that it reads. Whatever points into a message (texts, columns) is good until the call returns.
 */
#ifndef SGL_POLICY_H
#define SGL_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef SGL_NAME
#error "define SGL_NAME, the policy's name, before you include sgl_policy.h"
#endif
#ifndef SGL_INPUTS
#error "define SGL_INPUTS(input), such as: input(healthy) input(excluded) input(load)"
#endif
#ifndef SGL_NAMED_INPUTS
#define SGL_NAMED_INPUTS(input)
#endif
#ifndef SGL_DESCRIPTION
#define SGL_DESCRIPTION ""
#endif
#ifndef SGL_VERSION
#define SGL_VERSION ""
#endif
#if defined SGL_WITHOUT_TABLE && defined SGL_HOOK_WORKERS
#error "SGL_HOOK_WORKERS hears of the table that SGL_WITHOUT_TABLE does without"
#endif

/* ---- The manifest: a custom section, whose lengths and counts the assembler computes. ---- */

#define SGL__TEXT(text) ".int8 0xd9\n.int8 2f-1f\n1:\n.ascii \"" text "\"\n2:\n"
#define SGL__INPUT_TEXT(input) SGL__TEXT(#input)
#define SGL__NAMED_TEXT(field, input) SGL__TEXT(input)
#define SGL__ONE(...) "+1"
#define SGL__PLUS_ONE(...) +1
#ifdef SGL_SERIAL
#define SGL__CONCURRENCY "serial"
#else
#define SGL__CONCURRENCY "parallel"
#endif

__asm__(".section .custom_section.sgl.policy,\"\",@\n.int8 0x87\n" /* a map of 7 */
        SGL__TEXT("abi") ".int8 1\n" SGL__TEXT("name") SGL__TEXT(SGL_NAME) /**/
        SGL__TEXT("version") SGL__TEXT(SGL_VERSION) SGL__TEXT("description") SGL__TEXT(SGL_DESCRIPTION) /**/
        SGL__TEXT("wire") SGL__TEXT("columns") SGL__TEXT("concurrency") SGL__TEXT(SGL__CONCURRENCY) /**/
        SGL__TEXT("inputs") ".int8 0xdc\n.int8 0\n.int8 0" SGL_INPUTS(SGL__ONE) SGL_NAMED_INPUTS(SGL__ONE) "\n" /**/
        SGL_INPUTS(SGL__INPUT_TEXT) SGL_NAMED_INPUTS(SGL__NAMED_TEXT));

/* What decisions do not need stays out of their code. */
#define SGL__COLD __attribute__((cold, noinline))

/* ---- Texts and memory. ---- */

/* Bytes of a text, not closed by a 0; `at` is 0 where there is none (nil). */
typedef struct sgl_text {
    const char *at;
    uint32_t length;
} sgl_text;

/* A text from a literal. */
#define SGL_TEXT(literal) ((sgl_text){(literal), sizeof(literal) - 1})

static inline uint32_t sgl_length(const char *closed) {
    uint32_t length = 0;
    while (closed[length]) length++;
    return length;
}

static inline sgl_text sgl_closed(const char *closed) { return (sgl_text){closed, sgl_length(closed)}; }

static inline bool sgl_same(sgl_text one, sgl_text other) {
    if (one.length != other.length || !one.at || !other.at) return one.at == other.at;
    for (uint32_t i = 0; i < one.length; i++)
        if (one.at[i] != other.at[i]) return false;
    return true;
}

static inline bool sgl_is(sgl_text text, const char *closed) { return sgl_same(text, sgl_closed(closed)); }

extern unsigned char __heap_base;
static void *sgl__free[32];
static uintptr_t sgl__heap;

/* log2 of the size class: powers of two from 16 bytes. */
static inline uint32_t sgl__class(uint32_t size) { return size <= 16 ? 4 : 32 - (uint32_t)__builtin_clz(size - 1); }

/* Memory of this size, 16-byte aligned, or 0: what was freed in its size class, else new pages. Not for
 * decisions: allocate what they need in policy_init and policy_on_workers. */
static SGL__COLD void *sgl_alloc(uint32_t size) {
    if (size > 1u << 30) return 0;
    uint32_t class = sgl__class(size), bytes = 1u << class;
    void *reused = sgl__free[class];
    if (reused) {
        __builtin_memcpy(&sgl__free[class], reused, sizeof(void *));
        return reused;
    }
    if (!sgl__heap) sgl__heap = ((uintptr_t)&__heap_base + 15) & ~(uintptr_t)15;
    uint64_t end = (uint64_t)sgl__heap + bytes, room = (uint64_t)__builtin_wasm_memory_size(0) << 16;
    if (end > room && __builtin_wasm_memory_grow(0, (size_t)((end - room + 0xffff) >> 16)) == SIZE_MAX) return 0;
    void *fresh = (void *)sgl__heap;
    sgl__heap = (uintptr_t)end;
    return fresh;
}

/* Gives back what sgl_alloc gave for this size. */
static SGL__COLD void sgl_free(void *memory, uint32_t size) {
    if (!memory) return;
    uint32_t class = sgl__class(size);
    __builtin_memcpy(memory, &sgl__free[class], sizeof(void *));
    sgl__free[class] = memory;
}

/* ---- The host. ---- */

#define SGL__HOST(name) __attribute__((import_module("sgl"), import_name(name)))
SGL__HOST("log") extern void sgl__host_log(uint32_t level, const char *at, uint32_t length);
SGL__HOST("counter_add") extern int64_t sgl__host_counter_add(uint32_t slot, int64_t delta);
SGL__HOST("kv_get") extern int32_t sgl__host_kv_get(const char *, uint32_t, void *, uint32_t);
SGL__HOST("kv_set") extern int32_t sgl__host_kv_set(const char *, uint32_t, const void *, uint32_t);
SGL__HOST("kv_set_for") extern int32_t sgl__host_kv_set_for(const char *, uint32_t, const void *, uint32_t, uint32_t);

enum { SGL_ERROR, SGL_WARN, SGL_INFO, SGL_DEBUG, SGL_TRACE };

/* Codes of the shared map. */
enum { SGL_KV_NOT_FOUND = -1, SGL_KV_BUFFER_TOO_SMALL = -2, SGL_KV_VALUE_TOO_LARGE = -3, SGL_KV_FULL = -4, SGL_KV_BAD_ARGUMENT = -5 };

/* A line for the router's log. */
static inline void sgl_log(uint32_t level, sgl_text line) { sgl__host_log(level, line.at, line.length); }

/* Adds to counter 0 to 63 and gives its new value; INT64_MIN for another slot. */
static inline int64_t sgl_counter_add(uint32_t slot, int64_t delta) { return sgl__host_counter_add(slot, delta); }

/* The shared map: the length of the value, or a code. */
static inline int32_t sgl_kv_get(sgl_text key, void *out, uint32_t capacity) {
    return sgl__host_kv_get(key.at, key.length, out, capacity);
}

/* 0, or a code. */
static inline int32_t sgl_kv_set(sgl_text key, const void *value, uint32_t length) {
    return sgl__host_kv_set(key.at, key.length, value, length);
}

/* The same for so many milliseconds; 0 removes the key. */
static inline int32_t sgl_kv_set_for(sgl_text key, const void *value, uint32_t length, uint32_t ms) {
    return sgl__host_kv_set_for(key.at, key.length, value, length, ms);
}

/* ---- Texts that grow up to a bound: log lines, reasons, errors. ---- */

#define SGL_LINE_BYTES 512

/* What does not fit is cut. */
typedef struct sgl_line {
    char bytes[SGL_LINE_BYTES];
    uint32_t length;
} sgl_line;

static SGL__COLD void sgl_put(sgl_line *line, sgl_text text) {
    for (uint32_t i = 0; i < text.length && line->length < SGL_LINE_BYTES; i++) line->bytes[line->length++] = text.at[i];
}

static SGL__COLD void sgl_puts(sgl_line *line, const char *closed) { sgl_put(line, sgl_closed(closed)); }

static SGL__COLD void sgl_put_uint(sgl_line *line, uint64_t number) {
    char digits[20];
    uint32_t first = 20;
    do digits[--first] = (char)('0' + number % 10);
    while (number /= 10);
    sgl_put(line, (sgl_text){digits + first, 20 - first});
}

/* A number to six digits behind the point; above 10^15 only that it is. */
static SGL__COLD void sgl_put_number(sgl_line *line, double number) {
    if (number != number) { sgl_puts(line, "NaN"); return; }
    if (number < 0) sgl_puts(line, "-"), number = -number;
    if (number > 1e15) { sgl_puts(line, number > 1.7976931348623157e308 ? "infinity" : "more than 1e15"); return; }
    uint64_t whole = (uint64_t)number, millionths = (uint64_t)((number - (double)whole) * 1e6 + 0.5);
    sgl_put_uint(line, whole + millionths / 1000000);
    millionths %= 1000000;
    if (!millionths) return;
    sgl_puts(line, ".");
    for (uint32_t unit = 100000; millionths; unit /= 10) {
        sgl_put_uint(line, millionths / unit);
        millionths %= unit;
    }
}

static inline sgl_text sgl_text_of(const sgl_line *line) { return (sgl_text){line->bytes, line->length}; }

/* Ends the call as a trap, which the router reports with the message, file and line, and with the functions
 * that the policy was in. */
static _Noreturn SGL__COLD void sgl__panic(const char *message, const char *file, uint32_t at) {
    sgl_line line = {.length = 0};
    sgl_puts(&line, "panicked at "), sgl_puts(&line, file), sgl_puts(&line, ":"), sgl_put_uint(&line, at);
    sgl_puts(&line, ":\n"), sgl_puts(&line, message);
    sgl_log(SGL_ERROR, sgl_text_of(&line));
    __builtin_trap();
}

#define sgl_panic(message) sgl__panic((message), __FILE__, __LINE__)
#define sgl_assert(condition) ((condition) ? (void)0 : sgl__panic("assertion failed: " #condition, __FILE__, __LINE__))

/* ---- MessagePack out of bytes that nobody vouches for. ---- */

typedef struct sgl_reader {
    const uint8_t *at, *end;
} sgl_reader;

typedef enum { SGL_NIL, SGL_BOOL, SGL_UINT, SGL_INT, SGL_FLOAT, SGL_STR, SGL_BIN, SGL_ARRAY, SGL_MAP } sgl_kind;

/* The head of a value; of texts and bytes the content, too. */
typedef struct sgl_value {
    sgl_kind kind;
    uint32_t count;       /* elements of an array, entries of a map */
    uint64_t number;      /* of a boolean and of integers; negative ones in two's complement */
    double real;          /* of a float */
    sgl_text bytes;       /* of a text and of bytes */
    sgl_reader inside;    /* where the elements of an array or a map begin */
} sgl_value;

static inline uint32_t sgl_left(const sgl_reader *r) { return (uint32_t)(r->end - r->at); }

static bool sgl__big_endian(sgl_reader *r, uint32_t width, uint64_t *value) {
    if (sgl_left(r) < width) return false;
    *value = 0;
    while (width--) *value = *value << 8 | *r->at++;
    return true;
}

static bool sgl__content(sgl_reader *r, sgl_value *value, uint64_t length) {
    if (length > sgl_left(r)) return false;
    value->bytes = (sgl_text){(const char *)r->at, (uint32_t)length};
    r->at += length;
    return true;
}

/* A count is believed if there are bytes for as many elements. */
static bool sgl__elements(sgl_reader *r, sgl_value *value, sgl_kind kind, uint64_t count) {
    if (count > sgl_left(r) / (kind == SGL_MAP ? 2 : 1)) return false;
    value->kind = kind, value->count = (uint32_t)count, value->inside = *r;
    return true;
}

static bool sgl__float(sgl_reader *r, sgl_value *value, uint32_t width) {
    uint64_t bits;
    if (!sgl__big_endian(r, width, &bits)) return false;
    uint32_t half = (uint32_t)bits;
    float single;
    __builtin_memcpy(&single, &half, 4);
    if (width == 4) value->real = single;
    else __builtin_memcpy(&value->real, &bits, 8);
    value->kind = SGL_FLOAT;
    return true;
}

static bool sgl__signed(sgl_reader *r, sgl_value *value, uint32_t width) {
    if (!sgl__big_endian(r, width, &value->number)) return false;
    uint32_t unused = 64 - 8 * width;
    value->number = (uint64_t)((int64_t)(value->number << unused) >> unused);
    value->kind = (int64_t)value->number < 0 ? SGL_INT : SGL_UINT;
    return true;
}

/* Heads that are longer than a byte. */
static SGL__COLD bool sgl__long_head(sgl_reader *r, uint8_t marker, sgl_value *value) {
    uint64_t length;
    switch (marker) {
    case 0xc0: value->kind = SGL_NIL; return true;
    case 0xc2: case 0xc3: value->kind = SGL_BOOL, value->number = marker & 1; return true;
    case 0xc4: case 0xc5: case 0xc6:
        value->kind = SGL_BIN;
        return sgl__big_endian(r, 1u << (marker - 0xc4), &length) && sgl__content(r, value, length);
    case 0xca: return sgl__float(r, value, 4);
    case 0xcb: return sgl__float(r, value, 8);
    case 0xcc: case 0xcd: case 0xce: case 0xcf:
        value->kind = SGL_UINT;
        return sgl__big_endian(r, 1u << (marker - 0xcc), &value->number);
    case 0xd0: case 0xd1: case 0xd2: case 0xd3: return sgl__signed(r, value, 1u << (marker - 0xd0));
    case 0xd9: case 0xda: case 0xdb:
        value->kind = SGL_STR;
        return sgl__big_endian(r, 1u << (marker - 0xd9), &length) && sgl__content(r, value, length);
    case 0xdc: case 0xdd:
        return sgl__big_endian(r, 2u << (marker - 0xdc), &length) && sgl__elements(r, value, SGL_ARRAY, length);
    case 0xde: case 0xdf:
        return sgl__big_endian(r, 2u << (marker - 0xde), &length) && sgl__elements(r, value, SGL_MAP, length);
    default: return false; /* extensions: nobody sends any */
    }
}

/* Reads the head of the next value. Elements of arrays and maps follow in `r`. */
static SGL__COLD bool sgl_read(sgl_reader *r, sgl_value *value) {
    *value = (sgl_value){.kind = SGL_NIL};
    if (!sgl_left(r)) return false;
    uint8_t marker = *r->at++;
    if (marker < 0x80 || marker >= 0xe0) {
        value->kind = marker < 0x80 ? SGL_UINT : SGL_INT;
        value->number = (uint64_t)(int64_t)(int8_t)marker;
        return true;
    }
    if (marker < 0x90) return sgl__elements(r, value, SGL_MAP, marker & 0x0f);
    if (marker < 0xa0) return sgl__elements(r, value, SGL_ARRAY, marker & 0x0f);
    if (marker >= 0xc0) return sgl__long_head(r, marker, value);
    value->kind = SGL_STR;
    return sgl__content(r, value, marker & 0x1f);
}

/* Steps over a value and all that is in it; a loop, so that nesting needs no stack. */
static SGL__COLD bool sgl_skip(sgl_reader *r) {
    sgl_value value;
    for (uint64_t left = 1; left; left--) {
        if (!sgl_read(r, &value)) return false;
        left += value.kind == SGL_ARRAY ? value.count : value.kind == SGL_MAP ? 2ull * value.count : 0;
        if (left - 1 > sgl_left(r)) return false;
    }
    return true;
}

/* Reads a value whole: the reader is then behind its elements. */
static SGL__COLD bool sgl_read_whole(sgl_reader *r, sgl_value *value) {
    sgl_reader start = *r;
    if (!sgl_read(r, value)) return false;
    if (value->kind != SGL_ARRAY && value->kind != SGL_MAP) return true;
    *r = start;
    if (!sgl_skip(r)) return false;
    value->inside.end = r->at;
    return true;
}

static bool sgl_read_of(sgl_reader *r, sgl_kind kind, sgl_value *value) { return sgl_read(r, value) && value->kind == kind; }

static SGL__COLD bool sgl_read_text(sgl_reader *r, sgl_text *text) {
    sgl_value value;
    bool read = sgl_read_of(r, SGL_STR, &value);
    *text = value.bytes;
    return read;
}

static SGL__COLD bool sgl_read_uint(sgl_reader *r, uint64_t *number) {
    sgl_value value;
    bool read = sgl_read_of(r, SGL_UINT, &value);
    *number = value.number;
    return read;
}

static bool sgl__is_nil(sgl_reader *r) {
    if (!sgl_left(r) || *r->at != 0xc0) return false;
    r->at++;
    return true;
}

/* The value as a number, if it is one. */
static bool sgl_as_number(const sgl_value *value, double *number) {
    switch (value->kind) {
    case SGL_UINT: *number = (double)value->number; return true;
    case SGL_INT: *number = (double)(int64_t)value->number; return true;
    case SGL_FLOAT: *number = value->real; return true;
    default: return false;
    }
}

/* ---- What a policy reads. ---- */

/* A number that may not be known. */
typedef struct sgl_maybe {
    uint64_t number;
    bool known;
} sgl_maybe;

/* Columns: a bit, an integer or a float for each worker. `count` is in bytes for bits, else in numbers. */
typedef struct sgl_bits { const uint8_t *at; uint32_t count; } sgl_bits;
typedef struct sgl_ints { const uint8_t *at; uint32_t count; } sgl_ints;
typedef struct sgl_floats { const uint8_t *at; uint32_t count; } sgl_floats;
/* Token ids of 32, hashes of 64 bits; `at` is 0 where there are none (nil). */
typedef struct sgl_tokens { const uint8_t *at; uint32_t count; } sgl_tokens;
typedef struct sgl_hashes { const uint8_t *at; uint32_t count; } sgl_hashes;

#define SGL__LOAD(type, from) ({ type loaded_; __builtin_memcpy(&loaded_, (from), sizeof loaded_); loaded_; })

/* The number of a worker; -1 where it is not known, and beyond the last. */
static inline int32_t sgl_int(sgl_ints column, uint32_t worker) {
    return worker < column.count ? SGL__LOAD(int32_t, column.at + 4 * worker) : -1;
}

/* The same, 0 where it is not known. */
static inline uint32_t sgl_int_or_0(sgl_ints column, uint32_t worker) {
    int32_t number = sgl_int(column, worker);
    return number < 0 ? 0 : (uint32_t)number;
}

/* The number of a worker; NaN where it is not known. */
static inline float sgl_float(sgl_floats column, uint32_t worker) {
    return worker < column.count ? SGL__LOAD(float, column.at + 4 * worker) : __builtin_nanf("");
}

static inline bool sgl_bit(sgl_bits bits, uint32_t worker) {
    return worker / 8 < bits.count && bits.at[worker / 8] >> (worker % 8) & 1;
}

static inline uint32_t sgl_token(sgl_tokens tokens, uint32_t index) {
    sgl_assert(index < tokens.count);
    return SGL__LOAD(uint32_t, tokens.at + 4 * index);
}

static inline uint64_t sgl_hash_at(sgl_hashes hashes, uint32_t index) {
    sgl_assert(index < hashes.count);
    return SGL__LOAD(uint64_t, hashes.at + 8 * index);
}

/* The form of each input. */
#define SGL__FORM_healthy healthy
#define SGL__FORM_excluded excluded
#define SGL__FORM_load ints
#define SGL__FORM_running ints
#define SGL__FORM_waiting ints
#define SGL__FORM_queued_tokens ints
#define SGL__FORM_kv_usage floats
#define SGL__FORM_throughput floats
#define SGL__FORM_latency_ewma floats
#define SGL__FORM_report_age_ms ints
#define SGL__FORM_prefill_load ints
#define SGL__FORM_prefill_tokens ints
#define SGL__FORM_uncached_tokens ints
#define SGL__FORM_tokens_in_flight ints
#define SGL__FORM_pending_cost floats
#define SGL__FORM_oldest_pending_ms ints
#define SGL__FORM_ttft_ewma floats
#define SGL__FORM_tpot_ewma floats
#define SGL__FORM_load_elsewhere ints
#define SGL__FORM_prefix_match ints
#define SGL__FORM_request_text text
#define SGL__FORM_request_tokens tokens
#define SGL__FORM_prompt_bytes uint
#define SGL__FORM_prompt_tokens uint
#define SGL__FORM_prompt_tokens_exact uint
#define SGL__FORM_max_tokens maybe
#define SGL__FORM_stream uint
#define SGL__FORM_route text
#define SGL__FORM_session text
#define SGL__FORM_client_key text
#define SGL__FORM_prefix_hashes hashes
#define SGL__FORM_arrival_rate rate
#define SGL__FORM_model text
#define SGL__FORM_waited_ms uint
#define SGL__FORM_may_wait_ms uint
#define SGL__FORM_held uint
#define SGL__FORM_leg leg
#define SGL__FORM_random uint
#define SGL__FORM_now_ns uint

typedef uint64_t sgl_uint, sgl_leg;
typedef float sgl_rate;
typedef sgl_bits sgl_healthy, sgl_excluded;

/* Legs of a request. */
enum { SGL_LEG_SINGLE, SGL_LEG_PREFILL, SGL_LEG_DECODE };

#define SGL__JOIN(a, b) a##b
#define SGL__JOINED(a, b) SGL__JOIN(a, b)
#define SGL__FIELD(input) SGL__JOINED(sgl_, SGL__FORM_##input) input;
#define SGL__NAMED_FIELD(field, input) sgl_text field;

/* One decision: the number of workers, and each input under its name. */
typedef struct sgl_context {
    uint32_t workers;
    struct { SGL_INPUTS(SGL__FIELD) SGL_NAMED_INPUTS(SGL__NAMED_FIELD) };
    sgl_bits healthy_, excluded_; /* for the scans, which do without what is not declared */
} sgl_context;

/* ---- The worker table. ---- */

/* What is known of a worker and rarely changes. */
typedef struct sgl_worker_facts {
    sgl_text url, model, engine;
    enum { SGL_REGULAR, SGL_PREFILL, SGL_DECODE } role;
    double weight;
    sgl_maybe kv_capacity_tokens, block_size, max_running_requests, dp_rank;
    sgl_value labels; /* a map of texts: sgl_label */
    sgl_value models; /* an array of texts, or nil: sgl_serves */
} sgl_worker_facts;

typedef struct sgl_table {
    uint64_t version;
    uint32_t count;
    sgl_worker_facts *workers;
    uint8_t *bytes; /* the message, which all texts point into */
    uint32_t size;
} sgl_table;

/* The table of the workers that the messages speak of. Empty with SGL_WITHOUT_TABLE. */
static sgl_table sgl_workers;

/* The value of a label; `at` is 0 if the worker has none of that name. */
static inline sgl_text sgl_label(const sgl_worker_facts *worker, const char *name) {
    sgl_reader r = worker->labels.inside;
    sgl_text key, value;
    for (uint32_t i = 0; i < worker->labels.count && sgl_read_text(&r, &key) && sgl_read_text(&r, &value); i++)
        if (sgl_is(key, name)) return value;
    return (sgl_text){0, 0};
}

/* True if the worker is known to serve under this name. */
static inline bool sgl_serves(const sgl_worker_facts *worker, sgl_text name) {
    sgl_reader r = worker->models.inside;
    sgl_text known;
    for (uint32_t i = 0; i < worker->models.count && sgl_read_text(&r, &known); i++)
        if (sgl_same(known, name)) return true;
    return false;
}

/* ---- What a policy answers. ---- */

typedef struct sgl_choice {
    enum { SGL__NOBODY, SGL__WORKER, SGL__PAIR, SGL__WAIT, SGL__SHED, SGL__FAILED } is;
    uint32_t worker, decode;
    bool tagged, costs;
    uint64_t tag;
    float cost, decode_cost;
    double key;          /* of a wait */
    uint64_t ms;         /* its deadline, or when to come again */
    sgl_text text;       /* why it failed, or the reason */
    const float *scores;
    uint32_t score_count;
} sgl_choice;

/* The worker of that index. */
static inline sgl_choice sgl_worker(uint32_t worker) { return (sgl_choice){.is = SGL__WORKER, .worker = worker}; }
/* Both halves; an answer of policy_select_pair. */
static inline sgl_choice sgl_pair(uint32_t prefill, uint32_t decode) {
    return (sgl_choice){.is = SGL__PAIR, .worker = prefill, .decode = decode};
}
/* Nobody, because nobody may be chosen. */
static inline sgl_choice sgl_nobody(void) { return (sgl_choice){.is = SGL__NOBODY}; }
/* The router holds the request and asks again, smallest key first. */
static inline sgl_choice sgl_wait(double key, uint64_t deadline_ms) {
    return (sgl_choice){.is = SGL__WAIT, .key = key, .ms = deadline_ms};
}
/* The router refuses the request. */
static inline sgl_choice sgl_shed(uint64_t retry_after_ms) { return (sgl_choice){.is = SGL__SHED, .ms = retry_after_ms}; }
/* The policy could not decide, with a sentence for the operator. */
static inline sgl_choice sgl_failed(const char *why) { return (sgl_choice){.is = SGL__FAILED, .text = sgl_closed(why)}; }
/* The policy's own name for the request, which comes back with events. */
static inline sgl_choice sgl_with_tag(sgl_choice choice, uint64_t tag) {
    choice.tagged = true, choice.tag = tag;
    return choice;
}
/* What the request costs its worker until its first token: from 0 to 2^36. */
static inline sgl_choice sgl_with_cost(sgl_choice choice, float cost) {
    choice.costs = true, choice.cost = cost;
    return choice;
}
/* What it costs the decode worker of a pair. */
static inline sgl_choice sgl_with_decode_cost(sgl_choice choice, float cost) {
    choice.costs = true, choice.decode_cost = cost;
    return choice;
}
/* Why, for decision records. The text has to outlive the call: a static one. */
static inline sgl_choice sgl_with_reason(sgl_choice choice, sgl_text reason) {
    if (choice.is != SGL__FAILED) choice.text = reason;
    return choice;
}
/* A score of each worker, for decision records; a static array. */
static inline sgl_choice sgl_with_scores(sgl_choice choice, const float *scores, uint32_t count) {
    choice.scores = scores, choice.score_count = count;
    return choice;
}

/* ---- What a policy hears of. ---- */

/* A streamed answer that has begun. */
typedef struct sgl_first_token {
    uint32_t worker;
    sgl_maybe tag;
    float ms;
} sgl_first_token;

/* A request that ended. Times are NaN where they are not known. */
typedef struct sgl_completion {
    uint32_t worker;
    bool ok;
    sgl_maybe status, prompt_tokens, completion_tokens, cached_tokens, tag;
    float first_byte_ms, total_ms;
} sgl_completion;

/* What an instance is told first; see the functions that read its configuration. */
typedef struct sgl_init {
    uint64_t abi, generation, seed;
    sgl_text plugin;
    sgl_value config;
    sgl_line error; /* refuses the load unless it is empty */
} sgl_init;

/* ---- The policy: what you write. ---- */

static void policy_init(sgl_init *init);
static sgl_choice policy_select(const sgl_context *ctx);
#ifdef SGL_HOOK_WORKERS
static void policy_on_workers(void);
#endif
#ifdef SGL_HOOK_PAIR
static sgl_choice policy_select_pair(const sgl_context *ctx);
#endif
#ifdef SGL_HOOK_FIRST_TOKEN
static void policy_on_first_token(const sgl_first_token *first);
#endif
#ifdef SGL_HOOK_COMPLETE
static void policy_on_complete(const sgl_completion *completion);
#endif
#ifdef SGL_HOOK_SESSION_END
static void policy_on_session_end(sgl_text session);
#endif
#ifdef SGL_HOOK_STATE
static sgl_text policy_save_state(void);
static void policy_restore_state(sgl_text saved);
#endif

/* ---- Choosing: candidates, chance, the lowest cost. ---- */

/* Scrambles 64 bits (the finaliser of SplitMix64). */
static inline uint64_t sgl_mix(uint64_t bits) {
    bits = (bits ^ bits >> 30) * 0xbf58476d1ce4e5b9;
    bits = (bits ^ bits >> 27) * 0x94d049bb133111eb;
    return bits ^ bits >> 31;
}

/* SplitMix64, seeded by the input `random`: sgl_rng rng = {ctx->random}. */
typedef struct sgl_rng { uint64_t state; } sgl_rng;

static inline uint64_t sgl_next(sgl_rng *rng) { return sgl_mix(rng->state += 0x9e3779b97f4a7c15); }
/* A number below `bound`. */
static inline uint32_t sgl_below(sgl_rng *rng, uint32_t bound) { return (uint32_t)((sgl_next(rng) >> 32) * bound >> 32); }

/* A hash of bytes that is the same in every version, and in the SDKs of the other languages. */
static inline uint64_t sgl_hash(sgl_text text) {
    uint64_t state = 0x243f6a8885a308d3 ^ text.length, word;
    for (uint32_t at = 0;; at += 8) {
        uint32_t left = text.length - at;
        word = 0;
        if (left >= 8) __builtin_memcpy(&word, text.at + at, 8);
        else for (uint32_t i = left; i--;) word = word << 8 | (uint8_t)text.at[at + i];
        state = (state ^ word) * 0x9e3779b97f4a7c15;
        state ^= state >> 32;
        if (left < 8) return sgl_mix(state);
    }
}

static inline uint64_t sgl__word(sgl_bits bits, uint32_t block) {
    uint32_t at = 8 * block;
    if (bits.count >= 8 && at <= bits.count - 8) return SGL__LOAD(uint64_t, bits.at + at);
    uint64_t word = 0;
    for (uint32_t i = at; i < bits.count; i++) word |= (uint64_t)bits.at[i] << 8 * (i - at);
    return word;
}

/* Which of workers 64 * block and the 63 after it may be chosen: healthy, and not tried before. */
static inline uint64_t sgl_candidates(const sgl_context *ctx, uint32_t block) {
    uint32_t left = ctx->workers - 64 * block;
    uint64_t inside = left < 64 ? (1ull << left) - 1 : ~0ull;
    return sgl__word(ctx->healthy_, block) & ~sgl__word(ctx->excluded_, block) & inside;
}

typedef struct sgl__scan { uint32_t block; uint64_t bits; } sgl__scan;

static inline bool sgl__next_candidate(const sgl_context *ctx, sgl__scan *scan, uint32_t *worker) {
    while (!scan->bits) {
        if (64 * scan->block >= ctx->workers) return false;
        scan->bits = sgl_candidates(ctx, scan->block++);
    }
    *worker = 64 * scan->block - 64 + (uint32_t)__builtin_ctzll(scan->bits);
    scan->bits &= scan->bits - 1;
    return true;
}

/* A loop over the workers that may be chosen, ascending. */
#define SGL_EACH_CANDIDATE(worker, ctx) \
    for (sgl__scan sgl_scan_ = {0, 0}; sgl__next_candidate((ctx), &sgl_scan_, &(worker));)

/* The cheapest offer so far; among n equal ones each is kept with chance 1/n. */
typedef struct sgl_lowest { double cost; uint32_t worker, ties; } sgl_lowest;
#define SGL_LOWEST ((sgl_lowest){__builtin_inf(), 0, 0})

/* A cost that is infinite or NaN counts as the highest of all, so that somebody is chosen while somebody
 * may be. */
static inline void sgl_offer(sgl_lowest *lowest, double cost, uint32_t worker, sgl_rng *rng) {
    const double most = 1.7976931348623157e308;
    if (!(cost <= most && cost >= -most)) cost = most;
    if (cost < lowest->cost) *lowest = (sgl_lowest){cost, worker, 1};
    else if (cost == lowest->cost && sgl_below(rng, ++lowest->ties) == 0) lowest->worker = worker;
}

/* The worker that was kept, or nobody. */
static inline sgl_choice sgl_cheapest(const sgl_lowest *lowest) {
    return lowest->ties ? sgl_worker(lowest->worker) : sgl_nobody();
}

/* ---- The operator's configuration. The first fault refuses the load. ---- */

static SGL__COLD bool sgl_config_get(const sgl_init *init, const char *key, sgl_value *value) {
    sgl_reader r = init->config.inside;
    sgl_text name;
    for (uint32_t i = 0; i < init->config.count; i++) {
        if (!sgl_read_text(&r, &name) || !sgl_read_whole(&r, value)) return false;
        if (sgl_is(name, key)) return value->kind != SGL_NIL;
    }
    return false;
}

/* How many letters make one word into the other (Levenshtein). */
static SGL__COLD uint32_t sgl__distance(sgl_text one, sgl_text other) {
    uint32_t row[65], length = other.length < 64 ? other.length : 64;
    for (uint32_t i = 0; i <= length; i++) row[i] = i;
    for (uint32_t at = 1; at <= one.length && at <= 64; at++) {
        uint32_t left = at, above_left = at - 1;
        for (uint32_t i = 1; i <= length; i++) {
            uint32_t swapped = above_left + (one.at[at - 1] != other.at[i - 1]);
            above_left = row[i];
            left = swapped < left + 1 ? swapped : left + 1;
            row[i] = left = left < above_left + 1 ? left : above_left + 1;
        }
        row[0] = at;
    }
    return row[length];
}

static SGL__COLD void sgl__put_word(sgl_line *line, sgl_text word, bool first) {
    sgl_puts(line, first ? "`" : ", `"), sgl_put(line, word), sgl_puts(line, "`");
}

/* Refuses keys that the policy does not know, and names those that it does, the nearest first. */
static SGL__COLD void sgl_known_keys(sgl_init *init, const char *const *known, uint32_t count) {
    sgl_reader r = init->config.inside;
    sgl_line unknown = {.length = 0};
    sgl_text name;
    uint32_t refused = 0, nearest = 0, distance = UINT32_MAX;
    for (uint32_t i = 0; i < init->config.count && sgl_read_text(&r, &name) && sgl_skip(&r); i++) {
        bool is_known = false;
        for (uint32_t k = 0; k < count; k++) is_known |= sgl_is(name, known[k]);
        if (is_known) continue;
        sgl__put_word(&unknown, name, !refused++);
        for (uint32_t k = 0; k < count; k++) {
            uint32_t letters = sgl__distance(name, sgl_closed(known[k]));
            if (letters < distance || (letters == distance && k < nearest)) distance = letters, nearest = k;
        }
    }
    if (!refused || init->error.length) return;
    sgl_puts(&init->error, refused > 1 ? "unknown config keys " : "unknown config key ");
    sgl_put(&init->error, sgl_text_of(&unknown));
    sgl_puts(&init->error, count ? "; known: " : "; there are none");
    if (count) sgl__put_word(&init->error, sgl_closed(known[nearest]), true);
    for (uint32_t k = 0; k < count; k++)
        if (k != nearest) sgl__put_word(&init->error, sgl_closed(known[k]), false);
}

static SGL__COLD void sgl__put_value(sgl_line *line, const sgl_value *value) {
    double number;
    if (sgl_as_number(value, &number)) { sgl_put_number(line, number); return; }
    switch (value->kind) {
    case SGL_STR: {
        uint32_t end = 0; /* 64 characters of it */
        for (uint32_t shown = 0; end < value->bytes.length; end++)
            if ((value->bytes.at[end] & 0xc0) != 0x80 && shown++ == 64) break;
        sgl__put_word(line, (sgl_text){value->bytes.at, end}, true);
        return;
    }
    case SGL_BOOL: sgl_puts(line, value->number ? "true" : "false"); return;
    case SGL_ARRAY: sgl_puts(line, "a list"); return;
    case SGL_MAP: sgl_puts(line, "a map"); return;
    default: sgl_puts(line, "no value");
    }
}

/* Says what a key has; what it may have is put behind it. False if another fault was first. */
static SGL__COLD bool sgl_refuse(sgl_init *init, const char *key, const sgl_value *value) {
    if (init->error.length) return false;
    sgl_puts(&init->error, "config key `"), sgl_puts(&init->error, key), sgl_puts(&init->error, "` is ");
    sgl__put_value(&init->error, value);
    sgl_puts(&init->error, "; expected ");
    return true;
}

static SGL__COLD void sgl__put_range(sgl_line *line, double low, double high) {
    bool open = high == __builtin_inf();
    sgl_puts(line, open ? "of at least " : "from "), sgl_put_number(line, low);
    if (!open) sgl_puts(line, " to "), sgl_put_number(line, high);
}

/* A finite number within this range; `high` may be infinite. `otherwise` where the key is missing. */
static SGL__COLD double sgl_number_in(sgl_init *init, const char *key, double otherwise, double low, double high) {
    sgl_value value;
    double number;
    if (!sgl_config_get(init, key, &value)) return otherwise;
    if (sgl_as_number(&value, &number) && number - number == 0 && number >= low && number <= high) return number;
    if (sgl_refuse(init, key, &value)) sgl_puts(&init->error, "a number "), sgl__put_range(&init->error, low, high);
    return otherwise;
}

/* A whole number within this range; UINT64_MAX is no limit. */
static inline SGL__COLD uint64_t sgl_size_in(sgl_init *init, const char *key, uint64_t otherwise, uint64_t low, uint64_t high) {
    sgl_value value;
    if (!sgl_config_get(init, key, &value)) return otherwise;
    if (value.kind == SGL_UINT && value.number >= low && value.number <= high) return value.number;
    if (sgl_refuse(init, key, &value)) {
        sgl_puts(&init->error, "a whole number ");
        sgl__put_range(&init->error, (double)low, high == UINT64_MAX ? __builtin_inf() : (double)high);
    }
    return otherwise;
}

static inline SGL__COLD bool sgl_flag(sgl_init *init, const char *key, bool otherwise) {
    sgl_value value;
    if (!sgl_config_get(init, key, &value)) return otherwise;
    if (value.kind == SGL_BOOL) return value.number;
    if (sgl_refuse(init, key, &value)) sgl_puts(&init->error, "true or false");
    return otherwise;
}

/* A text. Copy what you keep: it is part of the message. */
static inline SGL__COLD sgl_text sgl_word(sgl_init *init, const char *key, const char *otherwise) {
    sgl_value value;
    if (!sgl_config_get(init, key, &value)) return sgl_closed(otherwise);
    if (value.kind == SGL_STR) return value.bytes;
    if (sgl_refuse(init, key, &value)) sgl_puts(&init->error, "a text");
    return sgl_closed(otherwise);
}

/* Which of these words it is; the first is the default. */
static inline SGL__COLD uint32_t sgl_one_of(sgl_init *init, const char *key, const char *const *words, uint32_t count) {
    sgl_value value;
    if (!sgl_config_get(init, key, &value)) return 0;
    for (uint32_t i = 0; i < count; i++)
        if (value.kind == SGL_STR && sgl_is(value.bytes, words[i])) return i;
    if (sgl_refuse(init, key, &value))
        for (uint32_t i = 0; i < count; i++) sgl__put_word(&init->error, sgl_closed(words[i]), i == 0);
    return 0;
}

/* ---- Writing answers. ---- */

static uint8_t *sgl__answer;
static uint32_t sgl__answer_size, sgl__written;
static uint8_t sgl__small_answer[128];

static void sgl__write_byte(uint8_t byte) {
    if (sgl__written < sgl__answer_size) sgl__answer[sgl__written++] = byte;
}

static SGL__COLD void sgl__write_big_endian(uint8_t marker, uint64_t value, uint32_t width) {
    sgl__write_byte(marker);
    while (width--) sgl__write_byte((uint8_t)(value >> 8 * width));
}

static void sgl__write_uint(uint64_t value) {
    if (value < 0x80) sgl__write_byte((uint8_t)value);
    else if (value <= UINT8_MAX) sgl__write_big_endian(0xcc, value, 1);
    else if (value <= UINT16_MAX) sgl__write_big_endian(0xcd, value, 2);
    else if (value <= UINT32_MAX) sgl__write_big_endian(0xce, value, 4);
    else sgl__write_big_endian(0xcf, value, 8);
}

static SGL__COLD void sgl__write_bytes(uint8_t marker8, sgl_text bytes) {
    if (marker8 == 0xd9 && bytes.length < 32) sgl__write_byte((uint8_t)(0xa0 | bytes.length));
    else if (bytes.length <= UINT8_MAX) sgl__write_big_endian(marker8, bytes.length, 1);
    else if (bytes.length <= UINT16_MAX) sgl__write_big_endian((uint8_t)(marker8 + 1), bytes.length, 2);
    else sgl__write_big_endian((uint8_t)(marker8 + 2), bytes.length, 4);
    for (uint32_t i = 0; i < bytes.length; i++) sgl__write_byte((uint8_t)bytes.at[i]);
}

static void sgl__write_text(sgl_text text) { sgl__write_bytes(0xd9, text); }
static void sgl__write_key(const char *key) { sgl__write_text(sgl_closed(key)); }

static void sgl__write_f32(float value) {
    uint32_t bits;
    __builtin_memcpy(&bits, &value, 4);
    sgl__write_big_endian(0xca, bits, 4);
}

static void sgl__write_f64(double value) {
    uint64_t bits;
    __builtin_memcpy(&bits, &value, 8);
    sgl__write_big_endian(0xcb, bits, 8);
}

static void sgl__write_tag(const sgl_choice *choice) {
    if (choice->tagged) sgl__write_uint(choice->tag);
    else sgl__write_byte(0xc0);
}

/* Room for an answer of this size; what was there is given up. */
static void sgl__start_answer(uint64_t size) {
    sgl__written = 0;
    if (size <= sizeof sgl__small_answer) {
        if (!sgl__answer) sgl__answer = sgl__small_answer, sgl__answer_size = sizeof sgl__small_answer;
    } else if (size > sgl__answer_size) {
        if (sgl__answer != sgl__small_answer) sgl_free(sgl__answer, sgl__answer_size);
        sgl__answer = sgl_alloc((uint32_t)size);
        sgl__answer_size = (uint32_t)size;
        if (!sgl__answer) sgl_panic("no memory for the answer");
    }
}

static int64_t sgl__answered(void) { return (int64_t)((uint64_t)(uintptr_t)sgl__answer << 32 | sgl__written); }

static SGL__COLD int64_t sgl__answer_error(sgl_text why) {
    sgl__start_answer(16 + (uint64_t)why.length);
    sgl__write_byte(0x81), sgl__write_key("error"), sgl__write_text(why);
    return sgl__answered();
}

static void sgl__write_wait(const sgl_choice *choice) {
    if (choice->is == SGL__WAIT) {
        sgl__write_key("wait"), sgl__write_byte(0x82), sgl__write_key("key"), sgl__write_f64(choice->key);
        sgl__write_key("deadline_ms"), sgl__write_uint(choice->ms);
    } else if (choice->is == SGL__SHED) {
        sgl__write_key("shed"), sgl__write_byte(0x81), sgl__write_key("retry_after_ms"), sgl__write_uint(choice->ms);
    }
}

/* The answer as a map of what it has. */
static SGL__COLD int64_t sgl__answer_map(const sgl_choice *choice, bool pair) {
    if (choice->is == SGL__FAILED) return sgl__answer_error(choice->text);
    bool chosen = choice->is == SGL__WORKER || choice->is == SGL__PAIR, puts_off = choice->is == SGL__WAIT || choice->is == SGL__SHED;
    bool scored = choice->score_count && !pair;
    sgl__start_answer(160 + (uint64_t)choice->text.length + 4ull * choice->score_count);
    uint32_t keys = (chosen ? (pair ? 2 : 1) : 0) + (choice->tagged ? 1 : 0) + (choice->costs ? (pair ? 2 : 1) : 0);
    keys += (choice->text.at ? 1 : 0) + (scored ? 1 : 0) + (puts_off ? 1 : 0);
    sgl__write_byte((uint8_t)(0x80 | keys));
    if (chosen) sgl__write_key(pair ? "prefill" : "selected_worker"), sgl__write_uint(choice->worker);
    if (chosen && pair) sgl__write_key("decode"), sgl__write_uint(choice->decode);
    if (scored) sgl__write_key("scores"), sgl__write_bytes(0xc4, (sgl_text){(const char *)choice->scores, 4 * choice->score_count});
    if (choice->text.at) sgl__write_key("reason"), sgl__write_text(choice->text);
    if (choice->tagged) sgl__write_key("tag"), sgl__write_uint(choice->tag);
    if (choice->costs) sgl__write_key("cost"), sgl__write_f32(choice->cost);
    if (choice->costs && pair) sgl__write_key("decode_cost"), sgl__write_f32(choice->decode_cost);
    sgl__write_wait(choice);
    return sgl__answered();
}

static inline int64_t sgl__encode(const sgl_choice *choice) {
    if ((choice->is != SGL__WORKER && choice->is != SGL__NOBODY) || choice->text.at || choice->score_count)
        return sgl__answer_map(choice, false);
    sgl__start_answer(0);
    if (choice->is == SGL__NOBODY) {
        sgl__write_byte(0xc0);
    } else if (choice->tagged || choice->costs) {
        sgl__write_byte(0x93), sgl__write_uint(choice->worker), sgl__write_tag(choice), sgl__write_f32(choice->cost);
    } else {
        sgl__write_uint(choice->worker);
    }
    return sgl__answered();
}

static inline int64_t sgl__encode_pair(const sgl_choice *choice) {
    if (choice->is == SGL__WORKER) return sgl__answer_error(SGL_TEXT("policy_select_pair answered with one worker; answer with sgl_pair"));
    if ((choice->is != SGL__PAIR && choice->is != SGL__NOBODY) || choice->text.at || choice->tagged || choice->costs)
        return sgl__answer_map(choice, true);
    sgl__start_answer(0);
    if (choice->is == SGL__NOBODY) sgl__write_byte(0xc0);
    else sgl__write_byte(0x92), sgl__write_uint(choice->worker), sgl__write_uint(choice->decode);
    return sgl__answered();
}

/* ---- Reading decisions. Each gives 0, or what is wrong. ---- */

static const char *const SGL__MALFORMED = "decision message is malformed";
static const char *const SGL__COLUMN_LENGTH = "a column has not one entry per worker";

/* Bytes: the two heads that the router writes for columns, then any. */
static inline bool sgl__read_bin(sgl_reader *r, const uint8_t **at, uint32_t *length) {
    sgl_value value;
    if (sgl_left(r) >= 2 && r->at[0] == 0xc4) *length = r->at[1], r->at += 2;
    else if (sgl_left(r) >= 3 && r->at[0] == 0xc5) *length = (uint32_t)r->at[1] << 8 | r->at[2], r->at += 3;
    else {
        if (!sgl_read_of(r, SGL_BIN, &value)) return false;
        *at = (const uint8_t *)value.bytes.at, *length = value.bytes.length;
        return true;
    }
    *at = r->at;
    if (*length > sgl_left(r)) return false;
    r->at += *length;
    return true;
}

static inline const char *sgl__take_words(sgl_reader *r, sgl_context *ctx, const uint8_t **at, uint32_t *count) {
    uint32_t length;
    if (!sgl__read_bin(r, at, &length)) return SGL__MALFORMED;
    *count = length / 4;
#ifdef SGL_WITHOUT_TABLE
    if (ctx->workers == UINT32_MAX) ctx->workers = *count; /* the first column counts the workers */
#endif
    return length % 4 || *count != ctx->workers ? SGL__COLUMN_LENGTH : 0;
}

static inline const char *sgl__take_ints(sgl_reader *r, sgl_context *ctx, sgl_ints *to) { return sgl__take_words(r, ctx, &to->at, &to->count); }
static inline const char *sgl__take_floats(sgl_reader *r, sgl_context *ctx, sgl_floats *to) { return sgl__take_words(r, ctx, &to->at, &to->count); }

static inline const char *sgl__take_healthy(sgl_reader *r, sgl_context *ctx, sgl_bits *to) {
    if (!sgl__read_bin(r, &to->at, &to->count)) return SGL__MALFORMED;
    ctx->healthy_ = *to;
    return 0;
}

static inline const char *sgl__take_excluded(sgl_reader *r, sgl_context *ctx, sgl_bits *to) {
    if (!sgl__read_bin(r, &to->at, &to->count)) return SGL__MALFORMED;
    ctx->excluded_ = *to;
    return 0;
}

static inline const char *sgl__take_uint(sgl_reader *r, sgl_context *ctx, sgl_uint *to) {
    (void)ctx;
    if (sgl_left(r) >= 9 && *r->at == 0xcf) {
        *to = __builtin_bswap64(SGL__LOAD(uint64_t, r->at + 1)), r->at += 9;
        return 0;
    }
    if (sgl_left(r) && *r->at < 0x80) {
        *to = *r->at++;
        return 0;
    }
    return sgl_read_uint(r, to) ? 0 : SGL__MALFORMED;
}

static inline const char *sgl__take_leg(sgl_reader *r, sgl_context *ctx, sgl_leg *to) {
    const char *fault = sgl__take_uint(r, ctx, to);
    return fault ? fault : *to > SGL_LEG_DECODE ? "unknown leg" : 0;
}

static const char *sgl__take_text(sgl_reader *r, sgl_context *ctx, sgl_text *to) {
    (void)ctx;
    *to = (sgl_text){0, 0};
    return sgl__is_nil(r) || sgl_read_text(r, to) ? 0 : SGL__MALFORMED;
}

static inline bool sgl__take_maybe_number(sgl_reader *r, sgl_maybe *to) {
    *to = (sgl_maybe){0, false};
    return sgl__is_nil(r) || (to->known = sgl_read_uint(r, &to->number));
}

static inline const char *sgl__take_maybe(sgl_reader *r, sgl_context *ctx, sgl_maybe *to) {
    (void)ctx;
    return sgl__take_maybe_number(r, to) ? 0 : SGL__MALFORMED;
}

static inline bool sgl__take_float(sgl_reader *r, float *to) {
    sgl_value value;
    double number;
    if (!sgl_read(r, &value) || !sgl_as_number(&value, &number)) return false;
    *to = (float)number;
    return true;
}

static inline const char *sgl__take_rate(sgl_reader *r, sgl_context *ctx, sgl_rate *to) {
    (void)ctx;
    return sgl__take_float(r, to) ? 0 : SGL__MALFORMED;
}

static inline const char *sgl__take_list(sgl_reader *r, const uint8_t **at, uint32_t *count, uint32_t width) {
    uint32_t length = 0;
    *at = 0, *count = 0;
    if (sgl__is_nil(r)) return 0;
    if (!sgl__read_bin(r, at, &length)) return SGL__MALFORMED;
    *count = length / width;
    return length % width ? SGL__COLUMN_LENGTH : 0;
}

static inline const char *sgl__take_tokens(sgl_reader *r, sgl_context *ctx, sgl_tokens *to) {
    (void)ctx;
    return sgl__take_list(r, &to->at, &to->count, 4);
}

static inline const char *sgl__take_hashes(sgl_reader *r, sgl_context *ctx, sgl_hashes *to) {
    (void)ctx;
    return sgl__take_list(r, &to->at, &to->count, 8);
}

#define SGL__TAKE(input) if (!fault) fault = SGL__JOINED(sgl__take_, SGL__FORM_##input)(&r, ctx, &ctx->input);
#define SGL__TAKE_NAMED(field, input) if (!fault) fault = sgl__take_text(&r, ctx, &ctx->field);
enum { SGL__INPUTS = 0 SGL_INPUTS(SGL__PLUS_ONE) SGL_NAMED_INPUTS(SGL__PLUS_ONE) };

static inline bool sgl__fits(sgl_bits bits, uint32_t workers) { return !bits.count || bits.count == (workers + 7) / 8; }

static inline const char *sgl__take_message(const uint8_t *at, uint32_t length, sgl_context *ctx) {
    sgl_reader r = {at, at + length};
    sgl_uint version;
    sgl_value head;
    const char *fault = 0;
    if (sgl_left(&r) && *r.at >= 0x90 && *r.at < 0xa0) head.count = *r.at++ & 0x0f;
    else if (!sgl_read_of(&r, SGL_ARRAY, &head)) return SGL__MALFORMED;
    if (head.count != SGL__INPUTS + 1) return "decision message has not one element per declared input";
    if (sgl__take_uint(&r, ctx, &version)) return SGL__MALFORMED;
    ctx->healthy_ = ctx->excluded_ = (sgl_bits){0, 0};
#ifdef SGL_WITHOUT_TABLE
    ctx->workers = UINT32_MAX;
#else
    if (version != sgl_workers.version) return "decision message names another version of the worker table";
    ctx->workers = sgl_workers.count;
#endif
    SGL_INPUTS(SGL__TAKE)
    SGL_NAMED_INPUTS(SGL__TAKE_NAMED)
    if (fault) return fault;
    if (r.at != r.end) return SGL__MALFORMED;
#ifdef SGL_WITHOUT_TABLE
    uint32_t bytes = ctx->healthy_.count > ctx->excluded_.count ? ctx->healthy_.count : ctx->excluded_.count;
    if (ctx->workers == UINT32_MAX) ctx->workers = 8 * bytes;
#endif
    return sgl__fits(ctx->healthy_, ctx->workers) && sgl__fits(ctx->excluded_, ctx->workers) ? 0 : SGL__COLUMN_LENGTH;
}

/* ---- Reading the worker table. ---- */

static SGL__COLD bool sgl__take_fact(sgl_reader *r, sgl_maybe *to) {
    if (!sgl__take_maybe_number(r, to)) return false;
    if (to->number > UINT32_MAX) *to = (sgl_maybe){0, false};
    return true;
}

/* Texts in a map or an array, or nil. */
static SGL__COLD bool sgl__take_texts(sgl_reader *r, sgl_kind kind, sgl_value *texts) {
    sgl_text text;
    if (!sgl_read_whole(r, texts)) return false;
    if (texts->kind == SGL_NIL) return true;
    sgl_reader inside = texts->inside;
    uint32_t count = kind == SGL_MAP ? 2 * texts->count : texts->count;
    for (uint32_t i = 0; i < count; i++)
        if (!sgl_read_text(&inside, &text)) return false;
    return texts->kind == kind;
}

static bool sgl__take_role(sgl_reader *r, sgl_worker_facts *worker) {
    sgl_text role;
    if (!sgl_read_text(r, &role)) return false;
    worker->role = sgl_is(role, "prefill") ? SGL_PREFILL : sgl_is(role, "decode") ? SGL_DECODE : SGL_REGULAR;
    return worker->role != SGL_REGULAR || sgl_is(role, "regular");
}

static SGL__COLD bool sgl__take_worker_key(sgl_reader *r, sgl_text key, sgl_worker_facts *worker) {
    sgl_value value;
    if (sgl_is(key, "url")) return sgl_read_text(r, &worker->url);
    if (sgl_is(key, "model")) return !sgl__take_text(r, 0, &worker->model);
    if (sgl_is(key, "role")) return sgl__take_role(r, worker);
    if (sgl_is(key, "weight")) return sgl_read(r, &value) && sgl_as_number(&value, &worker->weight);
    if (sgl_is(key, "labels")) return sgl__take_texts(r, SGL_MAP, &worker->labels);
    if (sgl_is(key, "engine")) return !sgl__take_text(r, 0, &worker->engine);
    if (sgl_is(key, "kv_capacity_tokens")) return sgl__take_fact(r, &worker->kv_capacity_tokens);
    if (sgl_is(key, "block_size")) return sgl__take_fact(r, &worker->block_size);
    if (sgl_is(key, "max_running_requests")) return sgl__take_fact(r, &worker->max_running_requests);
    if (sgl_is(key, "dp_rank")) return sgl__take_fact(r, &worker->dp_rank);
    if (sgl_is(key, "models")) return sgl__take_texts(r, SGL_ARRAY, &worker->models);
    return sgl_skip(r);
}

static bool sgl__take_worker(sgl_reader *r, sgl_worker_facts *worker) {
    sgl_value entries;
    sgl_text key;
    *worker = (sgl_worker_facts){.weight = 1.0};
    if (!sgl_read_of(r, SGL_MAP, &entries)) return false;
    for (uint32_t i = 0; i < entries.count; i++)
        if (!sgl_read_text(r, &key) || !sgl__take_worker_key(r, key, worker)) return false;
    return worker->url.at != 0;
}

/* Reads a copy of the message; false leaves the table half made. */
static bool sgl__take_table(sgl_table *table) {
    sgl_reader r = {table->bytes, table->bytes + table->size};
    sgl_value entries, workers = {.kind = SGL_NIL};
    sgl_text key;
    if (!sgl_read_of(&r, SGL_MAP, &entries)) return false;
    for (uint32_t i = 0; i < entries.count; i++) {
        if (!sgl_read_text(&r, &key)) return false;
        if (sgl_is(key, "version") ? !sgl_read_uint(&r, &table->version) : sgl_is(key, "workers") ? !sgl_read_whole(&r, &workers) : !sgl_skip(&r)) return false;
    }
    if (r.at != r.end || workers.kind != SGL_ARRAY) return false;
    table->count = workers.count;
    table->workers = sgl_alloc(table->count * (uint32_t)sizeof(sgl_worker_facts));
    if (!table->workers) return false;
    for (uint32_t i = 0; i < table->count; i++)
        if (!sgl__take_worker(&workers.inside, &table->workers[i])) return false;
    return true;
}

static void sgl__free_table(sgl_table *table) {
    sgl_free(table->workers, table->count * (uint32_t)sizeof(sgl_worker_facts));
    sgl_free(table->bytes, table->size);
    *table = (sgl_table){.version = 0};
}

/* ---- Exports. ---- */

#define SGL__EXPORT(name) __attribute__((export_name(name)))

static bool sgl__ready;

SGL__EXPORT("alloc") void *sgl__export_alloc(uint32_t size) { return sgl_alloc(size); }
SGL__EXPORT("dealloc") void sgl__export_dealloc(void *memory, uint32_t size) { sgl_free(memory, size); }

static bool sgl__take_init(const uint8_t *at, uint32_t length, sgl_init *init) {
    sgl_reader r = {at, at + length};
    sgl_value entries;
    sgl_text key;
    if (!sgl_read_of(&r, SGL_MAP, &entries)) return false;
    for (uint32_t i = 0; i < entries.count; i++) {
        if (!sgl_read_text(&r, &key)) return false;
        bool read = sgl_is(key, "abi")          ? sgl_read_uint(&r, &init->abi)
                    : sgl_is(key, "plugin")     ? sgl_read_text(&r, &init->plugin)
                    : sgl_is(key, "generation") ? sgl_read_uint(&r, &init->generation)
                    : sgl_is(key, "config")     ? sgl_read_whole(&r, &init->config) && init->config.kind == SGL_MAP
                    : sgl_is(key, "seed")       ? sgl_read_uint(&r, &init->seed)
                                                : sgl_skip(&r);
        if (!read) return false;
    }
    return r.at == r.end;
}

SGL__EXPORT("init") int64_t sgl__export_init(const uint8_t *at, uint32_t length) {
    static sgl_init init;
    init = (sgl_init){.abi = 0};
    sgl__ready = false;
    if (!sgl__take_init(at, length, &init)) return sgl__answer_error(SGL_TEXT("init message is malformed"));
    policy_init(&init);
    if (init.error.length) return sgl__answer_error(sgl_text_of(&init.error));
    sgl__ready = true;
    return 0;
}

#define SGL__NOT_READY SGL_TEXT("the plugin decides before `init` succeeded")

SGL__EXPORT("select_worker") int64_t sgl__export_select(const uint8_t *at, uint32_t length) {
    sgl_context ctx;
    if (!sgl__ready) return sgl__answer_error(SGL__NOT_READY);
    const char *fault = sgl__take_message(at, length, &ctx);
    if (fault) return sgl__answer_error(sgl_closed(fault));
    sgl_choice choice = policy_select(&ctx);
    return sgl__encode(&choice);
}

#ifdef SGL_HOOK_PAIR
SGL__EXPORT("select_worker_pair") int64_t sgl__export_select_pair(const uint8_t *at, uint32_t length) {
    sgl_context ctx;
    if (!sgl__ready) return sgl__answer_error(SGL__NOT_READY);
    const char *fault = sgl__take_message(at, length, &ctx);
    if (fault) return sgl__answer_error(sgl_closed(fault));
    sgl_choice choice = policy_select_pair(&ctx);
    return sgl__encode_pair(&choice);
}
#endif

#ifndef SGL_WITHOUT_TABLE
/* A message that cannot be read leaves the table as it is: decisions that name the new one are refused. */
SGL__EXPORT("on_workers") void sgl__export_on_workers(const uint8_t *at, uint32_t length) {
    sgl_table table = {.bytes = sgl_alloc(length), .size = length};
    if (table.bytes) __builtin_memcpy(table.bytes, at, length);
    if (!table.bytes || !sgl__take_table(&table)) {
        sgl__free_table(&table);
        sgl_log(SGL_ERROR, SGL_TEXT("worker table message is malformed, or there is no memory for it"));
        return;
    }
    sgl__free_table(&sgl_workers);
    sgl_workers = table;
#ifdef SGL_HOOK_WORKERS
    if (sgl__ready) policy_on_workers();
#endif
}
#endif

#if defined SGL_HOOK_FIRST_TOKEN || defined SGL_HOOK_COMPLETE
/* Opens a batch of events; false if it belongs to another table, or is malformed. */
static bool sgl__open_batch(sgl_reader *r, sgl_value *entries) {
    sgl_value batch;
    uint64_t version;
    if (!sgl__ready || !sgl_read_of(r, SGL_ARRAY, &batch) || batch.count < 2 || !sgl_read_uint(r, &version)) return false;
#ifndef SGL_WITHOUT_TABLE
    if (version != sgl_workers.version) return false;
#endif
    if (!sgl_read_whole(r, entries) || entries->kind != SGL_ARRAY) return false;
    for (uint32_t i = 2; i < batch.count; i++)
        if (!sgl_skip(r)) return false;
    return r->at == r->end;
}

static bool sgl__take_index(sgl_reader *r, uint32_t *to) {
    uint64_t index;
    bool read = sgl_read_uint(r, &index) && index <= UINT32_MAX;
    *to = (uint32_t)index;
    return read;
}

static bool sgl__skip_rest(sgl_reader *r, uint32_t count, uint32_t known) {
    for (uint32_t i = known; i < count; i++)
        if (!sgl_skip(r)) return false;
    return true;
}
#endif

#ifdef SGL_HOOK_FIRST_TOKEN
static bool sgl__take_first_token(sgl_reader *r, sgl_first_token *first) {
    sgl_value entry;
    return sgl_read_of(r, SGL_ARRAY, &entry) && entry.count >= 3 && sgl__take_index(r, &first->worker) &&
           sgl__take_maybe_number(r, &first->tag) && sgl__take_float(r, &first->ms) && sgl__skip_rest(r, entry.count, 3);
}

SGL__EXPORT("on_first_token") void sgl__export_on_first_token(const uint8_t *at, uint32_t length) {
    sgl_reader r = {at, at + length};
    sgl_value entries;
    sgl_first_token first;
    if (!sgl__open_batch(&r, &entries)) return;
    for (uint32_t i = 0; i < entries.count && sgl__take_first_token(&entries.inside, &first); i++) policy_on_first_token(&first);
}
#endif

#ifdef SGL_HOOK_COMPLETE
static bool sgl__take_time(sgl_reader *r, float *to) {
    *to = __builtin_nanf("");
    return sgl__is_nil(r) || sgl__take_float(r, to);
}

static bool sgl__take_completion(sgl_reader *r, sgl_completion *done) {
    sgl_value entry, ok;
    *done = (sgl_completion){.worker = 0};
    if (!sgl_read_of(r, SGL_ARRAY, &entry) || entry.count < 7 || !sgl__take_index(r, &done->worker)) return false;
    if (!sgl_read_of(r, SGL_BOOL, &ok) || !sgl__take_maybe_number(r, &done->status)) return false;
    done->ok = ok.number;
    if (!sgl__take_time(r, &done->first_byte_ms) || !sgl__take_time(r, &done->total_ms)) return false;
    if (!sgl__take_maybe_number(r, &done->prompt_tokens) || !sgl__take_maybe_number(r, &done->completion_tokens)) return false;
    if (entry.count > 7 && !sgl__take_maybe_number(r, &done->cached_tokens)) return false;
    if (entry.count > 8 && !sgl__take_maybe_number(r, &done->tag)) return false;
    return sgl__skip_rest(r, entry.count, 9);
}

SGL__EXPORT("on_complete") void sgl__export_on_complete(const uint8_t *at, uint32_t length) {
    sgl_reader r = {at, at + length};
    sgl_value entries;
    sgl_completion done;
    if (!sgl__open_batch(&r, &entries)) return;
    for (uint32_t i = 0; i < entries.count && sgl__take_completion(&entries.inside, &done); i++) policy_on_complete(&done);
}
#endif

#ifdef SGL_HOOK_SESSION_END
SGL__EXPORT("on_session_end") void sgl__export_on_session_end(const uint8_t *at, uint32_t length) {
    sgl_reader r = {at, at + length};
    sgl_value batch, sessions;
    sgl_text session;
    if (!sgl__ready || !sgl_read_of(&r, SGL_ARRAY, &batch) || batch.count < 1) return;
    if (!sgl_read_of(&r, SGL_ARRAY, &sessions)) return;
    for (uint32_t i = 0; i < sessions.count && sgl_read_text(&r, &session); i++) policy_on_session_end(session);
}
#endif

#ifdef SGL_HOOK_STATE
SGL__EXPORT("save_state") int64_t sgl__export_save_state(void) {
    sgl_text saved = sgl__ready ? policy_save_state() : (sgl_text){0, 0};
    return (int64_t)((uint64_t)(uintptr_t)saved.at << 32 | saved.length);
}

SGL__EXPORT("restore_state") void sgl__export_restore_state(const char *at, uint32_t length) {
    if (sgl__ready) policy_restore_state((sgl_text){at, length});
}
#endif

#endif
