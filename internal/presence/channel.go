package presence

import "context"

// Note is something fleeting for the people on one server.
type Note struct {
	Server  string // slot
	Payload []byte
}

// Channel brings what is fleeting to servers: at most once, to who listens at that
// moment, without a memory and without an acknowledgement. What matters goes
// another way.
type Channel interface {
	// Publish sends the notes, those for one server in their order. nil says that
	// they were given away, not that anybody heard them; an error, that some may
	// not have been. It does not try again.
	Publish(ctx context.Context, notes []Note) error
	// Listening says, in the order asked, for which servers somebody listens at
	// this moment, as far as the servers of the channel can see: a program that died
	// no longer does, a host that vanished may seem to for a while. An error means
	// that nothing is known.
	Listening(ctx context.Context, servers []string) ([]bool, error)
	// Listen calls hear with each payload for a server, in the order in which they
	// came, from one goroutine, until ctx ends, which is no error. While the server
	// of the channel is away nothing is heard, and Listen goes on when it is back.
	// heard is called each time that it begins to listen. The payload belongs to
	// hear.
	Listen(ctx context.Context, server string, heard func(), hear func(payload []byte)) error
}
