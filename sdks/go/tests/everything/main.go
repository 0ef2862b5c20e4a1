//go:build wasip1

// Reads every input, gives every answer, has every hook, calls every function of the host: the same in all languages
// and in Rust (tests/fixtures/plugins/everything), held to each other by tests/languages.
package main

import (
	"encoding/binary"
	"math"

	sgl "sglpolicy"
	_ "sglpolicy/hook/complete"
	_ "sglpolicy/hook/firsttoken"
	_ "sglpolicy/hook/pair"
	_ "sglpolicy/hook/sessionend"
	_ "sglpolicy/hook/state"
)

// digest is a number that stands for all that was read.
type digest uint64

func (d *digest) number(number uint64) {
	*d = digest(sgl.Mix((uint64(*d) ^ number) + 0x9e3779b97f4a7c15))
}

func (d *digest) maybe(number sgl.Maybe) {
	if !number.Known {
		d.number(1)
		return
	}
	d.number(2)
	d.number(number.Number)
}

func (d *digest) text(text string) { d.maybe(sgl.Maybe{Number: sgl.Hash(text), Known: true}) }

func (d *digest) maybeText(text sgl.Text) {
	d.maybe(sgl.Maybe{Number: sgl.Hash(text.Text), Known: text.Known})
}

func (d *digest) flag(is bool) {
	if is {
		d.number(1)
	} else {
		d.number(0)
	}
}

func (d *digest) float(number float32) {
	if number != number {
		d.number(0x7fc00000)
	} else {
		d.number(uint64(math.Float32bits(number)))
	}
}

func (d *digest) bits(workers int, bits sgl.Bits) {
	for worker := range workers {
		d.flag(bits.Get(worker))
	}
}

func (d *digest) ints(column sgl.Ints) {
	for worker := range column {
		d.number(uint64(uint32(column.Get(worker))))
	}
}

func (d *digest) floats(column sgl.Floats) {
	for worker := range column {
		d.float(column.Get(worker))
	}
}

func (d *digest) count(count int, known bool) {
	if known {
		d.number(uint64(count) + 2)
	} else {
		d.number(1)
	}
}

type everything struct {
	// Of the configuration and of all that the hooks were told.
	told digest
}

func (policy *everything) Init(init *sgl.Init) error {
	if err := init.KnownKeys("ratio", "size", "on", "label", "mode", "team_header"); err != nil {
		return err
	}
	ratio, err := init.NumberIn("ratio", 0.5, 0, 1)
	if err != nil {
		return err
	}
	size, err := init.SizeIn("size", 7, 1, 100)
	if err != nil {
		return err
	}
	on, err := init.Flag("on", false)
	if err != nil {
		return err
	}
	label, err := init.Text("label", "none")
	if err != nil {
		return err
	}
	mode, err := init.OneOf("mode", "fast", "slow")
	if err != nil {
		return err
	}
	policy.told = 0
	policy.told.number(math.Float64bits(ratio))
	policy.told.number(size)
	policy.told.flag(on)
	policy.told.text(label)
	policy.told.number(uint64(mode))
	policy.told.text(init.Plugin)
	policy.told.number(init.Generation)
	policy.told.number(init.Seed)
	return nil
}

func (policy *everything) OnWorkers(table *sgl.Table) {
	told := &policy.told
	told.number(uint64(len(table.Workers)))
	for _, worker := range table.Workers {
		told.text(worker.URL)
		told.maybeText(worker.Model)
		told.maybeText(worker.Engine)
		told.number(uint64(worker.Role))
		told.number(math.Float64bits(worker.Weight))
		told.maybe(worker.KvCapacityTokens)
		told.maybe(worker.BlockSize)
		told.maybe(worker.MaxRunningRequests)
		told.maybe(worker.DpRank)
		told.maybeText(worker.Label("zone"))
		told.flag(worker.Serves("sql"))
	}
}

func (policy *everything) OnFirstToken(first sgl.FirstToken) {
	policy.told.number(uint64(first.Worker))
	policy.told.maybe(first.Tag)
	policy.told.float(first.Ms)
}

func (policy *everything) OnComplete(done sgl.Completion) {
	told := &policy.told
	told.number(uint64(done.Worker))
	told.flag(done.Ok)
	told.maybe(done.Status)
	told.float(done.FirstByteMs)
	told.float(done.TotalMs)
	told.maybe(done.PromptTokens)
	told.maybe(done.CompletionTokens)
	told.maybe(done.CachedTokens)
	told.maybe(done.Tag)
}

func (policy *everything) OnSessionEnd(session string) { policy.told.text(session) }

func (policy *everything) SaveState() []byte {
	return binary.LittleEndian.AppendUint64(nil, uint64(policy.told))
}

func (policy *everything) RestoreState(saved []byte) { policy.told.text(string(saved)) }

func (d *digest) columns(ctx *sgl.Context) {
	d.bits(ctx.Workers(), ctx.Healthy())
	d.bits(ctx.Workers(), ctx.Excluded())
	d.ints(ctx.Load())
	d.ints(ctx.Running())
	d.ints(ctx.Waiting())
	d.ints(ctx.QueuedTokens())
	d.floats(ctx.KvUsage())
	d.floats(ctx.Throughput())
	d.floats(ctx.LatencyEwma())
	d.ints(ctx.ReportAgeMs())
	d.ints(ctx.PrefillLoad())
	d.ints(ctx.PrefillTokens())
	d.ints(ctx.UncachedTokens())
	d.ints(ctx.TokensInFlight())
	d.floats(ctx.PendingCost())
	d.ints(ctx.OldestPendingMs())
	d.floats(ctx.TtftEwma())
	d.floats(ctx.TpotEwma())
	d.ints(ctx.LoadElsewhere())
	d.ints(ctx.PrefixMatch())
}

func (d *digest) request(ctx *sgl.Context) {
	d.maybeText(ctx.RequestText())
	tokens, known := ctx.RequestTokens()
	d.count(len(tokens), known)
	for _, token := range tokens {
		d.number(uint64(token))
	}
	d.number(ctx.PromptBytes())
	d.number(ctx.PromptTokens())
	d.flag(ctx.PromptTokensExact())
	d.maybe(ctx.MaxTokens())
	d.flag(ctx.Stream())
	d.maybeText(ctx.Route())
	d.maybeText(ctx.Session())
	d.maybeText(ctx.ClientKey())
	hashes, known := ctx.PrefixHashes()
	d.count(len(hashes), known)
	for _, hash := range hashes {
		d.number(hash)
	}
	d.float(ctx.ArrivalRate())
	d.maybeText(ctx.Model())
	d.number(ctx.WaitedMs())
	d.number(ctx.MayWaitMs())
	d.number(ctx.Held())
	d.number(uint64(ctx.Leg()))
	d.number(ctx.Random())
	d.number(ctx.NowNs())
	d.maybeText(ctx.Input("header:x-session-id"))
	d.maybeText(ctx.Input("config_header:team_header"))
	d.maybeText(ctx.Input("field:/user"))
}

func (policy *everything) digest(ctx *sgl.Context) uint64 {
	d := policy.told
	d.number(uint64(ctx.Workers()))
	d.columns(ctx)
	d.request(ctx)
	return uint64(d)
}

// What every function of the host says.
func digestOfHost() uint64 {
	d := digest(0)
	sgl.Log(sgl.Info, "hello")
	d.number(uint64(sgl.CounterAdd(3, 5)))
	d.number(uint64(sgl.CounterAdd(3, -2)))
	d.flag(sgl.KvSet("key", []byte("word")) != nil)
	value, found := sgl.KvGet("key")
	d.maybeText(sgl.Text{Text: string(value), Known: found})
	d.flag(sgl.KvSetFor("key", nil, 0) != nil)
	value, found = sgl.KvGet("key")
	d.maybeText(sgl.Text{Text: string(value), Known: found})
	return uint64(d)
}

func leastLoaded(ctx *sgl.Context) sgl.Choice {
	lowest := sgl.NewLowest(ctx.Rng())
	for worker := range ctx.Candidates() {
		lowest.Offer(float64(ctx.Load().Get(worker)), worker)
	}
	return lowest.Choice()
}

func (policy *everything) explained(ctx *sgl.Context) sgl.Choice {
	scores := make([]float32, min(ctx.Workers(), 1000))
	for worker := range scores {
		scores[worker] = float32(worker) / 2
	}
	choice := sgl.Worker(1).WithScores(scores).WithReason("the second is enough")
	return choice.WithTag(policy.digest(ctx)).WithCost(0.5)
}

func (policy *everything) Select(ctx *sgl.Context) sgl.Choice {
	switch ctx.Input("query:key").Text {
	case "least":
		return leastLoaded(ctx)
	case "nobody":
		return sgl.Nobody()
	case "wait":
		return sgl.Wait(1.5, 500)
	case "shed":
		return sgl.Shed(2500)
	case "failed":
		return sgl.Failed("cold")
	case "host":
		return sgl.Worker(0).WithTag(digestOfHost())
	case "panic":
		panic("asked to")
	case "explained":
		return policy.explained(ctx)
	case "waits because":
		return sgl.Wait(-2, 70000).WithReason("behind its tenant")
	case "cost":
		return sgl.Worker(0).WithCost(1.5)
	case "far":
		return sgl.Worker(int(policy.digest(ctx) & 0xffff))
	}
	return leastLoaded(ctx).WithTag(policy.digest(ctx))
}

func (policy *everything) SelectPair(ctx *sgl.Context) sgl.Choice {
	pair := sgl.Pair(1, 0).WithTag(policy.digest(ctx))
	switch ctx.Input("query:key").Text {
	case "nobody":
		return sgl.Nobody()
	case "wait":
		return sgl.Wait(1.5, 500)
	case "shed":
		return sgl.Shed(2500).WithReason("full")
	case "failed":
		return sgl.Failed("cold")
	case "least":
		return sgl.Pair(300, 1)
	case "cost":
		return pair.WithCosts(1.5, 2.5)
	case "explained":
		return pair.WithReason("both")
	}
	return pair
}

func init() {
	sgl.Register(sgl.Manifest{
		Name:        "everything",
		Description: "a digest of all that it is told",
		Version:     "1.2",
		Inputs: []string{
			"healthy", "excluded", "load", "running", "waiting", "queued_tokens", "kv_usage", "throughput",
			"latency_ewma", "report_age_ms", "prefill_load", "prefill_tokens", "uncached_tokens", "tokens_in_flight",
			"pending_cost", "oldest_pending_ms", "ttft_ewma", "tpot_ewma", "load_elsewhere", "prefix_match",
			"request_text", "request_tokens", "prompt_bytes", "prompt_tokens", "prompt_tokens_exact", "max_tokens",
			"stream", "route", "session", "client_key", "prefix_hashes", "arrival_rate", "model", "waited_ms",
			"may_wait_ms", "held", "leg", "random", "now_ns", "header:x-session-id", "config_header:team_header",
			"field:/user", "query:key",
		},
		Serial: true,
	}, &everything{})
}

func main() {}
