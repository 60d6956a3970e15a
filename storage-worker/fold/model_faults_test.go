package fold

import (
	"reflect"
	"testing"
)

// plantedFault is a mistake that the model must find.
type plantedFault struct {
	name   string
	faults modelFaults
}

// plantedFaults is the list of them.
func plantedFaults() []plantedFault {
	inFold := func(name string, f faults) plantedFault {
		return plantedFault{"fold: " + name, modelFaults{fold: f}}
	}
	inDelivery := func(name string, f deliveryFaults) plantedFault {
		return plantedFault{"delivery: " + name, modelFaults{delivery: f}}
	}
	return []plantedFault{
		inFold("key row ignores its position", faults{keyIgnoresPosition: true}),
		inFold("clock not advanced by refused records", faults{clockSkipsRefused: true}),
		inFold("live membership instead of the candidate rule", faults{liveMembership: true}),
		inFold("newest row taken for the head", faults{headIsTruth: true}),
		inFold("membership asked before retries are recognised", faults{membershipBeforeKeys: true}),
		inFold("retries inside a batch not recognised", faults{batchForgetsKeys: true}),
		inFold("answer, then save", faults{appendBeforeWrite: true}),
		inFold("what followed a removal saved before it", faults{rowsBeforeEndings: true}),
		inFold("progress noted before the answer", faults{noteBeforeAppend: true}),
		inFold("start at the committed offset", faults{startAtCommitted: true}),
		inFold("a failed write taken for done", faults{unknownMeansDone: true}),

		inDelivery("filter by accepted instead of inbound offset", deliveryFaults{filterByAccepted: true}),
		inDelivery("connected before registration", deliveryFaults{connectedFirst: true}),
		inDelivery("keyed so that order is lost", deliveryFaults{unordered: true}),
		inDelivery("router commits before it produces", deliveryFaults{routerCommitsFirst: true}),
		inDelivery("presence cached by the router", deliveryFaults{presenceCached: true}),
		inDelivery("behind before pushing works again", deliveryFaults{behindFirst: true}),
		inDelivery("position in the topic taken after the lease", deliveryFaults{positionAfterClaim: true}),
		inDelivery("hand-over shown to the one who left", deliveryFaults{leaverGetsHandOver: true}),
		inDelivery("sync reads beyond a missing row", deliveryFaults{syncSkipsHoles: true}),

		{"archive: one row for a key", modelFaults{replacesKeys: true}},
	}
}

func TestEveryFaultIsPlanted(t *testing.T) {
	planted := plantedFaults()
	fields := reflect.TypeFor[faults]().NumField() + reflect.TypeFor[deliveryFaults]().NumField() + 1
	if len(planted) != fields {
		t.Errorf("%d faults are planted, of %d that there are", len(planted), fields)
	}
	seen := map[modelFaults]bool{{}: true}
	for _, p := range planted {
		if seen[p.faults] {
			t.Errorf("%s: planted twice, or not at all", p.name)
		}
		seen[p.faults] = true
	}
}
