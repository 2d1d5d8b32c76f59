// SPDX-License-Identifier: GPL-2.0
/*
 * Included by fair.c, so that its parameters are in /sys/module/fair/parameters. See kv_amplify.h.
 *
 * How the two sides meet, B being the CPU whose task wants to swap with the one running on A:
 *
 *   A: migration/A, in schedule()         B: migrate_swap()
 *                                            announce A, wait
 *   about to active-balance B:
 *   show B, wait                             sees A's target is B: released
 *                                            stop_two_cpus(A, B) wakes migration/A, which is still
 *                                            on its CPU, so the waker spins with ->pi_lock held
 *   sees its ->pi_lock held: met
 *   stop_one_cpu_nowait(B)
 *
 * A waits for nobody unless B has announced itself first: once migration/A runs on A,
 * task_numa_compare() does not choose A any more. So plain active balances cost no time.
 */
#include <linux/delay.h>
#include <linux/moduleparam.h>
#include <linux/percpu.h>
#include <linux/spinlock.h>
#include "kv_amplify.h"

#define KV_STEP_US	5U

/* v3.19 and later. */
#ifndef READ_ONCE
#define READ_ONCE(x) ACCESS_ONCE(x)
#endif

static unsigned int kv_a_wait_us = 200000;
module_param_named(kv_a_wait_us, kv_a_wait_us, uint, 0644);
static unsigned int kv_b_wait_us = 50000;
module_param_named(kv_b_wait_us, kv_b_wait_us, uint, 0644);

/* Active balances out of a migration thread that goes to sleep. */
static atomic_t kv_a_windows = ATOMIC_INIT(0);
module_param_named(kv_a_windows, kv_a_windows.counter, int, 0444);
/* Swaps that waited for such a balance. */
static atomic_t kv_b_windows = ATOMIC_INIT(0);
module_param_named(kv_b_windows, kv_b_windows.counter, int, 0444);
/* Both at once for the same two CPUs, the swap waking the thread that is about to balance. */
static atomic_t kv_met = ATOMIC_INIT(0);
module_param_named(kv_met, kv_met.counter, int, 0444);

/* What the CPU's active balance is after: target + 1; 0: none under way. */
static DEFINE_PER_CPU(atomic_t, kv_balance_of);
/* The partner in the CPU's swap: 2 * (partner + 1), plus 1 once released; 0: no swap waits. */
static DEFINE_PER_CPU(atomic_t, kv_swap_with);

/*
 * A wait ends by the clock, or after so many steps: an emulated CPU takes much longer than asked for
 * a step, and some clocks stand still while interrupts are off.
 */
struct kv_wait {
	u64 until_ns;
	unsigned int steps;
};

static struct kv_wait kv_wait_start(unsigned int us)
{
	struct kv_wait wait = {
		.until_ns = sched_clock() + (u64)us * 1000,
		.steps = us / KV_STEP_US,
	};

	return wait;
}

static bool kv_wait_step(struct kv_wait *wait)
{
	if (wait->steps == 0 || sched_clock() >= wait->until_ns)
		return false;
	wait->steps--;
	udelay(KV_STEP_US);
	return true;
}

static inline int kv_waiting(int partner)
{
	return 2 * (partner + 1);
}

static inline int kv_released(int partner)
{
	return kv_waiting(partner) + 1;
}

/* Whether this is the newly-idle balance of a migration thread going to sleep. */
static inline bool kv_stopper_sleeps(enum cpu_idle_type idle)
{
	return idle == CPU_NEWLY_IDLE && current->sched_class == &stop_sched_class;
}

/* What a gate of the newly-idle balance says, unless a migration thread going to sleep asks. */
static inline bool kv_gate(bool closed)
{
	return closed && !kv_stopper_sleeps(CPU_NEWLY_IDLE);
}

/* The runqueue in @cpus whose swap waits for an active balance by @this_cpu, or NULL. */
static struct rq *kv_partner(int this_cpu, const struct cpumask *cpus, enum cpu_idle_type idle)
{
	int cpu;

	if (!kv_stopper_sleeps(idle))
		return NULL;
	for_each_cpu(cpu, cpus)
		if (atomic_read(&per_cpu(kv_swap_with, cpu)) == kv_waiting(this_cpu))
			return cpu_rq(cpu);
	return NULL;
}

static void kv_before_active_balance(int this_cpu, int target, enum cpu_idle_type idle)
{
	atomic_t *balance_of = &per_cpu(kv_balance_of, this_cpu);
	atomic_t *swap_with = &per_cpu(kv_swap_with, target);
	struct kv_wait wait;

	if (!kv_stopper_sleeps(idle))
		return;
	atomic_inc(&kv_a_windows);
	if (atomic_read(swap_with) != kv_waiting(this_cpu))
		return;

	atomic_xchg(balance_of, target + 1);
	wait = kv_wait_start(READ_ONCE(kv_a_wait_us));
	do {
		int state = atomic_read(swap_with);

		if (state == kv_released(this_cpu) && raw_spin_is_locked(&current->pi_lock)) {
			atomic_inc(&kv_met);
			break;
		}
		if (state != kv_waiting(this_cpu) && state != kv_released(this_cpu))
			break;
	} while (kv_wait_step(&wait));
	atomic_xchg(balance_of, 0);
}

void kv_swap_begin(int src, int dst)
{
	atomic_t *balance_of = &per_cpu(kv_balance_of, dst);
	atomic_t *swap_with = &per_cpu(kv_swap_with, src);
	struct kv_wait wait;

	/* With preemption another task of this CPU may be waiting already. */
	if (atomic_cmpxchg(swap_with, 0, kv_waiting(dst)) != 0)
		return;
	atomic_inc(&kv_b_windows);
	wait = kv_wait_start(READ_ONCE(kv_b_wait_us));
	while (kv_wait_step(&wait)) {
		if (atomic_read(balance_of) == src + 1) {
			atomic_xchg(swap_with, kv_released(dst));
			return;
		}
	}
	/* Nobody came; whoever comes now need not wait. */
	atomic_xchg(swap_with, 0);
}

void kv_swap_end(int src)
{
	atomic_t *swap_with = &per_cpu(kv_swap_with, src);
	int state = atomic_read(swap_with);

	/* A swap that is still waiting is another task's. */
	if (state & 1)
		atomic_cmpxchg(swap_with, state, 0);
}
