// Package socket reads and writes sockets that do not block, for event loops over very
// many of them.
//
// read and write would do the same by way of the kernel's files, which look at locks,
// positions and watchers that no socket has: bench/RESULTS.md has what that is of an
// echo. uWebSockets and its kind do the same. The race detector, which knows of read and
// write, does not see these.
package socket

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Receive reads what has arrived, as recv(2), into a slice that is not empty: 0 bytes
// are the peer's end. The error is a [unix.Errno], EAGAIN if nothing has arrived; n is
// -1 then.
func Receive(fd int32, into []byte) (n int, err error) {
	return transfer(unix.SYS_RECVFROM, fd, into, unix.MSG_DONTWAIT)
}

// Send writes what fits into the socket's buffer, as send(2). The error is a
// [unix.Errno], EAGAIN if nothing fits, EPIPE, without a signal, if the peer has hung up;
// n is -1 then.
func Send(fd int32, p []byte) (n int, err error) {
	return transfer(unix.SYS_SENDTO, fd, p, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
}

// transfer tells Go's scheduler of the call: it waits for nobody, but where memory is
// short the kernel may look for some, and other loops must not stand still meanwhile.
func transfer(call uintptr, fd int32, p []byte, flags uintptr) (int, error) {
	n, _, errno := unix.Syscall6(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), flags, 0, 0)
	if errno != 0 {
		return -1, errno // Numbers below 256 allocate nothing.
	}
	return int(n), nil
}
