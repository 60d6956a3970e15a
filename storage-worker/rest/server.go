package rest

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"log/slog"
	"net"
	"net/http"
	"path"
	"slices"
	"sync/atomic"
	"time"

	"switchboard/internal/auth"
	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/devices"
	"switchboard/internal/mediaurl"
	"switchboard/internal/metrics"
	"switchboard/internal/presence"
	"switchboard/internal/wire"
	"switchboard/storage-worker/archive"
	"switchboard/storage-worker/media"
	"switchboard/storage-worker/rest/listen"
	"switchboard/storage-worker/rest/transfer"
	"switchboard/storage-worker/search"
)

// The limits of requests, each of which ends in an answer with a code. Those of
// connections are in package listen.
const (
	// SmallBodyBytes bounds the body of a message or a command.
	SmallBodyBytes = 64 << 10
	// LargeBodyBytes bounds the bodies that name many things: the members of a
	// new group, what a client has.
	LargeBodyBytes = 1 << 20
	// RequestsInFlight is how many requests are worked on at once; one more is
	// `unavailable`.
	RequestsInFlight = 1024
	// RequestsPerUser is how many of them may be one user's, who would otherwise
	// take all by sending bodies slowly.
	RequestsPerUser = 100
	// ReadsAtOnce is how many reads of the archive one request has under way.
	ReadsAtOnce = 8
	// RequestTimeout bounds the work for one request; the bytes of an upload may go on.
	RequestTimeout = 30 * time.Second
)

// Config is what a [Server] stands on. Fields without a remark are required.
type Config struct {
	Store    archive.Store
	Producer bus.Producer
	Receipts bus.Producer // of marks; nil = Producer
	Log      bus.Log
	Admin    bus.Admin // creates the reply topic
	Keys     *auth.Keys
	// Sightings says who is online; without it that call is `unavailable`.
	Sightings presence.Sightings
	// Media keeps uploads; without it those calls are `unavailable`. Links makes and
	// checks their URLs; without it no media_url is taken.
	Media *media.Library
	Links *mediaurl.Links
	// Finder looks for messages; without it that call is `unavailable`.
	Finder *search.Finder
	// Devices keeps who is notified how; without it those calls are `unavailable`.
	// PushKey is the public key of Web Push, in base64; empty: none is told.
	Devices devices.Store
	PushKey string
	// Server is the slot whose delivery topic brings the answers, such as
	// "rest-1". No two running servers share one.
	Server      string
	Generation  uint32
	Partitions  int32
	Replication int // of the reply topic

	GatewayURL    string        // where clients open the WebSocket; empty: the same host, by one balancer
	Heartbeat     time.Duration // of the gateways; 0 = 30 s
	Origins       []string      // exactly these may call from a browser
	Members       int           // member limit of a group; 0 = chat.MembersDefault
	Conversations int           // conversation limit of a user; 0 = chat.ConversationsPerUser
	CallTimeout   time.Duration // how long a command waits for its answer; 0 = 10 s
	Limits        Limits        // of one user on this server; zero = none

	Logger  *slog.Logger
	Metrics *metrics.Set
}

// Server answers the REST calls.
type Server struct {
	// Fixed after New.
	Config
	boot    uint64 // this life of the server; answers to another are not ours
	calls   *calls
	users   *regulator
	files   transfer.Files
	handler http.Handler
	origins map[string]bool

	inFlight atomic.Int64
}

// New returns a server that is ready to read; commands are `unavailable` until
// Run has found its place in the reply topic.
func New(config Config) *Server {
	var boot [8]byte
	rand.Read(boot[:]) // never fails: crypto/rand crashes the program instead
	s := &Server{Config: config, boot: binary.BigEndian.Uint64(boot[:]) | 1, origins: map[string]bool{}}
	if s.Receipts == nil {
		s.Receipts = s.Producer
	}
	s.Heartbeat = or(s.Heartbeat, 30*time.Second)
	s.Members = or(s.Members, chat.MembersDefault)
	s.Conversations = or(s.Conversations, chat.ConversationsPerUser)
	s.CallTimeout = or(s.CallTimeout, 10*time.Second)
	for _, o := range config.Origins {
		s.origins[o] = true
	}
	s.calls = newCalls(s)
	s.users = newRegulator(s.Limits, s.Metrics)
	s.files = transfer.Files{Library: s.Media, Links: s.Links, Slots: transfer.NewSlots(s.Metrics)}
	s.handler = s.requestID(s.recovered(s.cors(s.bounded(s.routes()))))
	s.Metrics.Gauge(`switchboard_rest_requests_in_flight`, func() float64 { return float64(s.inFlight.Load()) })
	return s
}

// or returns v, or instead when v is zero.
func or[T comparable](v, instead T) T {
	var zero T
	if v == zero {
		return instead
	}
	return v
}

// Handler returns the routes with everything around them.
func (s *Server) Handler() http.Handler { return s.handler }

// Prepare creates the reply topic if it is missing and finds its end, from
// which Run reads. It may be repeated until it succeeds.
func (s *Server) Prepare(ctx context.Context) error { return s.calls.prepare(ctx) }

// Run reads the reply topic until ctx ends; it prepares first if that was not
// done. Without it no command is answered.
func (s *Server) Run(ctx context.Context) error { return s.calls.run(ctx) }

// Serve answers on the listener as [listen.Serve] does. Run must go on until Serve
// has ended.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	return listen.Serve(ctx, l, s.handler, s.Logger)
}

// reply is a successful answer.
type reply struct {
	status int
	body   any // nil = none
}

// handler answers one authenticated request. Its error becomes a problem.
type handler func(r *http.Request, who chat.UserID) (reply, error)

// method is what one method of a path does, and what it is counted as.
type method struct {
	handle handler
	kind   kind
}

// table is the whole interface: paths, and their methods. HEAD is answered wherever
// GET is.
func (s *Server) table() map[string]map[string]method {
	return map[string]map[string]method{
		"/api/v1/gateway":  {"GET": {s.gateway, reads}},
		"/api/v1/sync":     {"POST": {s.sync, syncs}},
		"/api/v1/presence": {"GET": {s.presence, reads}},
		"/api/v1/devices":  {"GET": {s.listDevices, reads}},
		"/api/v1/search":   {"GET": {s.search, searches}},
		directPath:         {"POST": {s.beginUpload, writes}},
		"/api/v1/devices/{device}/push": {
			"PUT": {s.putPush, writes}, "DELETE": {s.deletePush, writes},
		},
		"/api/v1/conversations": {
			"GET": {s.listConversations, reads}, "POST": {s.createConversation, writes},
		},
		"/api/v1/conversations/{conversation}": {
			"GET": {s.shown(s.getConversation), reads}, "PATCH": {s.inside(s.patchConversation), writes},
		},
		"/api/v1/conversations/{conversation}/members": {"GET": {s.shown(s.listMembers), reads}},
		"/api/v1/conversations/{conversation}/members/{user}": {
			"PUT": {s.inside(s.putMember), writes}, "DELETE": {s.inside(s.deleteMember), writes},
		},
		"/api/v1/conversations/{conversation}/messages": {
			"GET": {s.shown(s.listMessages), reads}, "POST": {s.inside(s.postMessage), writes},
		},
		"/api/v1/conversations/{conversation}/read": {"POST": {s.inside(s.postRead), marks}},
	}
}

// Routes lists the whole interface, as in "GET /api/v1/conversations/{conversation}",
// for tests that must leave nothing out.
func (s *Server) Routes() (routes []string) {
	for pattern, methods := range s.table() {
		for name := range methods {
			routes = append(routes, name+" "+pattern)
		}
	}
	for pattern, answers := range s.streams() {
		for name := range answers {
			routes = append(routes, name+" "+pattern)
		}
	}
	slices.Sort(routes)
	return routes
}

// routes hands each request to the method of its path.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	for pattern, methods := range s.table() {
		mux.Handle(pattern, s.dispatch(pattern, methods))
	}
	for pattern, answers := range s.streams() {
		mux.Handle(pattern, s.choose(pattern, answers))
	}
	mux.HandleFunc("/", s.noRoute)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if clean := path.Clean(r.URL.Path); clean != r.URL.Path {
			s.noRoute(w, r) // The mux would answer with a redirection and a page.
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func (s *Server) noRoute(w http.ResponseWriter, r *http.Request) {
	s.problem(w, r, chat.Errorf(chat.NotFound, "there is no such route"))
}

// gateway says where to open the WebSocket: where the configuration says, or on
// the host that the client has reached already.
func (s *Server) gateway(r *http.Request, _ chat.UserID) (reply, error) {
	url := s.GatewayURL
	if url == "" {
		scheme := "ws"
		if r.Header.Get("X-Forwarded-Proto") == "https" {
			scheme = "wss" // TLS ends in front of this server.
		}
		url = scheme + "://" + r.Host + "/api/v1/ws"
	}
	return reply{http.StatusOK, wire.GatewayInfo{
		URL: url, Protocols: []string{wire.Subprotocol}, HeartbeatMS: s.Heartbeat.Milliseconds(),
	}}, nil
}
