package cluster

import (
	"fmt"
	"net/url"
	"os"

	"switchboard/dev/servers"
	"switchboard/internal/mediaurl"
)

// The files of media in the data folder.
const (
	mediaKeys     = "media-keys"
	s3Credentials = "s3-credentials"
)

// makeMediaKeys makes the key that URLs of uploads are signed with, and the file
// with which the programs come into the bucket.
func (c *cluster) makeMediaKeys() error {
	if err := mediaurl.Generate(c.path(mediaKeys)); err != nil {
		return err
	}
	if err := os.WriteFile(c.path(s3Credentials), []byte(servers.S3User+":"+servers.S3User+"\n"), 0o600); err != nil {
		return fmt.Errorf("write the credentials of S3: %w", err)
	}
	return nil
}

// linking returns the flags of the URLs of uploads, the same for all programs: they
// begin with the first REST server.
func (c *cluster) linking() []string {
	return []string{"-media-keys", c.path(mediaKeys), "-rest-url", "http://" + c.ports.public("worker", 0)}
}

// storing returns the flags of the bucket, if there is one.
func (c *cluster) storing(at addresses) []string {
	if at.S3 == "" {
		return nil
	}
	return []string{"-s3-endpoint", at.S3, "-s3-endpoint-credentials", c.path(s3Credentials)}
}

// public returns the flag that sends clients past REST into the bucket, if there is one:
// who reaches this machine's REST reaches its S3 server as well, by the same address.
func (a addresses) public() []string {
	if a.S3 == "" {
		return nil
	}
	return []string{"-media-public-url", a.S3}
}

// bare returns a URL without the user in it.
func bare(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	u.User = nil
	return u.String()
}
