package cluster

import "switchboard/router/push"

// pushSubject is what push services are told of who runs a cluster of one machine.
const pushSubject = "https://localhost"

// pushKeys are those of Web Push, the same for the life of the data: subscriptions
// are bound to them.
type pushKeys struct{ file, public string }

// keepPushKeys makes them if they are missing.
func keepPushKeys(file string) (pushKeys, error) {
	key, err := push.KeepKey(file)
	if err != nil {
		return pushKeys{}, err
	}
	carrier, err := push.NewWebPush(key, pushSubject, false)
	if err != nil {
		return pushKeys{}, err
	}
	return pushKeys{file, carrier.PublicKey()}, nil
}

// router returns the flags of a router, worker those of a storage worker.
func (k *pushKeys) router() []string {
	return []string{"-push-key", k.file, "-push-subject", pushSubject}
}

func (k *pushKeys) worker() []string { return []string{"-push-public-key", k.public} }
