// Package s3 is a [media.Store] in a bucket, of Amazon or of anything that speaks
// the same protocol.
//
//	up to 5 MiB        one PUT
//	more               parts of 5 MiB, one after another; if the body breaks off, the
//	                   upload is aborted, and if that fails, Abandon finds it
//
// No object is public: clients read and write through REST, or by URLs that are signed
// here for a while if the configuration says where they reach the bucket.
package s3

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"switchboard/storage-worker/media"
)

// partBytes is the size of a part, the smallest that the protocol allows. A Put has
// two of them in memory.
const partBytes = 5 << 20

// connections bounds the idle connections to the server.
const connections = 64

// patience is that of a Config that names none, and attempts is how often the server
// may fail: one that stands still is an error, not a wait.
const (
	patience = time.Minute
	attempts = 3
)

// Config says where the bucket is.
type Config struct {
	Endpoint string // HOST:PORT, or a URL with http or https
	Bucket   string
	Region   string // "" = us-east-1
	Key      string // the access key
	Secret   string
	TLS      *tls.Config // of an endpoint in https; nil: the system's
	// Public is the URL at which clients reach the server, such as
	// https://media.example.org; "" if they do not. What stands there passes
	// requests on with its own host name, which is part of what is signed.
	Public string
	// Patience is how long the server may take to answer a request that it has
	// received; 0: a minute.
	Patience time.Duration
}

// Store is a bucket.
type Store struct {
	// Fixed after Open.
	bucket, region string
	inner          *minio.Core
	outer          *minio.Client // signs for Public; nil: nobody does
	parts          sync.Pool     // *[partBytes]byte
}

var (
	_ media.Store  = (*Store)(nil)
	_ media.Direct = (*Store)(nil)
	_ media.Inlet  = (*Store)(nil)
)

// Open returns the bucket; nothing is asked of the server.
func Open(config Config) (*Store, error) {
	if config.Region == "" {
		config.Region = "us-east-1"
	}
	s := &Store{bucket: config.Bucket, region: config.Region}
	s.parts.New = func() any { return new([partBytes]byte) }
	client, err := config.client(config.Endpoint)
	if err != nil {
		return nil, err
	}
	s.inner = &minio.Core{Client: client}
	if config.Public != "" {
		if s.outer, err = config.client(config.Public); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// client returns a client of an endpoint, in https unless it says http.
func (config Config) client(endpoint string) (*minio.Client, error) {
	host, secure := endpoint, true
	if u, err := url.Parse(endpoint); err == nil && u.Host != "" {
		if (u.Scheme != "http" && u.Scheme != "https") || u.Path != "" && u.Path != "/" || u.RawQuery != "" {
			return nil, fmt.Errorf("%q is no endpoint: want HOST:PORT, http://HOST:PORT or https://HOST:PORT", endpoint)
		}
		host, secure = u.Host, u.Scheme == "https"
	}
	transport, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return nil, errors.New("the transport of HTTP was replaced")
	}
	transport = transport.Clone()
	transport.MaxIdleConnsPerHost, transport.DisableCompression, transport.Proxy = connections, true, nil
	transport.ResponseHeaderTimeout = cmp.Or(config.Patience, patience)
	if config.TLS != nil {
		transport.TLSClientConfig = config.TLS
	}
	client, err := minio.New(host, &minio.Options{
		Creds:  credentials.NewStaticV4(config.Key, config.Secret, ""),
		Secure: secure, Region: config.Region, Transport: transport, BucketLookup: minio.BucketLookupPath, MaxRetries: attempts,
	})
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", endpoint, err)
	}
	return client, nil
}

// Migrate makes the bucket if it is missing and reports whether it did.
func (s *Store) Migrate(ctx context.Context) (made bool, err error) {
	there, err := s.inner.BucketExists(ctx, s.bucket)
	if err != nil {
		return false, fmt.Errorf("look for the bucket %s: %w", s.bucket, err)
	}
	if there {
		return false, nil
	}
	if err := s.inner.MakeBucket(ctx, s.bucket, minio.MakeBucketOptions{Region: s.region}); err != nil {
		return false, fmt.Errorf("make the bucket %s: %w", s.bucket, err)
	}
	return true, nil
}

// Check reports whether the bucket is there and may be used.
func (s *Store) Check(ctx context.Context) error {
	there, err := s.inner.BucketExists(ctx, s.bucket)
	if err == nil && !there {
		err = errors.New("it is missing: storage-worker migrate makes it")
	}
	if err != nil {
		return fmt.Errorf("look for the bucket %s: %w", s.bucket, err)
	}
	return nil
}

// contentType is that of every object: REST says what a file is.
const contentType = "application/octet-stream"

// Put implements [media.Store].
func (s *Store) Put(ctx context.Context, key string, body io.Reader) error {
	part, ok := s.parts.Get().(*[partBytes]byte)
	if !ok {
		return errors.New("a part of another size")
	}
	defer s.parts.Put(part)
	n, ended, err := fill(part[:], body)
	switch {
	case err != nil:
	case ended:
		_, err = s.inner.Client.PutObject(ctx, s.bucket, key, bytes.NewReader(part[:n]), int64(n), options())
	default:
		err = s.putParts(ctx, key, part[:], body)
	}
	if err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	return nil
}

// fill reads a part and reports whether the body has ended. io.ReadFull would say
// that with the error that a body which broke off has as well.
func fill(part []byte, body io.Reader) (n int, ended bool, err error) {
	for n < len(part) && err == nil {
		var more int
		more, err = body.Read(part[n:])
		n += more
	}
	if err == io.EOF { // io.Reader says it just so
		return n, true, nil
	}
	return n, false, err
}

func options() minio.PutObjectOptions {
	return minio.PutObjectOptions{ContentType: contentType, DisableMultipart: true}
}

// putParts stores a body that has at least one part, which was read already.
func (s *Store) putParts(ctx context.Context, key string, part []byte, body io.Reader) error {
	upload, err := s.inner.NewMultipartUpload(ctx, s.bucket, key, minio.PutObjectOptions{ContentType: contentType})
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	err = s.putAll(ctx, key, upload, part, body)
	if err == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), media.CleanTimeout)
	defer cancel()
	if aborted := s.inner.AbortMultipartUpload(ctx, s.bucket, key, upload); aborted != nil && !missing(aborted) {
		err = errors.Join(err, fmt.Errorf("abort: %w", aborted))
	}
	return err
}

func (s *Store) putAll(ctx context.Context, key, upload string, part []byte, body io.Reader) error {
	var parts []minio.CompletePart
	for n, ended := len(part), false; n > 0; {
		number := len(parts) + 1
		done, err := s.inner.PutObjectPart(ctx, s.bucket, key, upload, number, bytes.NewReader(part[:n]), int64(n), minio.PutObjectPartOptions{})
		if err != nil {
			return fmt.Errorf("part %d: %w", number, err)
		}
		parts = append(parts, minio.CompletePart{PartNumber: number, ETag: done.ETag})
		if ended {
			break
		}
		if n, ended, err = fill(part, body); err != nil {
			return err
		}
	}
	if _, err := s.inner.CompleteMultipartUpload(ctx, s.bucket, key, upload, parts, minio.PutObjectOptions{}); err != nil {
		return fmt.Errorf("complete: %w", err)
	}
	return nil
}

// Open implements [media.Store].
func (s *Store) Open(ctx context.Context, key string, from int64) (io.ReadCloser, error) {
	var how minio.GetObjectOptions
	if from > 0 {
		if err := how.SetRange(from, 0); err != nil {
			return nil, fmt.Errorf("open %s: %w", key, err)
		}
	}
	body, _, _, err := s.inner.GetObject(ctx, s.bucket, key, how)
	if missing(err) {
		return nil, fmt.Errorf("open %s: %w", key, media.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", key, err)
	}
	return body, nil
}

// missing reports whether an error says that there is no such object or upload.
func missing(err error) bool {
	code := minio.ToErrorResponse(err).Code
	return code == minio.NoSuchKey || code == minio.NoSuchUpload
}

// Remove implements [media.Store].
func (s *Store) Remove(ctx context.Context, key string) error {
	if err := s.inner.RemoveObject(ctx, s.bucket, key, minio.RemoveObjectOptions{}); err != nil && !missing(err) {
		return fmt.Errorf("remove %s: %w", key, err)
	}
	return nil
}

// List implements [media.Store].
func (s *Store) List(ctx context.Context, prefix string, each func(key string) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // It ends the listing.
	for object := range s.inner.Client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if object.Err != nil {
			return fmt.Errorf("list %s: %w", prefix, object.Err)
		}
		if err := each(object.Key); err != nil {
			return fmt.Errorf("list %s: %w", prefix, err)
		}
	}
	return nil
}

// Abandon implements [media.Store].
func (s *Store) Abandon(ctx context.Context, before time.Time) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for upload := range s.inner.ListIncompleteUploads(ctx, s.bucket, "", true) {
		if upload.Err != nil {
			return fmt.Errorf("look for unfinished uploads: %w", upload.Err)
		}
		if !upload.Initiated.Before(before) {
			continue
		}
		if err := s.inner.AbortMultipartUpload(ctx, s.bucket, upload.Key, upload.UploadID); err != nil && !missing(err) {
			return fmt.Errorf("abort the unfinished upload of %s: %w", upload.Key, err)
		}
	}
	return nil
}

// Direct implements [media.Direct].
func (s *Store) Direct(ctx context.Context, method, key, contentType, disposition string, lifetime time.Duration) (string, error) {
	if s.outer == nil {
		return "", nil
	}
	u, err := s.outer.Presign(ctx, method, s.bucket, key, lifetime, url.Values{
		"response-content-type": {contentType}, "response-content-disposition": {disposition},
		"response-cache-control": {"private, max-age=31536000, immutable"},
	})
	if err != nil {
		return "", fmt.Errorf("sign a URL of %s: %w", key, err)
	}
	return u.String(), nil
}

// Inlet implements [media.Inlet]. The length is a header that is signed: with another
// one the server refuses the request before its body, and what copies another object,
// which has none, as well.
func (s *Store) Inlet(ctx context.Context, key string, size int64, lifetime time.Duration) (string, error) {
	if s.outer == nil {
		return "", nil
	}
	u, err := s.outer.PresignHeader(ctx, http.MethodPut, s.bucket, key, lifetime, nil, http.Header{
		"Content-Length": {strconv.FormatInt(size, 10)},
	})
	if err != nil {
		return "", fmt.Errorf("sign a URL to put %s: %w", key, err)
	}
	return u.String(), nil
}
