// Package queue shares numbered items of work among goroutines, and is the only place of kernel that
// starts one.
//
// What may enter: who takes which item, who waits for whom, and what happens when an item panics.
// Nothing here knows what an item is.
//
//   - Items are claimed in increasing order: one, or neighbours of one run, fewer towards the end.
//   - A claimed item is always finished. Who stops a call, or panics, only stops the claiming.
//   - Items of a run can take turns. A failing item passes its turn on, so that nobody waits forever.
//   - A panic in a helper stops the call and is raised again in the goroutine of the caller, when no
//     helper is at work any more.
//
// Helpers are goroutines of their own for each call: so they have the caller's profiler labels and are
// in its synctest bubble, and nothing that a bubble could own outlives a call. The caller waits for
// helpers that are at work, never for one that has not begun. What a helper does once the work is
// done is to keep its thread awake for the next call, for a bounded count of steps, as there is no
// clock in a bubble.
package queue
