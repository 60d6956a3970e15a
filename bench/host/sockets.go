package host

import (
	"encoding/binary"
	"fmt"
	"syscall"
)

// SocketMemory is what the kernel holds for the sockets of some local ports.
type SocketMemory struct {
	Sockets int   `json:"sockets"`
	Bytes   int64 `json:"bytes"`      // of what is queued to be sent or to be read, with its overhead
	Most    int64 `json:"most_bytes"` // of one socket
}

// The numbers of linux/sock_diag.h and linux/inet_diag.h that are needed.
const (
	netlinkSockDiag  = 4
	sockDiagByFamily = 20
	diagMemory       = 7  // INET_DIAG_SKMEMINFO
	diagRequestBytes = 56 // struct inet_diag_req_v2
	diagMessageBytes = 72 // struct inet_diag_msg
	memoryReceived   = 0  // SK_MEMINFO_RMEM_ALLOC
	memoryToSend     = 5  // SK_MEMINFO_WMEM_QUEUED
	// diagStates are all states of a connection but TIME_WAIT, which has no memory
	// to speak of, and LISTEN.
	diagStates = 0xfff &^ (1<<6 | 1<<10)
)

// MemoryOfSockets asks the kernel, as `ss -tm` does, for the connections on local
// ports of this host. What it says counts whole buffers, not the bytes in them.
func MemoryOfSockets(ports []uint16) (m SocketMemory, err error) {
	for _, port := range ports {
		for _, family := range []byte{syscall.AF_INET, syscall.AF_INET6} {
			if err := m.ask(family, port); err != nil {
				return m, fmt.Errorf("memory of sockets: %w", err)
			}
		}
	}
	return m, nil
}

func (m *SocketMemory) ask(family byte, port uint16) error {
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, netlinkSockDiag)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	request := make([]byte, syscall.NLMSG_HDRLEN+diagRequestBytes)
	order := binary.NativeEndian
	order.PutUint32(request[0:], uint32(len(request)))
	order.PutUint16(request[4:], sockDiagByFamily)
	order.PutUint16(request[6:], syscall.NLM_F_REQUEST|syscall.NLM_F_DUMP)
	body := request[syscall.NLMSG_HDRLEN:]
	body[0], body[1], body[2] = family, syscall.IPPROTO_TCP, 1<<(diagMemory-1)
	order.PutUint32(body[4:], diagStates)
	binary.BigEndian.PutUint16(body[8:], port)
	if err := syscall.Sendto(fd, request, 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return err
	}
	buffer := make([]byte, 64<<10)
	for {
		n, _, err := syscall.Recvfrom(fd, buffer, 0)
		if err != nil {
			return err
		}
		messages, err := syscall.ParseNetlinkMessage(buffer[:n])
		if err != nil {
			return err
		}
		for _, message := range messages {
			switch message.Header.Type {
			case syscall.NLMSG_DONE:
				return nil
			case syscall.NLMSG_ERROR:
				return fmt.Errorf("the kernel refuses: %d", int32(order.Uint32(message.Data)))
			}
			m.add(message.Data)
		}
	}
}

// add takes one socket.
func (m *SocketMemory) add(data []byte) {
	if len(data) < diagMessageBytes {
		return
	}
	order := binary.NativeEndian
	m.Sockets++
	for rest := data[diagMessageBytes:]; len(rest) >= 4; {
		size, kind := int(order.Uint16(rest)), order.Uint16(rest[2:])
		if size < 4 || size > len(rest) {
			return
		}
		if values := rest[4:size]; kind == diagMemory && len(values) >= 4*(memoryToSend+1) {
			bytes := int64(order.Uint32(values[4*memoryReceived:])) + int64(order.Uint32(values[4*memoryToSend:]))
			m.Bytes, m.Most = m.Bytes+bytes, max(m.Most, bytes)
		}
		rest = rest[min((size+3)&^3, len(rest)):]
	}
}
