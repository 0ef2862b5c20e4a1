//go:build wasip1

package sglpolicy

// FirstToken is a streamed answer that has begun.
type FirstToken struct {
	Worker uint32
	Tag    Maybe
	Ms     float32
}

// Completion is a request that ended. Times are NaN where they are not known.
type Completion struct {
	Worker           uint32
	Ok               bool
	Status           Maybe
	FirstByteMs      float32
	TotalMs          float32
	PromptTokens     Maybe
	CompletionTokens Maybe
	CachedTokens     Maybe
	Tag              Maybe
}

// openBatch reads up to the entries of a batch; 0 of one that belongs to another table, or is malformed.
func openBatch(r *reader) int {
	var version uint64
	if !r.is(kindArray) || r.count < 2 {
		return 0
	}
	further := r.count - 2
	if !r.uint(&version) || version != table.Version {
		return 0
	}
	encoded, read := r.raw()
	for ; read && further > 0; further-- {
		read = r.skip()
	}
	if !read || len(r.rest) > 0 {
		return 0
	}
	r.rest = encoded
	if !r.is(kindArray) {
		return 0
	}
	return r.count
}

func readIndex(r *reader, to *uint32) bool {
	var index uint64
	read := r.uint(&index) && index <= 1<<32-1
	*to = uint32(index)
	return read
}

func skipRest(r *reader, count, known int) bool {
	for ; count > known; count-- {
		if !r.skip() {
			return false
		}
	}
	return true
}

func (first *FirstToken) read(r *reader) bool {
	if !r.is(kindArray) || r.count < 3 {
		return false
	}
	count := r.count
	return readIndex(r, &first.Worker) && r.maybe(&first.Tag) && r.float32(&first.Ms) && skipRest(r, count, 3)
}

func (done *Completion) read(r *reader) bool {
	*done = Completion{}
	if !r.is(kindArray) || r.count < 7 {
		return false
	}
	count := r.count
	if !readIndex(r, &done.Worker) || !r.is(kindBool) {
		return false
	}
	done.Ok = r.number != 0
	if !r.maybe(&done.Status) || !r.time(&done.FirstByteMs) || !r.time(&done.TotalMs) {
		return false
	}
	if !r.maybe(&done.PromptTokens) || !r.maybe(&done.CompletionTokens) {
		return false
	}
	if count > 7 && !r.maybe(&done.CachedTokens) {
		return false
	}
	if count > 8 && !r.maybe(&done.Tag) {
		return false
	}
	return skipRest(r, count, 9)
}
