package push

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// errPrivate refuses to connect where a user of the chat has no business.
var errPrivate = errors.New("the address is not public")

// shared are networks that are global by their bits and lead to somebody's inside,
// or nowhere: RFC 6890 and its successors.
var shared = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.88.99.0/24"), netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("100::/64"),
	netip.MustParsePrefix("2001::/23"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("fec0::/10"),
}

// public reports whether an address is one of the internet.
func public(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	for _, p := range shared {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// guard looks at the address itself, after every name was resolved, so that a name
// cannot mean one address when it is judged and another one when it is called.
func guard(_ context.Context, _, address string, _ syscall.RawConn) error {
	if at, err := netip.ParseAddrPort(address); err != nil || !public(at.Addr()) {
		return fmt.Errorf("%w: %s", errPrivate, address)
	}
	return nil
}

// newClient returns a client that follows no redirection and goes through no proxy;
// guarded, to public addresses only.
func newClient(guarded bool) *http.Client {
	dialer := &net.Dialer{Timeout: AnswerTimeout / 2}
	if guarded {
		dialer.ControlContext = guard
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, ForceAttemptHTTP2: true, TLSHandshakeTimeout: AnswerTimeout / 2,
			MaxIdleConns: 1000, MaxIdleConnsPerHost: UnderWayMax, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 32 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// judge turns an answer into a verdict; gone are the statuses that say that there is
// no such device.
func judge(response *http.Response, gone ...int) (Verdict, time.Duration, error) {
	status := response.StatusCode
	err := fmt.Errorf("answered with %s", response.Status)
	switch {
	case slices.Contains(gone, status):
		return Gone, 0, err
	case status/100 == 2:
		return Delivered, 0, nil
	case status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status >= 500:
		return Later, retryAfter(response.Header.Get("Retry-After")), err
	}
	return Refused, 0, err
}

// retryAfter reads seconds or a date; 0 is neither.
func retryAfter(text string) time.Duration {
	if seconds, err := strconv.Atoi(text); err == nil {
		return time.Duration(min(max(seconds, 0), int(RetryAfterMax/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}

// failed is the verdict of a request that brought no answer.
func failed(err error) (Verdict, time.Duration, error) {
	if _, sent := errors.AsType[*url.Error](err); !sent || errors.Is(err, errPrivate) {
		return Refused, 0, err // It cannot even be asked.
	}
	return Later, 0, err
}
