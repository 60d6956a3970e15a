// Package proxyproto reads the header with which a balancer says whose connection
// it passes on: the PROXY protocol of HAProxy, versions 1 (a line of text) and 2
// (binary), https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt.
//
//	PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n
//
//	0d 0a 0d 0a 00 0d 0a 51 55 49 54 0a   signature
//	21 11 00 0c                           version and command, family and transport, length of what follows
//	c0 00 02 07 c6 33 64 01               addresses: client, balancer
//	dc 04 01 bb                           ports: client, balancer
//	                                      and values as type, length, bytes, of which only the checksum is read
//
// Whether a header has to be there is never guessed from the bytes, since whoever
// may choose could claim any address. It follows from who is at the other end of
// the socket: see [Trusted]. Nothing here reads a socket or keeps a byte.
package proxyproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"strconv"
	"strings"
)

// MaxBytes bounds a header. The protocol allows 64 KiB of values; what balancers
// add, a host name, an id or a client's certificate, is less than this.
const MaxBytes = 8 << 10

// maxLine is the longest header of version 1, with its CR LF.
const maxLine = 107

// Why a connection is not taken. All are ErrMissing or ErrMalformed.
var (
	// ErrMissing says that what came is no header from its first bytes on.
	ErrMissing = errors.New("no PROXY header")
	// ErrMalformed says that a header breaks the rules of its version.
	ErrMalformed = errors.New("malformed PROXY header")
)

// malformed says which rule.
func malformed(why string) error { return fmt.Errorf("%w: %s", ErrMalformed, why) }

const (
	prefix    = "PROXY "
	signature = "\r\n\r\n\x00\r\nQUIT\n"
)

// Parse reads the header at the start of b. size is its length, behind which the
// client's own bytes begin; 0 asks for more bytes. Each byte is judged when it is
// there, so that the answer does not depend on how a header was cut.
//
// source is the client's address. It is the zero AddrPort when the header names
// none, as for the health checks of the balancer itself: then the other end of the
// socket is who it seems.
func Parse(b []byte) (source netip.AddrPort, size int, err error) {
	switch {
	case begins(b, prefix):
		return parseLine(b)
	case begins(b, signature):
		return parseBinary(b)
	}
	return source, 0, ErrMissing
}

// begins reports whether b is the start of s or begins with it.
func begins(b []byte, s string) bool {
	n := min(len(b), len(s))
	return string(b[:n]) == s[:n]
}

// parseLine reads version 1.
func parseLine(b []byte) (source netip.AddrPort, size int, err error) {
	end := bytes.Index(b[:min(len(b), maxLine)], []byte("\r\n"))
	switch {
	case end < 0 && len(b) >= maxLine:
		return source, 0, malformed("the line is longer than 107 bytes")
	case end < 0:
		return source, 0, nil
	}
	size = end + 2
	family, rest, more := strings.Cut(string(b[len(prefix):end]), " ")
	if family == "UNKNOWN" {
		return source, size, nil // Whatever follows is to be ignored.
	}
	fields := strings.Split(rest, " ")
	if !more || len(fields) != 4 || family != "TCP4" && family != "TCP6" {
		return source, 0, malformed("want TCP4 or TCP6, two addresses and two ports, or UNKNOWN")
	}
	client, clientErr := parseAddr(family, fields[0])
	_, balancerErr := parseAddr(family, fields[1])
	port, portErr := parsePort(fields[2])
	_, otherErr := parsePort(fields[3])
	if err := errors.Join(clientErr, balancerErr, portErr, otherErr); err != nil {
		return source, 0, err
	}
	return netip.AddrPortFrom(client.Unmap(), port), size, nil
}

func parseAddr(family, s string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(s) // It takes no leading zeros, as the protocol wants it.
	if err != nil || addr.Is4() != (family == "TCP4") || addr.Zone() != "" {
		return addr, malformed("an address is none of its family")
	}
	return addr, nil
}

func parsePort(s string) (uint16, error) {
	port, err := strconv.ParseUint(s, 10, 16)
	if err != nil || len(s) > 1 && s[0] == '0' {
		return 0, malformed("a port is no number from 0 to 65535, or has leading zeros")
	}
	return uint16(port), nil
}

// The fixed part of version 2, and its values.
const (
	commandAt, familyAt, lengthAt = 12, 13, 14
	fixedBytes                    = 16

	local, proxy = 0x20, 0x21 // version and command

	unspecified, inet, inet6, unix = 0, 1, 2, 3 // family
	datagram                       = 2          // the last transport; 0 is unspecified, 1 a stream
)

// parseBinary reads version 2.
func parseBinary(b []byte) (source netip.AddrPort, size int, err error) {
	if len(b) > commandAt && b[commandAt] != local && b[commandAt] != proxy {
		return source, 0, malformed("neither LOCAL nor PROXY of version 2")
	}
	// What a LOCAL header says of addresses is to be skipped unseen.
	passed := len(b) > commandAt && b[commandAt] == proxy
	if passed && len(b) > familyAt && (b[familyAt]>>4 > unix || b[familyAt]&0xf > datagram) {
		return source, 0, malformed("unknown family or transport")
	}
	if len(b) < fixedBytes {
		return source, 0, nil
	}
	size = fixedBytes + int(binary.BigEndian.Uint16(b[lengthAt:]))
	addresses := 0
	if passed {
		addresses = addressBytes(b[familyAt])
	}
	switch {
	case size > MaxBytes:
		return source, 0, malformed("longer than 8 KiB")
	case size < fixedBytes+addresses:
		return source, 0, malformed("no room for the addresses of its family")
	case len(b) < size:
		return source, 0, nil
	case addresses == 0:
		return source, size, nil
	}
	header := b[:size]
	if err := checkValues(header, fixedBytes+addresses); err != nil {
		return source, 0, err
	}
	return addressOf(header), size, nil
}

// addressBytes returns how long the addresses of a family are, with their ports; 0
// where they are to be ignored.
func addressBytes(family byte) int {
	switch {
	case family&0xf == unspecified:
	case family>>4 == inet:
		return 2*4 + 2*2
	case family>>4 == inet6:
		return 2*16 + 2*2
	case family>>4 == unix:
		return 2 * 108
	}
	return 0
}

// addressOf returns the client's address in a whole header. A socket in the file
// system has none.
func addressOf(header []byte) netip.AddrPort {
	at := header[fixedBytes:]
	switch header[familyAt] >> 4 {
	case inet:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(at)), binary.BigEndian.Uint16(at[8:]))
	case inet6:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(at)).Unmap(), binary.BigEndian.Uint16(at[32:]))
	}
	return netip.AddrPort{}
}

const (
	valueHead    = 3    // type and length
	checksumType = 0x03 // CRC-32C of the header, with zeros in its own place
	checksumLen  = 4
)

// checkValues walks over the values behind the addresses and verifies the checksum
// if there is one.
func checkValues(header []byte, at int) error {
	checksum := 0
	for at < len(header) {
		if len(header)-at < valueHead {
			return malformed("a value ends beyond the header")
		}
		kind, length := header[at], int(binary.BigEndian.Uint16(header[at+1:]))
		at += valueHead
		if length > len(header)-at {
			return malformed("a value ends beyond the header")
		}
		if kind == checksumType {
			if checksum > 0 || length != checksumLen {
				return malformed("a second checksum, or one that has not four bytes")
			}
			checksum = at
		}
		at += length
	}
	if checksum > 0 && sum(header, checksum) != binary.BigEndian.Uint32(header[checksum:]) {
		return malformed("the checksum is wrong")
	}
	return nil
}

// sum returns the checksum of a header with zeros at a place.
func sum(header []byte, at int) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	crc := crc32.Checksum(header[:at], table)
	crc = crc32.Update(crc, table, make([]byte, checksumLen))
	return crc32.Update(crc, table, header[at+checksumLen:])
}

// Trusted are the networks whose connections begin with a header. All others do
// not, and what they say of themselves is not believed.
type Trusted []netip.Prefix

// ParseTrusted reads networks such as 10.0.0.0/8, and single addresses.
func ParseTrusted(networks []string) (Trusted, error) {
	var t Trusted
	for _, s := range networks {
		network, err := netip.ParsePrefix(s)
		if addr, addrErr := netip.ParseAddr(s); addrErr == nil && addr.Zone() == "" {
			network, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		switch {
		case err != nil:
			return nil, fmt.Errorf("%q is no network such as 10.0.0.0/8", s)
		case network != network.Masked():
			return nil, fmt.Errorf("%q names a host in a network: did you mean %s?", s, network.Masked())
		case network.Addr().Is4In6():
			return nil, fmt.Errorf("%q: write IPv4 networks as IPv4", s)
		}
		t = append(t, network)
	}
	return t, nil
}

// Contains reports whether connections from an address begin with a header.
func (t Trusted) Contains(peer netip.Addr) bool {
	peer = peer.Unmap().WithZone("")
	for _, network := range t {
		if network.Contains(peer) {
			return true
		}
	}
	return false
}
