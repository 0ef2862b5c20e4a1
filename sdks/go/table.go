//go:build wasip1

package sglpolicy

// Role is what a worker is for.
type Role uint8

// The roles of workers.
const (
	RegularWorker Role = iota
	PrefillWorker
	DecodeWorker
)

// WorkerFacts are what is known of a worker and rarely changes. Its texts point into the table, and are good until
// there is another.
type WorkerFacts struct {
	URL                string
	Model, Engine      Text
	Role               Role
	Weight             float64
	KvCapacityTokens   Maybe
	BlockSize          Maybe
	MaxRunningRequests Maybe
	DpRank             Maybe
	labels, models     []byte
	labelCount         int
	modelCount         int
}

// Label is the value of a label.
func (worker *WorkerFacts) Label(name string) Text {
	r := reader{rest: worker.labels}
	for left := worker.labelCount; left > 0 && r.is(kindStr); left-- {
		found := r.text() == name
		if !r.is(kindStr) {
			break
		}
		if found {
			return Text{r.text(), true}
		}
	}
	return Text{}
}

// Serves is true if the worker is known to serve under this name.
func (worker *WorkerFacts) Serves(name string) bool {
	r := reader{rest: worker.models}
	for left := worker.modelCount; left > 0 && r.is(kindStr); left-- {
		if r.text() == name {
			return true
		}
	}
	return false
}

// Table has the workers that the messages speak of.
type Table struct {
	Version uint64
	Workers []WorkerFacts
	bytes   []byte
}

// replace takes a copy of a message, into the memory of the table that there was; false leaves that as it is. So it
// reads twice: once to know that it can.
func (table *Table) replace(message []byte) bool {
	var facts WorkerFacts
	count, read := readTable(message, func(at int, r *reader) bool { return facts.read(r) }, nil)
	if !read {
		return false
	}
	table.bytes = append(table.bytes[:0], message...)
	if cap(table.Workers) < count {
		table.Workers = make([]WorkerFacts, count)
	}
	table.Workers = table.Workers[:count]
	readTable(table.bytes, func(at int, r *reader) bool { return table.Workers[at].read(r) }, &table.Version)
	return true
}

// readTable has each worker of a message read, and gives their number.
func readTable(message []byte, readWorker func(at int, r *reader) bool, version *uint64) (int, bool) {
	r := reader{rest: message}
	found, versioned, workers := uint64(0), false, -1
	if !r.is(kindMap) {
		return 0, false
	}
	for left := r.count; left > 0; left-- {
		if !r.is(kindStr) {
			return 0, false
		}
		read := false
		switch key := r.text(); {
		case key == "version":
			read, versioned = r.uint(&found), true
		case key == "workers" && workers < 0:
			read = r.is(kindArray)
			workers = r.count
			for at := 0; read && at < workers; at++ {
				read = readWorker(at, &r)
			}
		default:
			read = r.skip()
		}
		if !read {
			return 0, false
		}
	}
	if version != nil {
		*version = found
	}
	return workers, versioned && workers >= 0 && len(r.rest) == 0
}

func (worker *WorkerFacts) read(r *reader) bool {
	*worker = WorkerFacts{Weight: 1}
	if !r.is(kindMap) {
		return false
	}
	addressed := false
	for left := r.count; left > 0; left-- {
		if !r.is(kindStr) {
			return false
		}
		key := r.text()
		addressed = addressed || key == "url"
		if !worker.readKey(r, key) {
			return false
		}
	}
	return addressed
}

func (worker *WorkerFacts) readKey(r *reader, key string) bool {
	switch key {
	case "url":
		read := r.is(kindStr)
		worker.URL = r.text()
		return read
	case "model":
		return worker.Model.read(r)
	case "engine":
		return worker.Engine.read(r)
	case "role":
		return r.is(kindStr) && worker.Role.parse(r.text())
	case "weight":
		if !r.head() {
			return false
		}
		number, is := r.asNumber()
		worker.Weight = number
		return is
	case "kv_capacity_tokens":
		return readFact(r, &worker.KvCapacityTokens)
	case "block_size":
		return readFact(r, &worker.BlockSize)
	case "max_running_requests":
		return readFact(r, &worker.MaxRunningRequests)
	case "dp_rank":
		return readFact(r, &worker.DpRank)
	case "labels":
		return r.isNil() || readTexts(r, kindMap, &worker.labels, &worker.labelCount)
	case "models":
		return r.isNil() || readTexts(r, kindArray, &worker.models, &worker.modelCount)
	}
	return r.skip()
}

// readTexts steps over texts in a map or an array, and remembers where they are.
func readTexts(r *reader, kind kind, texts *[]byte, count *int) bool {
	if !r.is(kind) {
		return false
	}
	*count, *texts = r.count, r.rest
	left := r.count
	if kind == kindMap {
		left *= 2
	}
	for ; left > 0; left-- {
		if !r.is(kindStr) {
			return false
		}
	}
	return true
}

func (text *Text) read(r *reader) bool {
	*text = Text{}
	if r.isNil() {
		return true
	}
	if !r.is(kindStr) {
		return false
	}
	*text = Text{r.text(), true}
	return true
}

func (role *Role) parse(word string) bool {
	for known, name := range [...]string{"regular", "prefill", "decode"} {
		if name == word {
			*role = Role(known)
			return true
		}
	}
	return false
}

func readFact(r *reader, to *Maybe) bool {
	if !r.maybe(to) {
		return false
	}
	if to.Number > 1<<32-1 {
		*to = Maybe{}
	}
	return true
}
