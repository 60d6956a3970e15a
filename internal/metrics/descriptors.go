package metrics

import (
	"encoding/binary"
	"io"
	"os"
	"syscall"

	vm "github.com/VictoriaMetrics/metrics"
)

const descriptors = "/proc/self/fd"

// writeDescriptors writes how many descriptors are open, and how many may be. The
// library has a function for that which makes a string of each one's name: with a
// million connections 45 MB of garbage whenever somebody looks at a gateway.
func writeDescriptors(w io.Writer) {
	if open, ok := openDescriptors(); ok {
		vm.WriteGaugeUint64(w, "process_open_fds", open)
	}
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) == nil {
		vm.WriteGaugeUint64(w, "process_max_fds", limit.Cur)
	}
}

// openDescriptors asks how large the directory of descriptors is. Before Linux 6.2 it
// was said to be empty; then its entries are counted.
func openDescriptors() (open uint64, ok bool) {
	info, err := os.Stat(descriptors)
	if err == nil && info.Size() > 0 {
		return uint64(info.Size()), true
	}
	return countDescriptors()
}

// countDescriptors counts the entries, without the one with which it does so.
func countDescriptors() (open uint64, ok bool) {
	directory, err := os.Open(descriptors)
	if err != nil {
		return 0, false
	}
	defer func() { _ = directory.Close() }() // Only names were read.
	buffer := make([]byte, 16<<10)
	for {
		n, err := syscall.ReadDirent(int(directory.Fd()), buffer)
		if err != nil {
			return 0, false
		}
		if n == 0 {
			return open - 1, open > 0
		}
		open += entries(buffer[:n])
	}
}

// entries counts what getdents64 wrote: inode and offset, 8 bytes each, the length of the
// entry, its type, and its name, which is of digits but for "." and "..".
func entries(b []byte) (n uint64) {
	const lengthAt, nameAt = 16, 19
	for len(b) > nameAt {
		length := int(binary.NativeEndian.Uint16(b[lengthAt:]))
		if length <= nameAt || length > len(b) {
			return n
		}
		if b[nameAt] != '.' {
			n++
		}
		b = b[length:]
	}
	return n
}
