//go:build wasip1

package sglpolicy

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"sglpolicy/internal/inputs"
)

// Init is what an instance is told first.
type Init struct {
	ABI        uint64
	Plugin     string
	Generation uint64
	Seed       uint64
	config     []byte
	entries    int
}

func (init *Init) read(message []byte) bool {
	r := reader{rest: message}
	if !r.is(kindMap) {
		return false
	}
	for left := r.count; left > 0; left-- {
		if !r.is(kindStr) || !init.readKey(&r, r.text()) {
			return false
		}
	}
	return len(r.rest) == 0
}

func (init *Init) readKey(r *reader, key string) bool {
	switch key {
	case "abi":
		return r.uint(&init.ABI)
	case "plugin":
		read := r.is(kindStr)
		init.Plugin = strings.Clone(r.text())
		return read
	case "generation":
		return r.uint(&init.Generation)
	case "seed":
		return r.uint(&init.Seed)
	case "config":
		encoded, read := r.raw()
		config := reader{rest: encoded}
		read = read && config.is(kindMap)
		init.config, init.entries = config.rest, config.count
		return read
	}
	return r.skip()
}

// get is a reader behind the head of the value of a key; nil if it is missing or nil.
func (init *Init) get(key string) *reader {
	r := reader{rest: init.config}
	for left := init.entries; left > 0 && r.is(kindStr); left-- {
		found := r.text() == key
		encoded, read := r.raw()
		if !read {
			return nil
		}
		if found {
			value := &reader{rest: encoded}
			if !value.head() || value.kind == kindNil {
				return nil
			}
			return value
		}
	}
	return nil
}

// KnownKeys refuses keys that the policy does not know, and names those that it does, the nearest first.
func (init *Init) KnownKeys(known ...string) error {
	var unknown []string
	r := reader{rest: init.config}
	for left := init.entries; left > 0 && r.is(kindStr); left-- {
		if key := r.text(); !slices.Contains(known, key) {
			unknown = append(unknown, strings.Clone(key))
		}
		if !r.skip() {
			break
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	text := "unknown config key "
	if len(unknown) > 1 {
		text = "unknown config keys "
	}
	return errors.New(text + quoted(unknown) + nearestFirst(known, unknown))
}

func nearestFirst(known, unknown []string) string {
	if len(known) == 0 {
		return "; there are none"
	}
	nearest, least := 0, math.MaxInt
	for at, name := range known {
		for _, key := range unknown {
			if letters := inputs.Distance(key, name); letters < least {
				nearest, least = at, letters
			}
		}
	}
	listed := append([]string{known[nearest]}, known[:nearest]...)
	return "; known: " + quoted(append(listed, known[nearest+1:]...))
}

// NumberIn is a finite number within this range; high may be infinite. Otherwise where the key is missing.
func (init *Init) NumberIn(key string, otherwise, low, high float64) (float64, error) {
	value := init.get(key)
	if value == nil {
		return otherwise, nil
	}
	number, is := value.asNumber()
	if is && number-number == 0 && number >= low && number <= high {
		return number, nil
	}
	return 0, refused(key, value, "a number "+shownRange(low, high))
}

// SizeIn is a whole number within this range; math.MaxUint64 is no limit.
func (init *Init) SizeIn(key string, otherwise, low, high uint64) (uint64, error) {
	value := init.get(key)
	if value == nil {
		return otherwise, nil
	}
	if value.kind == kindUint && value.number >= low && value.number <= high {
		return value.number, nil
	}
	limit := float64(high)
	if high == math.MaxUint64 {
		limit = math.Inf(1)
	}
	return 0, refused(key, value, "a whole number "+shownRange(float64(low), limit))
}

// Flag is true or false.
func (init *Init) Flag(key string, otherwise bool) (bool, error) {
	value := init.get(key)
	if value == nil {
		return otherwise, nil
	}
	if value.kind == kindBool {
		return value.number != 0, nil
	}
	return false, refused(key, value, "true or false")
}

// Text is a text.
func (init *Init) Text(key, otherwise string) (string, error) {
	value := init.get(key)
	if value == nil {
		return otherwise, nil
	}
	if value.kind == kindStr {
		return strings.Clone(value.text()), nil
	}
	return "", refused(key, value, "a text")
}

// OneOf is which of these words it is; the first is the default.
func (init *Init) OneOf(key string, known ...string) (int, error) {
	value := init.get(key)
	if value == nil {
		return 0, nil
	}
	if value.kind == kindStr {
		if at := slices.Index(known, value.text()); at >= 0 {
			return at, nil
		}
	}
	return 0, refused(key, value, quoted(known))
}

func refused(key string, value *reader, expected string) error {
	return errors.New("config key `" + key + "` is " + shown(value) + "; expected " + expected)
}

func quoted(list []string) string { return "`" + strings.Join(list, "`, `") + "`" }

func shownRange(low, high float64) string {
	if math.IsInf(high, 1) {
		return "of at least " + shownNumber(low)
	}
	return "from " + shownNumber(low) + " to " + shownNumber(high)
}

func shown(value *reader) string {
	if number, is := value.asNumber(); is {
		return shownNumber(number)
	}
	switch value.kind {
	case kindStr:
		text := value.text()
		for characters, end := 0, 0; end < len(text); characters++ {
			if characters == 64 {
				text = text[:end]
				break
			}
			_, size := utf8.DecodeRuneInString(text[end:])
			end += size
		}
		return "`" + text + "`"
	case kindBool:
		return strconv.FormatBool(value.number != 0)
	case kindArray:
		return "a list"
	case kindMap:
		return "a map"
	}
	return "no value"
}

// shownNumber shows six digits behind the point; above 10¹⁵ only that it is.
func shownNumber(number float64) string {
	switch size := math.Abs(number); {
	case math.IsNaN(number):
		return "NaN"
	case math.IsInf(number, 1):
		return "infinity"
	case math.IsInf(number, -1):
		return "-infinity"
	case size > 1e15 && number < 0:
		return "-more than 1e15"
	case size > 1e15:
		return "more than 1e15"
	}
	text := strconv.FormatFloat(number, 'f', 6, 64)
	return strings.TrimRight(strings.TrimRight(text, "0"), ".")
}
