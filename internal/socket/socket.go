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

// RawReceive is Receive for a process whose only loop calls it: the scheduler is not
// told, and cannot give the loop's place to somebody else meanwhile. Where the place is
// the only one, it does so after 20 µs, and the loop has to get it back.
func RawReceive(fd int32, into []byte) (n int, err error) {
	return rawTransfer(unix.SYS_RECVFROM, fd, into, unix.MSG_DONTWAIT)
}

// RawSend is Send, likewise.
func RawSend(fd int32, p []byte) (n int, err error) {
	return rawTransfer(unix.SYS_SENDTO, fd, p, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
}

// RawReady is epoll_wait(2) that does not wait, likewise. The events must have room for
// one at least.
func RawReady(epoll int, events []unix.EpollEvent) (n int, err error) {
	got, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0)
	return counted(got, errno)
}

// transfer tells Go's scheduler of the call: it waits for nobody, but where memory is
// short the kernel may look for some, and other loops must not stand still meanwhile.
func transfer(call uintptr, fd int32, p []byte, flags uintptr) (int, error) {
	n, _, errno := unix.Syscall6(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), flags, 0, 0)
	return counted(n, errno)
}

func rawTransfer(call uintptr, fd int32, p []byte, flags uintptr) (int, error) {
	n, _, errno := unix.RawSyscall6(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), flags, 0, 0)
	return counted(n, errno)
}

func counted(n uintptr, errno unix.Errno) (int, error) {
	if errno != 0 {
		return -1, errno // Numbers below 256 allocate nothing.
	}
	return int(n), nil
}
