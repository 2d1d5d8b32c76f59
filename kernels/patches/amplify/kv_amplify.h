/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Widens the window between an active balance that a migration thread starts on its way to sleep
 * (side A) and migrate_swap() of the same two CPUs (side B). Only waits, all bounded, and gates of
 * the load balancer's heuristics: what is correct stays so.
 */
#ifndef KV_AMPLIFY_H
#define KV_AMPLIFY_H

/* Around stop_two_cpus() in migrate_swap(): waits for an active balance of @src by @dst. */
void kv_swap_begin(int src, int dst);
void kv_swap_end(int src);

#endif
