// Package client is the Go client of Switchboard: one device of one user, kept
// connected and complete.
//
// Three layers, each usable alone:
//
//	[REST]    the HTTP calls
//	[Conn]    one WebSocket connection, no more
//	[Client]  a device: connects, resumes with /sync, applies the gap rule,
//	          sends again with the same id until the server has answered
//
// A device that prints what it is told:
//
//	c := client.New(client.Config{
//		REST:   &client.REST{Base: "http://127.0.0.1:8080", Token: token},
//		Device: "laptop",
//		Apply:  func(m wire.Message) { fmt.Println(m.SenderID, m.Content) },
//	})
//	go c.Run(ctx)
//	sent, err := c.Send(ctx, client.Outgoing{Conversation: id, Content: "hello"})
//
// What was read is marked with [Client.MarkRead], and Config.Status hears how far
// the others are. [Client.Typing], Config.Typing and Config.Presence are for what is
// fleeting; who is online before anything changes, [REST.Presence] tells.
//
// Apply is called for every durable event of every conversation exactly once and
// in the order of seq, whatever happens to the connection; that is the promise
// of the protocol, turned into code. A connection that answers no ping is given up
// for another; one on which /sync fails for now is kept, and /sync tried again.
// Time-outs mean "unknown", so Send keeps trying until its ctx ends, and the server's
// duplicate detection makes that safe for seven days.
package client
