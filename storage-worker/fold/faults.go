package fold

// faults are the mistakes that the model test plants, one at a time, to prove
// that it would find them. Each is the simpler thing that a reasonable person
// might have written. The zero value, the only one outside that test, is the
// right code.
type faults struct {
	keyIgnoresPosition   bool // any key row means "duplicate", also one of the future
	clockSkipsRefused    bool // refused records leave the clock where it was
	liveMembership       bool // members are those with an open span now
	headIsTruth          bool // the newest row there is counts, not the newest before the batch
	membershipBeforeKeys bool // a retry by someone who was removed since is refused
	batchForgetsKeys     bool // a retry in the batch of its first send is not seen
	appendBeforeWrite    bool // answer, then save
	rowsBeforeEndings    bool // what followed a removal may be there before the removal
	noteBeforeAppend     bool // progress is noted once the archive has the batch
	startAtCommitted     bool // a partition goes on at the group's committed offset
	unknownMeansDone     bool // a write that failed is taken for one that succeeded
}
