package push

import (
	"container/heap"
	"time"
)

// idle is the longest that a passage sleeps.
const idle = time.Minute

// queue holds tasks by when somebody should look at them: once for the news that is
// gathered, and once for each device that is to be tried again.
type queue struct{ entries entries }

// entry is a task and when it is due.
type entry struct {
	due  time.Time
	task *task
}

// add puts a task in.
func (q *queue) add(t *task, due time.Time) {
	heap.Push(&q.entries, entry{due, t})
}

// due takes out those that are due, limit at most, and returns how long it is to the
// next.
func (q *queue) due(now time.Time, limit int) (tasks []*task, next time.Duration) {
	for len(q.entries) > 0 {
		if wait := q.entries[0].due.Sub(now); wait > 0 {
			return tasks, min(wait, idle)
		}
		if len(tasks) == limit {
			return tasks, 0
		}
		if t := heap.Pop(&q.entries).(entry).task; !t.done {
			tasks = append(tasks, t)
		}
	}
	return tasks, idle
}

// entries are a heap, see [heap.Interface].
type entries []entry

func (e *entries) Len() int           { return len(*e) }
func (e *entries) Less(i, j int) bool { return (*e)[i].due.Before((*e)[j].due) }
func (e *entries) Swap(i, j int)      { (*e)[i], (*e)[j] = (*e)[j], (*e)[i] }
func (e *entries) Push(x any)         { *e = append(*e, x.(entry)) }

func (e *entries) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	(*e)[last] = entry{}
	*e = (*e)[:last]
	return x
}
