// SPDX-License-Identifier: GPL-2.0
/*
 * Included by kthread.c, which every kernel has; its parameters are in
 * /sys/module/kv_provoke/parameters. See patch.yaml.
 */
#include <linux/atomic.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/kthread.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <linux/stop_machine.h>

#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX "kv_provoke."

#define KV_STEP_US	50U
#define KV_WORDS	512U

/* Two locks and who waits for whom to have taken the first one. */
struct kv_pair {
	spinlock_t locks[2];
	atomic_t holding;
};

/* One thread's job. */
struct kv_job {
	struct kv_pair *pair;
	int side;
	unsigned int ms;
};

static atomic_t kv_spins = ATOMIC_INIT(0);

static noinline void kv_spin(void)
{
	for (;;)
		cpu_relax();
}

static int kv_hard(void *unused)
{
	local_irq_disable();
	atomic_inc(&kv_spins);
	kv_spin();
	return 0;
}

static int kv_soft(void *unused)
{
	preempt_disable();
	kv_spin();
	return 0;
}

/* Locks come as pointers, so that only the stack and registers tell which ones they are. */
static noinline void kv_take_both(spinlock_t *first, spinlock_t *second, atomic_t *holding)
{
	unsigned long flags;

	spin_lock_irqsave(first, flags);
	atomic_inc(holding);
	while (atomic_read(holding) < 2)
		cpu_relax();
	spin_lock(second);
	spin_unlock(second);
	spin_unlock_irqrestore(first, flags);
}

static int kv_abba(void *data)
{
	struct kv_job *job = data;
	struct kv_pair *pair = job->pair;

	kv_take_both(&pair->locks[job->side], &pair->locks[!job->side], &pair->holding);
	return 0;
}

/* Something to be busy with: no two steps are alike. */
static noinline unsigned int kv_work(unsigned int *words, unsigned int seed)
{
	unsigned int i;

	for (i = 0; i < KV_WORDS; i++) {
		seed = seed * 1664525U + 1013904223U;
		words[i] ^= seed >> 7;
	}
	return seed;
}

static int kv_long(void *data)
{
	struct kv_job *job = data;
	unsigned int steps = job->ms * (1000U / KV_STEP_US);
	unsigned int *words = kcalloc(KV_WORDS, sizeof(*words), GFP_KERNEL);
	unsigned int seed = 1;
	unsigned long flags;

	if (!words)
		return -ENOMEM;
	local_irq_save(flags);
	while (steps--) {
		seed = kv_work(words, seed);
		udelay(KV_STEP_US);
	}
	local_irq_restore(flags);
	pr_info("kv_provoke: long is over, %x\n", seed + words[0]);
	kfree(words);
	return 0;
}

static int kv_nothing(void *unused)
{
	return 0;
}

static int kv_stop(void *unused)
{
	while (atomic_read(&kv_spins) == 0)
		cpu_relax();
	return stop_machine(kv_nothing, NULL, NULL);
}

static void kv_answer(void *unused)
{
}

static int kv_call(void *unused)
{
	while (atomic_read(&kv_spins) == 0)
		cpu_relax();
	smp_call_function(kv_answer, NULL, 1);
	return 0;
}

static int kv_start(int (*run)(void *), struct kv_job *job, unsigned int cpu)
{
	struct task_struct *task;

	if (cpu >= nr_cpu_ids || !cpu_online(cpu))
		return -EINVAL;
	task = kthread_create(run, job, "kv_provoke/%u", cpu);
	if (IS_ERR(task))
		return PTR_ERR(task);
	kthread_bind(task, cpu);
	wake_up_process(task);
	return 0;
}

static int kv_set_hard(const char *text, const struct kernel_param *param)
{
	unsigned int cpu;

	return sscanf(text, "%u", &cpu) == 1 ? kv_start(kv_hard, NULL, cpu) : -EINVAL;
}

static int kv_set_soft(const char *text, const struct kernel_param *param)
{
	unsigned int cpu;

	return sscanf(text, "%u", &cpu) == 1 ? kv_start(kv_soft, NULL, cpu) : -EINVAL;
}

/* The jobs are never freed: their threads never end. */
static int kv_set_abba(const char *text, const struct kernel_param *param)
{
	struct kv_pair *pair = kzalloc(sizeof(*pair), GFP_KERNEL);
	struct kv_job *jobs = kcalloc(2, sizeof(*jobs), GFP_KERNEL);
	unsigned int cpus[2];
	int side, err = 0;

	if (!pair || !jobs)
		return -ENOMEM;
	if (sscanf(text, "%u %u", &cpus[0], &cpus[1]) != 2 || cpus[0] == cpus[1])
		return -EINVAL;
	for (side = 0; side < 2; side++) {
		spin_lock_init(&pair->locks[side]);
		jobs[side].pair = pair;
		jobs[side].side = side;
	}
	for (side = 0; side < 2 && !err; side++)
		err = kv_start(kv_abba, &jobs[side], cpus[side]);
	return err;
}

static int kv_set_long(const char *text, const struct kernel_param *param)
{
	struct kv_job *job = kzalloc(sizeof(*job), GFP_KERNEL);
	unsigned int cpu;

	if (!job)
		return -ENOMEM;
	if (sscanf(text, "%u %u", &cpu, &job->ms) != 2)
		return -EINVAL;
	return kv_start(kv_long, job, cpu);
}

/* One CPU spins with interrupts off; another one does something that this keeps from ending. */
static int kv_start_behind_spin(const char *text, int (*run)(void *))
{
	unsigned int cpu;
	int err;

	if (sscanf(text, "%u", &cpu) != 1)
		return -EINVAL;
	err = kv_start(kv_hard, NULL, cpu);
	return err ? err : kv_start(run, NULL, cpumask_any_but(cpu_online_mask, cpu));
}

static int kv_set_stop(const char *text, const struct kernel_param *param)
{
	return kv_start_behind_spin(text, kv_stop);
}

static int kv_set_call(const char *text, const struct kernel_param *param)
{
	return kv_start_behind_spin(text, kv_call);
}

#define KV_PARAMETER(name)						\
	static const struct kernel_param_ops kv_##name##_ops = {	\
		.set = kv_set_##name,					\
	};								\
	module_param_cb(name, &kv_##name##_ops, NULL, 0200)

KV_PARAMETER(hard);
KV_PARAMETER(soft);
KV_PARAMETER(abba);
KV_PARAMETER(long);
KV_PARAMETER(stop);
KV_PARAMETER(call);

/* Back to what moduleparam.h has for code that is built in. */
#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX KBUILD_MODNAME "."
