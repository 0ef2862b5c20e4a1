"""What was measured as a table, and whether the order holds."""

import re
import statistics

# What may be missing where two policies are to be alike, as a share: less than rounds differ by.
ALIKE = 0.03
QUANTILES = ("p50", "p90", "p99")


def steps(order):
    """Policies, each with what it is to be to the one before it."""
    names = re.split("<=?", order)
    return list(zip(names, ["", *re.findall("<=?", order)]))


def line(run):
    """A run, in short."""
    times = " ".join(f"{name} {run['ttft_ms'][name]:.0f}" for name in QUANTILES)
    return (f"{run['policy']:20} cached {run['cached']:.3f}, TTFT {times} ms, imbalance {run['imbalance']:.2f}, "
            f"{run['failed']} of {run['requests']} failed, lag p99 {run['lag_ms']:.1f} ms")


def spread(values, form):
    return f"{statistics.mean(values):{form}} ({min(values):{form}}..{max(values):{form}})"


def page(runs, asked):
    """The table with what holds of the order below it, and whether all of it does."""
    of = {policy: sorted((run for run in runs if run["policy"] == policy), key=lambda run: run["seed"]) for policy, _ in asked}
    lines = ["| policy | cached tokens | TTFT p50 ms | p90 | p99 | most work / mean | failed |", "|---|---|---|---|---|---|---|"]
    for policy, found in of.items():
        cells = [f"`{policy}`", spread([run["cached"] for run in found], ".3f")]
        cells += [spread([run["ttft_ms"][name] for run in found], ".0f") for name in QUANTILES]
        cells += [spread([run["imbalance"] for run in found], ".2f")]
        cells += [f"{sum(run['failed'] for run in found)} of {sum(run['requests'] for run in found)}"]
        lines.append("| " + " | ".join(cells) + " |")
    lines.append("")
    holds = True
    for (before, _), (policy, wanted) in zip(asked, asked[1:]):
        for what, better in (("cached tokens", lambda run: run["cached"]), ("TTFT p90", lambda run: 1 / run["ttft_ms"]["p90"])):
            said, held = step(of[before], of[policy], better, wanted)
            lines.append(f"{'holds' if held else 'DOES NOT HOLD'}: {before} {wanted} {policy} in {what}: {said}")
            holds &= held
    failed = sum(run["failed"] for run in runs)
    if failed:
        lines.append(f"DOES NOT HOLD: {failed} requests failed")
    return "\n".join(lines), holds and not failed


def step(before, after, better, wanted):
    """Whether one policy is better than the one before it: on average and in most rounds, or hardly worse."""
    pairs = [(better(one), better(other)) for one, other in zip(before, after)]
    gain = statistics.mean(other for _, other in pairs) / max(statistics.mean(one for one, _ in pairs), 1e-12) - 1
    won = sum(other > one for one, other in pairs)
    held = gain > 0 and 2 * won > len(pairs) if wanted == "<" else gain >= -ALIKE
    return f"{gain:+.1%} on average, better in {won} of {len(pairs)} rounds", held
