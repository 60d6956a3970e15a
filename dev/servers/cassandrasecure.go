package servers

import (
	"context"
	"errors"
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
// is ready, as long as the first user comes in. The others are not ready before
// that, since they refuse our login.
func (p *planner) cassandraUsers(addr string, n int, ready func(context.Context, bool) error) func(context.Context, bool) error {
	return func(ctx context.Context, first bool) error {
		if !first || p.refusesEverybody(ctx, addr) == nil {
			return ready(ctx, first)
		}
		// All nodes must be there, since the login is to be known to each.
		if err := askCassandra(ctx, addr, n, first, p.everybody()); err != nil {
			return err
		}
		if err := makeCassandraUser(ctx, addr, n, p.everybody(), p.cassandraLogin()); err != nil {
			return err
		}
		return ready(ctx, first)
	}
}

// everybody is the login that everybody knows.
func (p *planner) everybody() cqlLogin {
	return cqlLogin{tls: p.seal.tls, user: firstCassandraUser, password: firstCassandraUser}
}

// refusesEverybody is an error if a node still lets in the first user: it may
// hear of the new password a while after ours.
func (p *planner) refusesEverybody(ctx context.Context, addr string) error {
	c, err := dialCQL(ctx, addr, p.everybody())
	if err != nil {
		return nil //nolint:nilerr // as it should be; whether the node lives was asked before
	}
	c.close()
	return errors.New("it lets in the password that everybody knows")
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
