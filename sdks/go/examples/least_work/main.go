//go:build wasip1

// The worker with the least prompt work to do, that of the request itself included. The same policy as
// plugins/least_work, which is in Rust; what it is good for: docs/policies/least_work.md.
package main

import sgl "sglpolicy"

type leastWork struct {
	requestTokens     float64
	reports, byWeight bool
	// What each worker's work is multiplied by, in table order; infinite for weight 0.
	shares []float64
}

func (policy *leastWork) Init(init *sgl.Init) (err error) {
	if err = init.KnownKeys("request_tokens", "reports", "by_weight"); err != nil {
		return err
	}
	if policy.requestTokens, err = init.NumberIn("request_tokens", 16, 0, 1e6); err != nil {
		return err
	}
	if policy.reports, err = init.Flag("reports", true); err != nil {
		return err
	}
	policy.byWeight, err = init.Flag("by_weight", true)
	return err
}

func (policy *leastWork) OnWorkers(table *sgl.Table) {
	policy.shares = make([]float64, len(table.Workers))
	for i, worker := range table.Workers {
		policy.shares[i] = 1
		if policy.byWeight {
			policy.shares[i] = 1 / worker.Weight
		}
	}
}

func (policy *leastWork) Select(ctx *sgl.Context) sgl.Choice {
	uncached, queued, matched, load := ctx.UncachedTokens(), ctx.QueuedTokens(), ctx.PrefixMatch(), ctx.Load()
	prompt := ctx.PromptTokens()
	lowest := sgl.NewLowest(ctx.Rng())
	for worker := range ctx.Candidates() {
		waiting := uncached.Known(worker)
		// The router's books are never late, and the report sees other routers: the larger counts.
		if policy.reports {
			waiting = max(waiting, queued.Known(worker))
		}
		missing := prompt - min(prompt, uint64(matched.Known(worker)))
		work := float64(waiting) + float64(missing) + float64(load.Get(worker))*policy.requestTokens
		// Never 0, so that weights count on an idle fleet too.
		lowest.Offer((work+1)*policy.shares[worker], worker)
	}
	return lowest.Choice()
}

func init() {
	sgl.Register(sgl.Manifest{
		Name:        "least_work",
		Description: "the worker with the least prompt work to do, the request's own included",
		Inputs: []string{
			"healthy", "excluded", "load", "queued_tokens", "uncached_tokens", "prefix_match", "prompt_tokens", "random",
		},
	}, &leastWork{})
}

func main() {}
