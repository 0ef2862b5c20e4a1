// Package inputs has the names of the inputs that a policy may list. It is part of modules: what it imports brings no
// system call along.
package inputs

import (
	"errors"
	"strings"
)

// Names are those without a name of their own.
var Names = strings.Fields(`healthy excluded load running waiting queued_tokens kv_usage throughput latency_ewma
	report_age_ms prefill_load prefill_tokens uncached_tokens tokens_in_flight pending_cost oldest_pending_ms ttft_ewma
	tpot_ewma load_elsewhere prefix_match request_text request_tokens prompt_bytes prompt_tokens prompt_tokens_exact
	max_tokens stream route session client_key prefix_hashes arrival_rate model waited_ms may_wait_ms held leg random
	now_ns`)

// IsNamed is true for an input with a name of its own.
func IsNamed(name string) bool {
	prefix, rest, found := strings.Cut(name, ":")
	return found && rest != "" && strings.Contains(" header config_header field query ", " "+prefix+" ")
}

// Check says what is wrong with a list of inputs.
func Check(list []string) error {
	seen := map[string]bool{}
	for _, name := range list {
		if seen[name] {
			return errors.New("input `" + name + "` is listed twice")
		}
		seen[name] = true
		known := IsNamed(name)
		for _, other := range Names {
			known = known || other == name
		}
		if !known {
			return errors.New("unknown input `" + name + "`; did you mean `" + Nearest(name, Names) + "`? All: " +
				strings.Join(Names, ", ") + ", header:…, config_header:…, field:…, query:…")
		}
	}
	return nil
}

// Nearest is the word that takes the fewest letters to make of another one; the first of several.
func Nearest(word string, words []string) string {
	nearest, least := "", -1
	for _, known := range words {
		if letters := Distance(word, known); least < 0 || letters < least {
			nearest, least = known, letters
		}
	}
	return nearest
}

// Distance is how many letters make one word into the other (Levenshtein).
func Distance(one, other string) int {
	row := make([]int, len(other)+1)
	for i := range row {
		row[i] = i
	}
	for at := 1; at <= len(one); at++ {
		left, aboveLeft := at, at-1
		row[0] = at
		for i := 1; i <= len(other); i++ {
			swapped := aboveLeft
			if one[at-1] != other[i-1] {
				swapped++
			}
			aboveLeft = row[i]
			left = min(swapped, left+1, aboveLeft+1)
			row[i] = left
		}
	}
	return row[len(other)]
}
