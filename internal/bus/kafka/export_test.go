package kafka

// Fetches returns how many fetches the client's readers have made.
func (c *Client) Fetches() uint64 { return c.fetches.Get() }
