package servers

import (
	"context"
	"fmt"
)

// Cassandra's first user, and the password that everybody knows.
const firstCassandraUser = "cassandra"

// cassandraLogin is how we come in.
func (p *planner) cassandraLogin() cqlLogin {
	if p.seal == nil {
		return cqlLogin{}
	}
	return cqlLogin{tls: p.seal.tls, user: secureUser, password: p.seal.password(p.seal.files.CQL)}
}

// cassandraUsers has the first node make our user before it is asked whether it
// is ready. The others are not ready before that, since they refuse our login.
func (p *planner) cassandraUsers(addr string, n int, ready func(context.Context, bool) error) func(context.Context, bool) error {
	login := p.cassandraLogin()
	return func(ctx context.Context, first bool) error {
		if !first {
			return ready(ctx, first)
		}
		known, err := dialCQL(ctx, addr, login)
		if err == nil {
			known.close()
			return ready(ctx, first)
		}
		cassandra := cqlLogin{tls: login.tls, user: firstCassandraUser, password: firstCassandraUser}
		// All nodes must be there, since the login is to be known to each.
		if err := askCassandra(ctx, addr, n, first, cassandra); err != nil {
			return err
		}
		if err := makeCassandraUser(ctx, addr, n, cassandra, login); err != nil {
			return err
		}
		return ready(ctx, first)
	}
}

// makeCassandraUser replaces the first user by ours. Who may come in is a table
// of which there is one copy at first: with the loss of its node, nobody could.
func makeCassandraUser(ctx context.Context, addr string, n int, first, ours cqlLogin) error {
	c, err := dialCQL(ctx, addr, first)
	if err != nil {
		return err
	}
	defer c.close()
	for _, statement := range []string{
		fmt.Sprintf("ALTER KEYSPACE system_auth WITH replication = {'class': 'SimpleStrategy', 'replication_factor': %d}", n),
		fmt.Sprintf("CREATE ROLE IF NOT EXISTS %s WITH PASSWORD = '%s' AND LOGIN = false", ours.user, ours.password),
		"GRANT ALL PERMISSIONS ON ALL KEYSPACES TO " + ours.user,
		// Only now, since whoever can come in is taken for complete.
		fmt.Sprintf("ALTER ROLE %s WITH LOGIN = true", ours.user),
		// It is not dropped: nobody may drop himself.
		fmt.Sprintf("ALTER ROLE %s WITH PASSWORD = '%s'", first.user, ours.password),
	} {
		if _, err := c.query(statement); err != nil {
			return err
		}
	}
	return nil
}
