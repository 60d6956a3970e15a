package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// The opcodes of RFC 6455 that occur.
const (
	opText  = 1
	opClose = 8
	opPing  = 9
	opPong  = 10
)

// errFrame is a frame that no server may send here.
var errFrame = errors.New("a frame that is none of this protocol")

// mostFrame bounds a frame of a server.
const mostFrame = 1 << 20

// dial begins to connect from an address of this host and returns at once.
func dial(source netip.Addr, to netip.AddrPort) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return -1, err
	}
	// The port is chosen when the destination is known: it need only differ from
	// those of connections to the same place.
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
	if err == nil && !source.IsUnspecified() {
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: source.As4()})
	}
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
	}
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		_ = unix.Close(fd) // The first error counts.
		return -1, err
	}
	return fd, nil
}

// appendFrame appends a client's frame. mask is what nobody can foresee, as RFC 6455
// wants it, or zero where the way is a loopback: what masking protects from is no matter
// there, and it would cost.
func appendFrame(dst []byte, mask uint32, op byte, payload []byte) []byte {
	const final, masked = 0x80, 0x80
	dst = append(dst, final|op)
	if n := len(payload); n < 126 {
		dst = append(dst, masked|byte(n))
	} else {
		dst = binary.BigEndian.AppendUint16(append(dst, masked|126), uint16(n))
	}
	dst = binary.BigEndian.AppendUint32(dst, mask)
	start := len(dst)
	dst = append(dst, payload...)
	if mask != 0 {
		for i := range payload {
			dst[start+i] ^= byte(mask >> (24 - 8*(i%4)))
		}
	}
	return dst
}

// nextFrame takes the first frame of what was read. size is 0 when it is not
// complete.
func nextFrame(in []byte) (op byte, payload []byte, size int, err error) {
	if len(in) < 2 {
		return 0, nil, 0, nil
	}
	head, length := 2, uint64(in[1]&0x7f)
	switch {
	case in[0]&0xf0 != 0x80 || in[1]&0x80 != 0:
		return 0, nil, 0, errFrame
	case length == 126:
		head = 4
	case length == 127:
		head = 10
	}
	if len(in) < head {
		return 0, nil, 0, nil
	}
	switch head {
	case 4:
		length = uint64(binary.BigEndian.Uint16(in[2:]))
	case 10:
		length = binary.BigEndian.Uint64(in[2:])
	}
	if length > mostFrame {
		return 0, nil, 0, fmt.Errorf("%w: %d bytes", errFrame, length)
	}
	size = head + int(length)
	if len(in) < size {
		return 0, nil, 0, nil
	}
	return in[0] & 0x0f, in[head:size], size, nil
}

// causeOf is an error in few words, for counting.
func causeOf(err error) string {
	for errno, cause := range map[unix.Errno]string{
		unix.ECONNREFUSED: "refused", unix.ECONNRESET: "reset", unix.EPIPE: "reset", unix.ETIMEDOUT: "timeout",
		unix.EADDRNOTAVAIL: "no free port", unix.EMFILE: "no descriptor", unix.ENFILE: "no descriptor", unix.EAGAIN: "send buffer full",
	} {
		if errors.Is(err, errno) {
			return cause
		}
	}
	return err.Error()
}
